"""One run: asking the model and running its tool calls, each step stored before the next (promises P1, P6, P8)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from narrator import FileStore, FileStoreMissing, FileTooLarge, Message, NarratorError, ToolCall
from narrator._settle import settled_task
from tyler import _attachments, wire
from tyler._steps import FAILED, INTERRUPTED, AskModel, RunTools, calls_without_result, next_action, window
from tyler._unsaved import RunTurn
from tyler.errors import ModelAnswerBroken, NothingToAnswer
from tyler.events import Event, MessageAdded, TextDelta, ToolFinished, ToolStarted
from tyler.model import Model, Reply, Request
from tyler.tools import Tool, ToolContext, ToolResult, run_tool

logger = logging.getLogger("tyler")

UNKNOWN_OUTCOME = "The run was interrupted while this call was under way; whether it had an effect is unknown."
CANCELLED = "The run was cancelled before this call was started; it was not run."
CANCELLED_UNKNOWN = "The run was cancelled while this call was under way; whether it had an effect is unknown."
_STUBBORN_S = 1.0  # a tool that ignores its cancellation is waited for so long


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
    ) -> None:
        self.turn = turn
        self.added: list[Message] = []
        self.model_calls = 0
        self._purpose = purpose
        self._tools = tools
        self._definitions = definitions
        self._model = model
        self._files = files
        self._deps = deps
        self._part = {message.id for message in window(turn.thread.messages, upto)}
        self._adding = asyncio.Lock()  # tools end at any time, and where a result stands depends on the others
        self._chats: dict[str, wire.Chat] = {}  # each message is converted once, not once a step

    def messages(self) -> list[Message]:
        """This run's part of the thread: what it answers, and what it added. What others append is not in it."""
        part = [message for message in self.turn.thread.messages if message.id in self._part]
        if not part:
            raise NothingToAnswer(f"the messages of thread {self.turn.thread.id!r} were removed while it was answered")
        return part

    async def perform(self, action: AskModel | RunTools) -> AsyncGenerator[Event, None]:
        """Do the next thing. Who cancels does not want open calls run later: they are closed then."""
        steps = self._run_tools(action) if isinstance(action, RunTools) else self._ask_model()
        try:
            async with aclosing(steps) as events:
                async for event in events:
                    yield event
        except (asyncio.CancelledError, GeneratorExit):
            try:
                await settled_task(self._close_calls())
            except (NarratorError, NothingToAnswer) as error:
                logger.warning("open calls could not be closed: %s", type(error).__name__)
            raise

    async def _ask_model(self) -> AsyncGenerator[Event, None]:
        """Stream an answer and store it. What was streamed before a cancellation is kept, marked as interrupted."""
        self.model_calls += 1
        seen = self.messages()
        request = Request(await self._view(seen), self._definitions)
        behind = seen[-1].id
        text: list[str] = []
        reply: Reply | None = None
        try:
            async with aclosing(self._model.stream(request)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Reply):
                        reply = piece
                    else:
                        text.append(piece)
                        yield TextDelta(piece)
        except (asyncio.CancelledError, GeneratorExit):
            await settled_task(self._keep_partial("".join(text), behind))
            raise
        if reply is None:
            raise ModelAnswerBroken(f"{self._model!r} ended its stream without a Reply")
        yield await self._add(_answer(reply), behind)

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
        runnable = [call for call in calls if call not in lost]
        if not runnable:
            return
        await self.turn.start_calls(asked.id, [call.id for call in runnable])
        tasks = {asyncio.create_task(self._call(asked, call)): call for call in runnable}
        try:
            for call in runnable:
                yield ToolStarted(call)
            while tasks:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(done, key=lambda task: runnable.index(tasks[task])):
                    call = tasks.pop(task)
                    result, added = task.result()
                    yield added
                    yield ToolFinished(call, result)
        finally:
            if tasks:  # cancelled, or a write failed: nothing goes on running behind the caller's back
                await settled_task(_end(tasks))

    async def _close_calls(self) -> None:
        """Give each open call a result that says how far it came."""
        action = next_action(self.messages())
        if not isinstance(action, RunTools):
            return
        states = await self.turn.call_states(action.message.id)
        for call in action.open_calls:
            text = CANCELLED_UNKNOWN if call.id in states else CANCELLED
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

    async def _view(self, messages: list[Message]) -> list[wire.Chat]:
        """What the model sees: the purpose, and this part of the thread in valid form."""
        following = [*messages[1:], None]
        chats = [
            await self._converted(message)
            for message, after in zip(messages, following, strict=True)
            # An answer that was cut short is asked for anew, and then the whole one stands behind it.
            if not (message.metadata.get(INTERRUPTED) and (after is None or after.role == "assistant"))
        ]
        purpose: list[wire.Chat] = [{"role": "system", "content": self._purpose}] if self._purpose else []
        view = purpose + wire.valid_chat(chats)
        if not view:
            raise NothingToAnswer(f"thread {self.turn.thread.id!r} has no message that a model could read; add one")
        return view

    async def _converted(self, message: Message) -> wire.Chat:
        if message.id not in self._chats:
            parts = []
            if message.attachments:
                vision = message.role == "user" and await self._model.takes_images()
                parts = [await _attachments.to_part(a, self._files, vision=vision) for a in message.attachments]
            self._chats[message.id] = wire.to_chat(message, parts)
        return self._chats[message.id]


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
