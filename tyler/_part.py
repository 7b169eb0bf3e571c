"""Part: the part of a thread that one run answers, and what the run adds to it. Each addition is stored at once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from narrator import FileStoreMissing, FileTooLarge, Message, ToolCall
from narrator._settle import settled_task
from tyler._steps import FAILED, TOUCHES, calls_without_result, window
from tyler._unsaved import RunTurn
from tyler.errors import NothingToAnswer
from tyler.events import MessageAdded
from tyler.tools import ToolResult, Touch


class Part:
    """The run's messages: what it answers up to `upto`, and what it added. What others append is not in it."""

    def __init__(self, turn: RunTurn, upto: str | None) -> None:
        self.turn = turn
        self.added: list[Message] = []
        self._ids = {message.id for message in window(turn.thread.messages, upto)}
        self._adding = asyncio.Lock()  # tools end at any time, and where a result stands depends on the others

    def messages(self) -> list[Message]:
        """In the order of the thread. Raises NothingToAnswer when someone has removed them."""
        part = [message for message in self.turn.thread.messages if message.id in self._ids]
        if not part:
            raise NothingToAnswer(f"the messages of thread {self.turn.thread.id!r} were removed while it was answered")
        return part

    async def add(self, message: Message, behind: str, finishes: tuple[str, str] | None = None) -> MessageAdded:
        """Store the message and put it into the thread, in one."""
        self._ids.add(message.id)
        await self.turn.append(message, behind=behind, finishes=finishes)
        self.added.append(message)
        return MessageAdded(message)

    async def add_result(
        self, asked: Message, call: ToolCall, result: ToolResult, touches: Collection[Touch] = ()
    ) -> MessageAdded:
        """Store a result in its place among the results of the message, and what its call has touched; once begun, it
        is done.
        """
        return await settled_task(self._place_result(asked, call, result, sorted(touches)))

    async def _place_result(
        self, asked: Message, call: ToolCall, result: ToolResult, touches: list[Touch]
    ) -> MessageAdded:
        """A call has one result: what a tool returns after its call was closed is dropped."""
        async with self._adding:
            if all(call.id != other.id for other in calls_without_result(self.messages(), asked)):
                return next(MessageAdded(m) for m in reversed(self.messages()) if m.tool_call_id == call.id)
            behind = self._place_of(asked, call)
            finishes = (asked.id, call.id)
            try:
                return await self.add(_tool_message(call, result, touches), behind, finishes)
            except (FileTooLarge, FileStoreMissing) as error:
                told = ToolResult(f"{result.content}\n(its files were not kept: {error})", [], True, result.usage)
                return await self.add(_tool_message(call, told, touches), behind, finishes)

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


def _tool_message(call: ToolCall, result: ToolResult, touches: list[Touch]) -> Message:
    metadata: dict[str, Any] = {FAILED: True} if result.failed else {}
    if touches or not result.failed:  # "nothing" is worth a note: an agent without the tool could not say it
        metadata[TOUCHES] = touches
    return Message(
        role="tool",
        content=result.content,
        name=call.name or None,
        tool_call_id=call.id,
        attachments=result.attachments,
        metadata=metadata,
        usage=result.usage,
    )
