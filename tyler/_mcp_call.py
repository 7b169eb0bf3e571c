"""RemoteTool: one tool of an MCP server. When a call is made again, and what the model is told when it is not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import mcp_types as types

from tyler._mcp_connection import CallFailed, Connection
from tyler._mcp_listing import Offered
from tyler._mcp_result import to_tool_result
from tyler.tools import Effect, Tool, ToolContext, ToolResult


class Connections(Protocol):
    """Gives the event loop's connection, a new one if that has ended; raises McpUnavailable."""

    async def __call__(self) -> Connection: ...


@dataclass(frozen=True)
class RemoteCall:
    """What a RemoteTool's function does."""

    connect: Connections = field(repr=False)
    tool: Offered
    effect: Effect

    async def __call__(self, ctx: ToolContext | None = None, /, **arguments: Any) -> ToolResult:
        """Call the tool. Raises McpUnavailable; whatever the server answers is a result."""
        report = ctx.progress if ctx else _nobody
        for first in (True, False):
            connection = await self.connect()
            try:
                if why := self._changed((await connection.offered()).get(self.tool.name)):
                    return ToolResult(why, failed=True)
            except CallFailed as error:
                if first and self._may_try_again(connection, error, acted=False):
                    continue
                return _failed(f"The call was not made: {error}")
            try:
                return self._result(await connection.call(self.tool.name, arguments, report))
            except CallFailed as error:
                acted = error.failure.acted
                if first and self._may_try_again(connection, error, acted):
                    continue
                return _failed(_told(error, acted))
        raise AssertionError("the second try returns")

    def _may_try_again(self, connection: Connection, error: CallFailed, acted: bool) -> bool:
        """Whether another connection may help, and the call was not made or may be made twice."""
        if not error.failure.reconnect:
            return False
        connection.retire()
        return not connection.closed_by_us and (not acted or self.effect != "once")

    def _changed(self, now: Offered | None) -> str:
        """Whoever chose, or approved, this tool has not seen what the server now calls by its name."""
        if now is not None and now.digest == self.tool.digest:
            return ""
        what = "does not offer this tool any more" if now is None else "has changed this tool's definition"
        return f"The call was not made: the server {what}. The application has to load its tools again."

    def _result(self, answer: types.CallToolResult | types.InputRequiredResult) -> ToolResult:
        if isinstance(answer, types.InputRequiredResult):
            return _failed("The tool asks for more input from the user, which cannot be given here.")
        return to_tool_result(self.tool.name, answer)


class RemoteTool(Tool):
    """A Tool whose effect, also one that is set with `dataclasses.replace`, says whether a lost call is made again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.function, RemoteCall):
            object.__setattr__(self, "function", replace(self.function, effect=self.effect))


def _told(error: CallFailed, acted: bool) -> str:
    if not acted:
        return f"The call was not made: {error}"
    if not error.failure.reconnect:
        return f"The call failed: {error}"
    return f"The call has no result: {str(error).rstrip('.')}. Whether it had an effect is unknown."


def _failed(text: str) -> ToolResult:
    return ToolResult(text, failed=True)


def _nobody(data: object) -> None:
    """Who hears of the progress of a call outside a run."""
