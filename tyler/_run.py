"""One run: asking the model and running its tool calls, each step stored before the next (promises P1, P6, P8)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from narrator import FileStore, FileStoreMissing, FileTooLarge, Message, NarratorError, ToolCall
from narrator._settle import settled_task
from tyler import _attachments, wire
from tyler._steps import INTERRUPTED, AskModel, RunTools, next_action, window
from tyler._unsaved import RunTurn
from tyler.errors import ModelAnswerBroken
from tyler.events import Event, MessageAdded, TextDelta, ToolFinished, ToolStarted
from tyler.model import Model, Reply, Request
from tyler.tools import Tool, ToolContext, ToolResult, run_tool

logger = logging.getLogger("tyler")

UNKNOWN_OUTCOME = "The run was interrupted while this call was under way; whether it had an effect is unknown."
CANCELLED = "The run was cancelled before this call was started; it was not run."
CANCELLED_UNKNOWN = "The run was cancelled while this call was under way; whether it had an effect is unknown."


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
    ) -> None:
        self.turn = turn
        self.added: list[Message] = []
        self.model_calls = 0
        self._purpose = purpose
        self._tools = tools
        self._definitions = definitions
        self._model = model
        self._files = files
        self._upto = upto
        self._chats: dict[str, wire.Chat] = {}  # each message is converted once, not once a step

    def messages(self) -> list[Message]:
        """This run's part of the thread."""
        return window(self.turn.thread.messages, self._upto)

    async def perform(self, action: AskModel | RunTools) -> AsyncGenerator[Event, None]:
        """Do the next thing. Who cancels does not want open calls run later: they are closed then."""
        steps = self._run_tools(action) if isinstance(action, RunTools) else self._ask_model()
        try:
            async with aclosing(steps) as events:
                async for event in events:
                    yield event
        except (asyncio.CancelledError, GeneratorExit):
            await settled_task(self._close_calls())
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
            if text:
                partial = Message(role="assistant", content="".join(text), metadata={INTERRUPTED: True})
                await settled_task(self._add(partial, behind))
            raise
        if reply is None:
            raise ModelAnswerBroken(f"{self._model!r} ended its stream without a Reply")
        yield await self._add(_answer(reply), behind)

    async def _run_tools(self, action: RunTools) -> AsyncGenerator[Event, None]:
        """Run the open calls at once; each result is stored when its tool ends, in the order of the calls."""
        asked, calls = action.message, action.open_calls
        states = {} if asked in self.added else await self.turn.call_states(asked.id)
        lost = [call for call in calls if states.get(call.id) == "started" and not self._may_repeat(call)]
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
                    call, result = tasks[task], task.result()
                    added = await self._add_result(asked, call, result)
                    del tasks[task]
                    yield added
                    yield ToolFinished(call, result)
        finally:
            if tasks:  # cancelled, or a write failed: nothing goes on running behind the caller's back
                await settled_task(self._end_tasks(asked, tasks))

    async def _end_tasks(self, asked: Message, tasks: dict[asyncio.Task[ToolResult], ToolCall]) -> None:
        """Cancel the tools that run, and store what is known of each."""
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task, call in tasks.items():
            ended = not task.cancelled() and task.exception() is None
            result = task.result() if ended else ToolResult(CANCELLED_UNKNOWN, failed=True)
            try:
                await self._add_result(asked, call, result)
            except NarratorError as error:
                logger.warning("the result of call %r could not be stored: %s", call.id, type(error).__name__)

    async def _close_calls(self) -> None:
        """Give each call that was not started a result that says so."""
        action = next_action(self.messages())
        if not isinstance(action, RunTools):
            return
        for call in action.open_calls:
            try:
                await self._add_result(action.message, call, ToolResult(CANCELLED, failed=True))
            except NarratorError as error:
                logger.warning("call %r could not be closed: %s", call.id, type(error).__name__)

    def _may_repeat(self, call: ToolCall) -> bool:
        tool = self._tools.get(call.name)
        return tool is not None and tool.effect in ("read", "idempotent")

    async def _call(self, asked: Message, call: ToolCall) -> ToolResult:
        thread = self.turn.thread
        context = ToolContext(
            thread_id=thread.id,
            owner=thread.owner,
            call_id=call.id,
            idempotency_key=f"{thread.id}/{asked.id}/{call.id}",
            file_store=self._files,
        )
        return await run_tool(self._tools, call.name, call.arguments, context)

    async def _add_result(self, asked: Message, call: ToolCall, result: ToolResult) -> MessageAdded:
        """Store a result in its place among the results of the message: behind the one of the call before."""
        messages = self.turn.thread.messages
        place = next(i for i in range(len(messages) - 1, -1, -1) if messages[i].id == asked.id)
        order = [c.id for c in asked.tool_calls]
        index = order.index(call.id)
        behind, skip = asked.id, index
        for message in messages[place + 1 :]:
            if message.role != "tool":
                break
            if message.tool_call_id in order[:index]:
                behind, skip = message.id, index - order.index(message.tool_call_id) - 1
        finishes = (asked.id, call.id)
        try:
            return await self._add(_tool_message(call, result), behind, skip, finishes)
        except (FileTooLarge, FileStoreMissing) as error:
            told = ToolResult(f"{result.content}\n(its files were not kept: {error})", failed=True)
            return await self._add(_tool_message(call, told), behind, skip, finishes)

    async def _add(
        self, message: Message, behind: str, skip: int = 0, finishes: tuple[str, str] | None = None
    ) -> MessageAdded:
        """Store the message and put it into the thread, in one."""
        await self.turn.append(message, behind=behind, skip=skip, finishes=finishes)
        self.added.append(message)
        return MessageAdded(message)

    async def _view(self, messages: list[Message]) -> list[wire.Chat]:
        """What the model sees: the purpose, and this part of the thread in valid form."""
        if messages[-1].metadata.get(INTERRUPTED):
            messages = messages[:-1]  # the answer that was cut short is asked for anew
        chats = [chat for message in messages for chat in await self._converted(message)]
        purpose: list[wire.Chat] = [{"role": "system", "content": self._purpose}] if self._purpose else []
        return purpose + wire.valid_chat(chats)

    async def _converted(self, message: Message) -> list[wire.Chat]:
        if message.id not in self._chats:
            parts = []
            if message.attachments:
                vision = message.role == "user" and await self._model.takes_images()
                parts = [await _attachments.to_part(a, self._files, vision=vision) for a in message.attachments]
            self._chats[message.id] = wire.to_chat(message, parts)
        return [self._chats[message.id]]


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
        metadata={"failed": True} if result.failed else {},
    )
