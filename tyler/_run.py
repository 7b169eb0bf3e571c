"""One run: asking the model and running its tool calls, each step stored before the next (promises P1, P6, P8)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Literal, TypeVar

from narrator import FileStore, FileStoreMissing, FileTooLarge, Message, NarratorError, ToolCall
from narrator._settle import settled_task
from tyler._steps import (
    FAILED,
    INTERRUPTED,
    AskModel,
    RunTools,
    calls_without_result,
    next_action,
    repeats_failure,
    window,
)
from tyler._unsaved import RunTurn
from tyler._view import View
from tyler.budget import Budget, Limit
from tyler.errors import ModelAnswerBroken, NothingToAnswer
from tyler.events import Event, MessageAdded, TextDelta, ToolFinished, ToolStarted
from tyler.model import Model, Reply, Request
from tyler.result import total_usage
from tyler.tools import Tool, ToolContext, ToolResult, run_tool

logger = logging.getLogger("tyler")
T = TypeVar("T")

UNKNOWN_OUTCOME = "The run was interrupted while this call was under way; whether it had an effect is unknown."
CANCELLED = "The run was cancelled before this call was started; it was not run."
CANCELLED_UNKNOWN = "The run was cancelled while this call was under way; whether it had an effect is unknown."
OUT_OF_TIME = "The run's time was used up before this call was started; it was not run."
OUT_OF_TIME_UNKNOWN = "The run's time was used up while this call was under way; whether it had an effect is unknown."
_STUBBORN_S = 1.0  # a tool that ignores its cancellation is waited for so long


class _OutOfTime(Exception):
    """The budget's seconds are over, and something was under way."""


class Run:
    """The state of one `go`: which thread, which part of it, what was added. Gone with the call."""

    def __init__(
        self,
        turn: RunTurn,
        upto: str | None,
        *,
        model: Model,
        purpose: str,
        tools: Mapping[str, Tool],
        definitions: list[dict[str, Any]],
        files: FileStore | None,
        deps: object,
        budget: Budget,
    ) -> None:
        self.turn = turn
        self.added: list[Message] = []
        self._budget = budget
        self._steps = self._tool_calls = 0
        self._limit: Limit | None = None  # the one that a step ran into
        self._ends_at = None if budget.seconds is None else asyncio.get_running_loop().time() + budget.seconds
        self._tools = tools
        self._definitions = definitions
        self._model = model
        self._view = View(turn.thread.id, model, purpose, files)
        self._files = files
        self._deps = deps
        self._part = {message.id for message in window(turn.thread.messages, upto)}
        self._adding = asyncio.Lock()  # tools end at any time, and where a result stands depends on the others

    def messages(self) -> list[Message]:
        """This run's part of the thread: what it answers, and what it added. What others append is not in it."""
        part = [message for message in self.turn.thread.messages if message.id in self._part]
        if not part:
            raise NothingToAnswer(f"the messages of thread {self.turn.thread.id!r} were removed while it was answered")
        return part

    def stop(self) -> Limit | Literal["repeated_failure"] | None:
        """Why the model must not be asked again (promise P14); the thread is valid, and another `go` takes it up."""
        if self._limit is not None:
            return self._limit
        if repeats_failure(self.added):
            return "repeated_failure"
        return "time_limit" if self._left_s() == 0 else self._budget.used_up(self._steps, total_usage(self.added))

    async def perform(self, action: AskModel | RunTools) -> AsyncGenerator[Event, None]:
        """Do the next thing. Who cancels does not want open calls run later: they are closed then."""
        steps = self._run_tools(action) if isinstance(action, RunTools) else self._ask_model()
        try:
            async with aclosing(steps) as events:
                async for event in events:
                    yield event
        except (asyncio.CancelledError, GeneratorExit):
            try:
                await settled_task(self._close_calls(CANCELLED, CANCELLED_UNKNOWN))
            except (NarratorError, NothingToAnswer) as error:
                logger.warning("open calls could not be closed: %s", type(error).__name__)
            raise
        except _OutOfTime:
            self._limit = "time_limit"
            await self._close_calls(OUT_OF_TIME, OUT_OF_TIME_UNKNOWN)

    async def _ask_model(self) -> AsyncGenerator[Event, None]:
        """Stream an answer and store it. What was streamed before it was stopped is kept, marked as interrupted."""
        self._steps += 1
        seen = self.messages()
        request = Request(await self._view.of(seen), self._definitions)
        behind = seen[-1].id
        text: list[str] = []
        reply: Reply | None = None
        try:
            async with aclosing(self._model.stream(request)) as pieces:
                while (piece := await self._next(pieces)) is not None:
                    if isinstance(piece, Reply):
                        reply = piece
                    else:
                        text.append(piece)
                        yield TextDelta(piece)
        except (asyncio.CancelledError, GeneratorExit, _OutOfTime):
            await settled_task(self._keep_partial("".join(text), behind))
            raise
        if reply is None:
            raise ModelAnswerBroken(f"{self._model!r} ended its stream without a Reply")
        yield await self._add(_answer(reply), behind)

    async def _next(self, pieces: AsyncGenerator[T, None]) -> T | None:
        """The next piece, if there is one and time for it."""
        try:
            async with asyncio.timeout_at(self._ends_at) as limit:
                return await anext(pieces, None)
        except TimeoutError as error:
            if limit.expired():
                raise _OutOfTime from error
            raise

    def _left_s(self) -> float | None:
        return None if self._ends_at is None else max(self._ends_at - asyncio.get_running_loop().time(), 0)

    async def _keep_partial(self, text: str, behind: str) -> None:
        if not text:
            return
        try:
            await self._add(Message(role="assistant", content=text, metadata={INTERRUPTED: True}), behind)
        except NarratorError as error:
            logger.warning("an interrupted answer could not be stored: %s", type(error).__name__)

    async def _run_tools(self, action: RunTools) -> AsyncGenerator[Event, None]:
        """Run the open calls at once; each result is stored when its tool ends, in the order of the calls."""
        asked, calls = action.message, action.open_calls
        fresh = any(asked is message for message in self.added)
        states = {} if fresh else await self.turn.call_states(asked.id)
        lost = [call for call in calls if call.id in states and not self._may_repeat(call)]
        for call in lost:
            yield await self._add_result(asked, call, ToolResult(UNKNOWN_OUTCOME, failed=True))
        runnable, beyond = self._within_budget([call for call in calls if call not in lost])
        for call in beyond:
            yield await self._add_result(asked, call, ToolResult(self._beyond_budget(), failed=True))
        if not runnable:
            return
        if self._left_s() == 0:
            raise _OutOfTime
        self._tool_calls += len(runnable)
        await self.turn.start_calls(asked.id, [call.id for call in runnable])
        tasks = {asyncio.create_task(self._call(asked, call)): call for call in runnable}
        try:
            for call in runnable:
                yield ToolStarted(call)
            while tasks:
                done, _ = await asyncio.wait(tasks, timeout=self._left_s(), return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    raise _OutOfTime
                for task in sorted(done, key=lambda task: runnable.index(tasks[task])):
                    call = tasks.pop(task)
                    result, added = task.result()
                    yield added
                    yield ToolFinished(call, result)
        finally:
            if tasks:  # cancelled, or a write failed: nothing goes on running behind the caller's back
                await settled_task(_end(tasks))

    def _within_budget(self, calls: list[ToolCall]) -> tuple[list[ToolCall], list[ToolCall]]:
        """The calls that may be run, and those that are too many; with those the run ends."""
        most = self._budget.tool_calls
        left = len(calls) if most is None else max(most - self._tool_calls, 0)
        if left < len(calls):
            self._limit = "tool_call_limit"
        return calls[:left], calls[left:]

    def _beyond_budget(self) -> str:
        return f"This call was not run: the run has used up its {self._budget.tool_calls} tool calls."

    async def _close_calls(self, not_started: str, started: str) -> None:
        """Give each open call a result that says how far it came."""
        action = next_action(self.messages())
        if not isinstance(action, RunTools):
            return
        states = await self.turn.call_states(action.message.id)
        for call in action.open_calls:
            text = started if call.id in states else not_started
            await self._add_result(action.message, call, ToolResult(text, failed=True))

    def _may_repeat(self, call: ToolCall) -> bool:
        tool = self._tools.get(call.name)
        return tool is not None and tool.effect in ("read", "idempotent")

    async def _call(self, asked: Message, call: ToolCall) -> tuple[ToolResult, MessageAdded]:
        """Run the tool and store its result, however slowly the run's events are read."""
        thread = self.turn.thread
        context = ToolContext(
            thread_id=thread.id,
            owner=thread.owner,
            call_id=call.id,
            idempotency_key=f"{thread.id}/{asked.id}/{call.id}",
            file_store=self._files,
            deps=self._deps,
        )
        result = await run_tool(self._tools, call.name, call.arguments, context)
        return result, await self._add_result(asked, call, result)

    async def _add_result(self, asked: Message, call: ToolCall, result: ToolResult) -> MessageAdded:
        """Store a result in its place among the results of the message; once begun, it is done."""
        return await settled_task(self._place_result(asked, call, result))

    async def _place_result(self, asked: Message, call: ToolCall, result: ToolResult) -> MessageAdded:
        """A call has one result: what a tool returns after its call was closed is dropped."""
        async with self._adding:
            if all(call.id != other.id for other in calls_without_result(self.messages(), asked)):
                return next(MessageAdded(m) for m in reversed(self.messages()) if m.tool_call_id == call.id)
            behind = self._place_of(asked, call)
            finishes = (asked.id, call.id)
            try:
                return await self._add(_tool_message(call, result), behind, finishes)
            except (FileTooLarge, FileStoreMissing) as error:
                told = ToolResult(f"{result.content}\n(its files were not kept: {error})", failed=True)
                return await self._add(_tool_message(call, told), behind, finishes)

    def _place_of(self, asked: Message, call: ToolCall) -> str:
        """Behind the result of the nearest call before it that has one, else behind the message that asks."""
        messages = self.messages()
        place = next((i for i in range(len(messages) - 1, -1, -1) if messages[i].id == asked.id), len(messages))
        order = [c.id for c in asked.tool_calls]
        earlier, behind = order[: order.index(call.id)], asked.id
        for message in messages[place + 1 :]:
            if message.role != "tool":
                break
            if message.tool_call_id in earlier:
                behind = message.id
        return behind

    async def _add(self, message: Message, behind: str, finishes: tuple[str, str] | None = None) -> MessageAdded:
        """Store the message and put it into the thread, in one."""
        self._part.add(message.id)
        await self.turn.append(message, behind=behind, finishes=finishes)
        self.added.append(message)
        return MessageAdded(message)


def _answer(reply: Reply) -> Message:
    metadata = {} if reply.finish == "stop" else {"finish": reply.finish}
    return Message(
        role="assistant", content=reply.content, tool_calls=reply.tool_calls, usage=reply.usage, metadata=metadata
    )


def _tool_message(call: ToolCall, result: ToolResult) -> Message:
    return Message(
        role="tool",
        content=result.content,
        name=call.name or None,
        tool_call_id=call.id,
        attachments=result.attachments,
        metadata={FAILED: True} if result.failed else {},
    )


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tools that run, and wait for them, but not for ever."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=_STUBBORN_S)
    for task in tasks:
        task.add_done_callback(_see_outcome)


def _see_outcome(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("a tool call ended with %s after its run was over", type(error).__name__)
