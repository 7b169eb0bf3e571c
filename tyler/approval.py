"""Approvals: which tool calls a human has to allow, and who is asked. The decisions are narrator's to keep."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from narrator import ToolCall
from narrator.errors import ConfigurationError
from tyler._daemon_thread import in_daemon_thread
from tyler.tools import Risk, Tool, ToolContext

Verdict = bool | str | None
Rule = Literal["auto", "ask", "deny"] | Callable[["ApprovalRequest"], Verdict | Awaitable[Verdict]]
Approve = Rule | Mapping[str, Rule]
_WORDS: Mapping[object, Verdict] = {"auto": True, "ask": None, "deny": False}


@dataclass(frozen=True)
class ApprovalRequest:
    """A call that may need a human, as a function in `approve=` gets it.

    The function, sync or async, answers True: run it; False, or text with the reason: deny it; None: pause the run
    until somebody decides by `store.decide(...)`. What it raises ends the run; the call stays open.
    """

    call: ToolCall
    tool: Tool
    context: ToolContext
    reason: str | None = None
    """Why the guard asks: private data and untrusted content have met, and this call goes outward."""

    @property
    def tool_name(self) -> str:
        """The tool that would run."""
        return self.tool.name

    @property
    def risk(self) -> Risk:
        """What the tool may touch."""
        return self.tool.risk

    @property
    def arguments(self) -> dict[str, Any]:
        """What the model would call it with; they fit the tool."""
        return arguments_of(self.call)


class Approval:
    """What `Agent(approve=...)` says, for the tools that the agent has.

    None: a call pauses where its tool says so (`@tool(needs_approval=...)`), has the risk "exec", or the guard asks.
    "auto": every call runs. "ask", "deny", or a function: about each call but those of tools that only read and are not
    asked about by tool or guard. A mapping of tool names or patterns ("delete_*") to these: the first that fits, also
    where the guard would ask; for other tools as with None.
    """

    def __init__(self, approve: Approve | None, tools: Iterable[str]) -> None:
        self._rule = None if approve is None or isinstance(approve, Mapping) else _checked(approve, "approve")
        rules = approve if isinstance(approve, Mapping) else {}
        self._rules = {pattern: _checked(rule, f"approve[{pattern!r}]") for pattern, rule in rules.items()}
        names = list(tools)
        for pattern in self._rules:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ConfigurationError(
                    f"approve[{pattern!r}] fits no tool of the agent; its tools are {', '.join(names) or 'none'}"
                )

    async def verdict(self, request: ApprovalRequest) -> Verdict:
        """True: it may run. None: a human has to say. False, or text: denied."""
        rule = next((rule for pattern, rule in self._rules.items() if fnmatchcase(request.tool_name, pattern)), None)
        if rule is None:
            asks = request.reason is not None or request.tool.asks(request.arguments)
            if self._rule is None:
                return None if asks else True
            if request.risk == "read" and not asks:
                return True
            rule = self._rule
        if not callable(rule):
            return _WORDS[rule]
        ask: Callable[[ApprovalRequest], Any] = rule
        if inspect.iscoroutinefunction(ask) or inspect.iscoroutinefunction(type(ask).__call__):
            verdict = await ask(request)
        else:
            verdict = await in_daemon_thread(lambda: ask(request))  # it may wait for a key to be pressed
        if inspect.isawaitable(verdict):
            verdict = await verdict
        if not (verdict is None or isinstance(verdict, bool | str)):
            raise TypeError(
                f"{rule!r} answered {verdict!r} for {request.tool_name}; it must be True, False, text or None"
            )
        return verdict


def digest_of(call: ToolCall, tool: Tool) -> str:
    """What an approval is bound to: the exact arguments, and the tool as it is defined now."""
    version = getattr(tool.declared, "version", "")  # of an MCP server's definition, with what models do not see
    bound = [call.name, call.arguments, tool.definition(), tool.risk, tool.effect, version]
    return hashlib.sha256(json.dumps(bound, sort_keys=True).encode()).hexdigest()


async def ask_in_terminal(request: ApprovalRequest) -> Verdict:
    """For `Agent(approve=...)`: shows the call on the terminal and asks. An answer that is no y or n is a reason."""
    shown = json.dumps(request.arguments, indent=2)  # ASCII: nothing in it can steer the terminal
    print(f"\n{request.tool_name} ({request.risk}) wants to run with\n{shown}")
    if request.reason:
        print(f"It is asked about, for {request.reason}.")
    answer = (await in_daemon_thread(lambda: input("Run it? [y/n, or why not] "))).strip()
    if answer.lower() in ("y", "yes"):
        return True
    return False if answer.lower() in ("", "n", "no") else answer


def _checked(rule: Any, place: str) -> Rule:
    if not callable(rule) and rule not in _WORDS:
        raise ConfigurationError(f"{place} is {rule!r}; use 'auto', 'ask', 'deny' or a function of an ApprovalRequest")
    checked: Rule = rule
    return checked


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """The arguments of a call that may not fit its tool; {} where they are no JSON object."""
    try:
        found = json.loads(call.arguments.strip() or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
