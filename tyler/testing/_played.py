"""Tools that give recorded results. The real tool checks the arguments; it is run only where that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from narrator import FileStore
from tyler.testing._record import RecordedCall
from tyler.tools import Tool, ToolArgumentsError, ToolContext, ToolResult, run_tool

_UNKNOWN, _WRONG_ARGUMENTS = "There is no tool named ", " was not run, its arguments are wrong."
NO_TOOL = "the agent has no such tool"
_WOULD_RUN = "the call would be run"


def _nothing() -> None:
    """The function of a StandIn; nobody calls it."""


class StandIn(Tool):
    """A tool of this name that takes any arguments: it keeps the place of one that a test does not have.

    `replay` gives its recorded results; called in any other way it fails.
    """

    def __init__(self, name: str) -> None:
        super().__init__(_nothing, name="stand_in")
        object.__setattr__(self, "name", name)  # in a record it may be one that no tool may have

    def definition(self) -> dict[str, Any]:
        """As a tool that takes any arguments."""
        parameters = {"type": "object", "properties": {}}
        return {"type": "function", "function": {"name": self.name, "description": "", "parameters": parameters}}

    async def call(self, arguments: str, ctx: ToolContext) -> ToolResult:
        """A failure that says what to do."""
        return ToolResult(f"{self.name} is a stand-in; give the agent the real tool to run it", failed=True)


@dataclass
class Desk:
    """The calls of the step that is played, by id, and which call would be treated otherwise now than then."""

    files: FileStore  # for tools that are really run
    step: int = 0
    calls: Mapping[str, RecordedCall] = field(default_factory=dict)
    changed: dict[tuple[int, str], tuple[str, str]] = field(default_factory=dict)  # step and call id: then and now


class PlayedTool(Tool):
    """Takes the place of a tool of the agent, or of one that is gone (None)."""

    _playing: tuple[Tool | None, Desk, bool]

    def __init__(self, name: str, tool: Tool | None, desk: Desk, *, real: bool = False) -> None:
        source = StandIn(name) if tool is None else tool
        for part in fields(source):  # the loop reads effect and its like
            object.__setattr__(self, part.name, getattr(source, part.name))
        object.__setattr__(self, "_playing", (tool, desk, real))

    def definition(self) -> dict[str, Any]:
        """The real tool's."""
        return (self._playing[0] or StandIn(self.name)).definition()

    async def call(self, arguments: str, ctx: ToolContext) -> ToolResult:
        """The recorded result, or the real one."""
        tool, desk, real = self._playing
        recorded = desk.calls[ctx.call_id]
        before = recorded_refusal(recorded)
        refusal = before if isinstance(tool, StandIn) else self._refusal(arguments, ctx)
        if (refusal == NO_TOOL, refusal is None) != (before == NO_TOOL, before is None):
            desk.changed[desk.step, ctx.call_id] = (before or "the call was run", refusal or _WOULD_RUN)
        if real and tool is not None and refusal is None and recorded.ended:
            return await run_tool({self.name: tool}, self.name, arguments, replace(ctx, file_store=desk.files))
        return recorded.result

    def _refusal(self, arguments: str, ctx: ToolContext) -> str | None:
        """Why a run would not start this call; None if it would."""
        tool = self._playing[0]
        if tool is None:
            return NO_TOOL
        try:
            tool._parse(arguments, ctx)
        except ToolArgumentsError as error:
            return str(error)
        return None


def recorded_refusal(call: RecordedCall) -> str | None:
    """Why the call was not started then, None if it was."""
    result = call.result
    if not result.failed:
        return None
    if result.content.startswith(_UNKNOWN):
        return NO_TOOL
    return result.content if result.content.startswith(f"{call.call.name}{_WRONG_ARGUMENTS}") else None
