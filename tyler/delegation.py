"""Delegation: an agent as a tool of another agent. What it does for a call stands in a thread of its own.

The thread and its message are named after the call. So a call that runs again, after a crash or a human's decision,
finds what was done, and goes on with it or replays it. What may run again is `_tool_calls.py`'s affair.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from narrator import LeaseLost, Message, StoreUnavailable, Thread, ThreadBusy, Usage
from narrator.message import total_usage
from tyler._guard import DELEGATED
from tyler._left_open import LeftOpen
from tyler._setup import RunOptions
from tyler._steps import TOUCHES, window
from tyler._tool_output import to_result
from tyler.agent import Agent
from tyler.budget import Budget
from tyler.errors import ModelError
from tyler.events import Finished, TextDelta, ToolFinished, ToolProgress, ToolStarted
from tyler.output import Output
from tyler.result import Result, Status
from tyler.tools import Risk, Tool, ToolContext, ToolResult, Touch, tool

MAX_DEPTH = 5  # agents below the one that was asked: they may delegate in a circle
_TASK = "All that is needed to work on it: whoever gets it sees nothing of this conversation."
_UNFINISHED: Mapping[Status, str] = {
    "cut": "the answer was cut at its model's length limit",
    "filtered": "the answer was stopped by its provider's filter",
    "repeated_failure": "one tool call failed again and again",
    "invalid_output": "no answer had the form that is needed",
    "step_limit": "its model calls were used up",
    "tool_call_limit": "its tool calls were used up",
    "time_limit": "its time was used up",
    "token_limit": "its tokens were used up",
    "cost_limit": "its money was used up",
}
_asked: ContextVar[tuple[Agent, ...]] = ContextVar("tyler_asked_what_they_touch", default=())
_depth: ContextVar[int] = ContextVar("tyler_delegation_depth", default=0)


def delegate_to(
    agent: Agent,
    *,
    name: str | None = None,
    description: str | None = None,
    output: type[Any] | None = None,
    budget: Budget | None = None,
    risk: Risk = "write",
    needs_approval: bool | Callable[[dict[str, Any]], bool] | None = None,
) -> Tool:
    """A tool that gives a task to this agent: `Agent(tools=[delegate_to(researcher)])`.

    The model calls it as `name` ("ask_" and the agent's name) and reads `description` (the agent's purpose). The answer
    is text, or JSON of the type `output`, as with `go`. `budget`: of each task, instead of the agent's.

    Each call has a thread in the agent's store, else in the calling agent's, with the same owner and the metadata
    "parent_thread", "parent_call" and "agent". The effect is "idempotent": run again, the call goes on in that thread.
    A task that was not completed is a failed result that says why; calls that need approval pause the calling run too.
    """
    if not isinstance(agent, Agent):
        raise TypeError(f"delegate_to() takes an Agent, not {agent!r}")
    if output is not None:
        Output(output)  # a type that cannot be one is refused here, and not in mid-run
    own_name = re.sub(r"[^a-zA-Z0-9_-]", "_", f"ask_{agent.name}")[:64] if name is None else name

    async def delegate(ctx: ToolContext, task: Annotated[str, Field(min_length=1, description=_TASK)]) -> ToolResult:
        return await _Delegated(agent, output, budget, own_name, ctx).work_on(task)

    def touches(_: dict[str, Any]) -> set[Touch]:
        """What its tools can touch: a task carries data to them, and the answer is made of what they found."""
        return _touches_of(agent)

    delegate.__doc__ = description or _described(agent)
    return tool(name=own_name, risk=risk, effect="idempotent", needs_approval=needs_approval, touches=touches)(delegate)


def _touches_of(agent: Agent) -> set[Touch]:
    """Of all its tools; an agent that is met again on the way, for they may delegate in a circle, adds nothing."""
    if agent in _asked.get():
        return set()
    entered = _asked.set((*_asked.get(), agent))
    try:
        return {touch for inner in agent.tools_by_name.values() for touch in inner.touched({})}
    finally:
        _asked.reset(entered)


def _described(agent: Agent) -> str:
    purpose = " ".join(agent.purpose.split())  # on one line, where no docstring style finds a section in it
    return f"Give a task to the agent {agent.name!r}, who works on it alone and answers. {purpose}".strip()


@dataclass(frozen=True)
class _Delegated:
    """One call of such a tool."""

    agent: Agent
    output: type[Any] | None
    budget: Budget | None
    tool_name: str
    ctx: ToolContext

    async def work_on(self, task: str) -> ToolResult:
        """The agent's answer, or what hindered it. Raises LeftOpen where nothing can be said of it yet."""
        depth = _depth.get()
        if depth >= MAX_DEPTH:
            told = f"This task was not given to {self.agent.name!r}: {MAX_DEPTH} agents in a row have delegated already"
            return ToolResult(f"{told}. Work on it yourself.", failed=True)
        thread = self._thread(task)
        entered = _depth.set(depth + 1)
        try:
            result = await self._run(thread)
        except ModelError as error:
            return ToolResult(f"{self.agent.name!r} got no answer of its model: {error}", [], True, self._usage(thread))
        except (LeaseLost, StoreUnavailable, ThreadBusy) as error:
            raise LeftOpen(error=error) from error
        finally:
            _depth.reset(entered)
        if result.status == "awaiting_approval":
            raise LeftOpen(result.pending)
        return replace(self._told(result), usage=self._usage(thread))

    @property
    def _key(self) -> str:
        """The same for each run of the call."""
        return hashlib.sha256(self.ctx.idempotency_key.encode()).hexdigest()[:40]

    def _thread(self, task: str) -> Thread:
        parent: dict[str, Any] = {DELEGATED: self.ctx.thread_id, "parent_call": self.ctx.call_id}
        parent["agent"] = self.agent.name
        if self.ctx.touched:
            parent[TOUCHES] = sorted(self.ctx.touched)
        asked = Message(id=f"task-{self._key}", role="user", content=task)
        return Thread(id=f"delegated-{self._key}", owner=self.ctx.owner, metadata=parent, messages=[asked])

    async def _run(self, thread: Thread) -> Result[Any]:
        """Cancelled with the call; the agent's own run then leaves its thread valid."""
        options: RunOptions = {"deps": self.ctx.deps}
        if self.budget is not None:
            options["budget"] = self.budget
        async with aclosing(self._keeping().stream(thread, output=self.output, **options)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return event.result
                if isinstance(event, TextDelta | ToolStarted | ToolProgress | ToolFinished):
                    self.ctx.progress(event)
        raise AssertionError("a stream ends with Finished or an exception")

    def _keeping(self) -> Agent:
        """The agent, with the caller's stores where it has none of its own."""
        if self.agent.thread_store is not None:
            return self.agent
        agent = copy.copy(self.agent)
        agent.thread_store = self.ctx.thread_store
        agent.file_store = agent.file_store or self.ctx.file_store
        return agent

    def _told(self, result: Result[Any]) -> ToolResult:
        """What the calling model reads."""
        said = [message.text for message in self._part(result.thread) if message.role == "assistant"]
        if result.status == "completed":
            return to_result(self.tool_name, said[-1] if self.output is None else result.output)
        told = f"{self.agent.name!r} did not complete the task: {_UNFINISHED[result.status]} ({result.status})."
        last = next(filter(None, reversed(said)), None)
        return ToolResult(f"{told} What it said last:\n{last}" if last else told, failed=True)

    def _part(self, thread: Thread) -> list[Message]:
        """The task, and what the agent's runs added for it; not what others put into the thread."""
        return window(thread.messages, f"task-{self._key}")

    def _usage(self, thread: Thread) -> Usage | None:
        """What the task has taken in all its runs; None where no model said it."""
        counted = [message for message in self._part(thread) if message.usage is not None]
        return total_usage(counted) if counted else None
