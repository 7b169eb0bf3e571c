"""ToolCalls: runs the calls that a message asks for. What was started is known, results are stored as they come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from narrator import Message, NarratorError, PendingCall, ToolCall
from narrator._backend import CallRecord
from narrator._settle import settled_task
from tyler._gate import Gate
from tyler._guard import Guard
from tyler._left_open import LeftOpen
from tyler._part import Part
from tyler._setup import Setup
from tyler._steps import RunTools, next_action
from tyler._tracing import RunTrace
from tyler.approval import arguments_of
from tyler.budget import Deadline, Limit, OutOfTime
from tyler.events import ApprovalNeeded, Event, MessageAdded, ToolFinished, ToolProgress, ToolStarted
from tyler.tools import Tool, ToolArgumentsError, ToolContext, ToolResult, Touch, run_tool

UNKNOWN_OUTCOME = "The run was interrupted while this call was under way; whether it had an effect is unknown."
_STUBBORN_S = 1.0  # a tool that ignores its cancellation is waited for so long
_Ended = tuple[ToolResult, MessageAdded]


def _nobody(data: object) -> None:
    """Who hears of a call that does not run yet."""


class ToolCalls:
    """Runs the calls of one run, within its budget of calls and time."""

    def __init__(self, part: Part, setup: Setup, deadline: Deadline, trace: RunTrace) -> None:
        self._trace = trace
        self._part = part
        self._setup = setup
        self._deadline = deadline
        self._guard = Guard(part.turn.thread, setup.tools)
        self._gate = Gate(part, setup, deadline, self._guard)
        self._started = 0
        self._looked_at: set[str] = set()  # messages whose calls this run has begun with
        self._asked: list[PendingCall] = []
        self._touched: Mapping[Touch, str] = {}
        self._paused: dict[str, list[PendingCall]] = {}  # call id -> what a call that was run waits for
        self.limit: Limit | None = None  # "tool_call_limit" once there were too many

    async def run(self, action: RunTools) -> AsyncGenerator[Event, None]:
        """Run the open calls at once; each result is stored when its tool ends, in the order of the calls."""
        asked, calls = action.message, action.open_calls
        records = await self._records(asked)
        lost = [call for call in calls if _was_started(records, call) and not self._may_repeat(call)]
        for call in lost:
            yield await self._part.add_result(asked, call, ToolResult(UNKNOWN_OUTCOME, failed=True))
        left = [call for call in calls if call not in lost]
        self._touched = self._guard.touched(self._part.messages())
        found = await self._gate.sort(asked, left, records, self._touched, partial(self._context, asked))
        for call in left:
            if reason := found.denied.get(call.id):
                yield await self._part.add_result(asked, call, ToolResult(reason, failed=True))
        self._asked, self._paused = found.waiting, {}
        for pending in found.waiting:
            yield ApprovalNeeded(pending)
        runnable, beyond = self._within_budget(found.run)
        for call in beyond:
            yield await self._part.add_result(asked, call, ToolResult(self._beyond_budget(), failed=True))
        if not runnable:
            return
        if self._deadline.left_s() == 0:
            raise OutOfTime
        approved = {call.id: found.approved[call.id] for call in runnable if call.id in found.approved}
        started = await self._part.turn.start_calls(asked.id, [call.id for call in runnable], approved)
        self._started += len(started)
        # An approval that was taken back, or has run out, in this very moment: its call is asked about anew.
        async with aclosing(self._at_once(asked, [call for call in runnable if call.id in started])) as events:
            async for event in events:
                yield event

    @property
    def waiting(self) -> list[PendingCall]:
        """What a human has to decide on: calls of this thread, and those that its calls wait for in turn."""
        return [*self._asked, *(pending for paused in self._paused.values() for pending in paused)]

    def all_wait(self, action: RunTools) -> bool:
        """Whether nothing but a human's decision can go on with these calls."""
        return all(self._waits(call) for call in action.open_calls)

    def _waits(self, call: ToolCall) -> bool:
        return call.id in self._paused or any(call.id == pending.call.id for pending in self._asked)

    async def close(self, not_started: str, started: str, *, but_waiting: bool = False) -> None:
        """Give each open call of the run a result that says how far it came; the waiting ones may be left open."""
        action = next_action(self._part.messages())
        if not isinstance(action, RunTools):
            return
        records = await self._part.turn.call_states(action.message.id)
        for call in action.open_calls:
            if but_waiting and self._waits(call):
                continue
            text = started if _was_started(records, call) else not_started
            await self._part.add_result(action.message, call, ToolResult(text, failed=True))

    async def _at_once(self, asked: Message, calls: Sequence[ToolCall]) -> AsyncGenerator[Event, None]:
        news: asyncio.Queue[ToolProgress | asyncio.Task[_Ended]] = asyncio.Queue()
        running = {asyncio.create_task(self._call(asked, call, _reporter(call, news))): call for call in calls}
        for task in running:
            task.add_done_callback(news.put_nowait)
        error: NarratorError | None = None
        try:
            for call in calls:
                yield ToolStarted(call)
            while running:
                item = await self._deadline.wait(news.get())
                if isinstance(item, ToolProgress):
                    yield item
                    continue
                call = running.pop(item)
                try:
                    result, added = item.result()
                except LeftOpen as left:
                    error = error or left.error
                    if left.pending:
                        self._paused[call.id] = left.pending
                    for pending in left.pending:
                        yield ApprovalNeeded(pending)
                    continue
                yield added
                yield ToolFinished(call, result)
        finally:
            if running:  # cancelled, or a write failed: nothing goes on running behind the caller's back
                await settled_task(_end(running, self._trace))
        if error is not None:  # raised once the others have their results
            raise error

    async def _call(self, asked: Message, call: ToolCall, report: Callable[[object], None]) -> _Ended:
        """Run the tool and store its result, however slowly the run's events are read."""
        tools = self._setup.tools
        running = run_tool(tools, call.name, call.arguments, self._context(asked, call, report))
        result = await self._trace.tool(call, tools, running)
        touches = tools[call.name].touched(arguments_of(call)) if _has_run(result, call, tools) else ()
        return result, await self._part.add_result(asked, call, result, touches)

    async def _records(self, asked: Message) -> dict[str, CallRecord]:
        """What is stored of the message's calls; nothing, if it was added just now."""
        fresh = asked.id not in self._looked_at and any(asked is message for message in self._part.added)
        self._looked_at.add(asked.id)
        return {} if fresh else await self._part.turn.call_states(asked.id)

    def _context(self, asked: Message, call: ToolCall, report: Callable[[object], None] = _nobody) -> ToolContext:
        thread = self._part.turn.thread
        return ToolContext(
            thread_id=thread.id,
            owner=thread.owner,
            call_id=call.id,
            idempotency_key=f"{thread.id}/{asked.id}/{call.id}",
            file_store=self._setup.files,
            deps=self._setup.deps,
            thread_store=self._setup.store,
            touched=frozenset(self._touched),
            on_progress=report,
        )

    def _within_budget(self, calls: list[ToolCall]) -> tuple[list[ToolCall], list[ToolCall]]:
        """The calls that may be run, and those that are too many; with those the run ends."""
        most = self._setup.budget.tool_calls
        left = len(calls) if most is None else max(most - self._started, 0)
        if left < len(calls):
            self.limit = "tool_call_limit"
        return calls[:left], calls[left:]

    def _beyond_budget(self) -> str:
        return f"This call was not run: the run has used up its {self._setup.budget.tool_calls} tool calls."

    def _may_repeat(self, call: ToolCall) -> bool:
        tool = self._setup.tools.get(call.name)
        return tool is not None and tool.effect in ("read", "idempotent")


def _has_run(result: ToolResult, call: ToolCall, tools: Mapping[str, Tool]) -> bool:
    """Whether the tool itself has said anything."""
    return call.name in tools and result.error_type != ToolArgumentsError.__name__


def _was_started(records: Mapping[str, CallRecord], call: ToolCall) -> bool:
    return call.id in records and records[call.id].state in ("started", "finished")


def _reporter(call: ToolCall, news: asyncio.Queue[Any]) -> Callable[[object], None]:
    """What a tool reports with, from whatever thread it runs in, also when the run is over."""
    loop = asyncio.get_running_loop()

    def report(data: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(news.put_nowait, ToolProgress(call, data))

    return report


async def _end(tasks: Iterable[asyncio.Task[Any]], trace: RunTrace) -> None:
    """Cancel the tools that run, and wait for them, but not for ever."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=_STUBBORN_S)
    for task in tasks:
        task.add_done_callback(partial(_see_outcome, trace))


def _see_outcome(trace: RunTrace, task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        trace.log(logging.WARNING, "a tool call ended with %s after its run was over", type(error).__name__)
