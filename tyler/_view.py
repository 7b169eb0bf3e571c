"""What the model sees of a thread: the purpose, and the messages in valid form. The stored ones are not touched."""

from __future__ import annotations

from collections.abc import Sequence

from narrator import FileStore, Message
from tyler import _attachments, wire
from tyler._steps import INTERRUPTED, INVALID
from tyler.errors import NothingToAnswer
from tyler.model import Model


class View:
    """The view of one run; each message is converted once, not once a step."""

    def __init__(self, thread_id: str, model: Model, purpose: str, files: FileStore | None) -> None:
        self._thread_id = thread_id
        self._model = model
        self._purpose = purpose
        self._files = files
        self._chats: dict[str, wire.Chat] = {}

    async def of(self, messages: Sequence[Message]) -> list[wire.Chat]:
        """These messages for a request. Raises NothingToAnswer when there is nothing in them that could be read."""
        following = [*messages[1:], None]
        chats: list[wire.Chat] = []
        for message, after in zip(messages, following, strict=True):
            # An answer that was cut short is asked for anew, and then the whole one stands behind it.
            if message.metadata.get(INTERRUPTED) and (after is None or after.role == "assistant"):
                continue
            chats.append(await self._converted(message))
            if problem := message.metadata.get(INVALID):
                chats.append({"role": "user", "content": str(problem)})
        purpose: list[wire.Chat] = [{"role": "system", "content": self._purpose}] if self._purpose else []
        view = purpose + wire.valid_chat(chats)
        if not view:
            raise NothingToAnswer(f"thread {self._thread_id!r} has no message that a model could read; add one")
        return view

    async def _converted(self, message: Message) -> wire.Chat:
        if message.id not in self._chats:
            parts = []
            if message.attachments:
                vision = message.role == "user" and await self._model.takes_images()
                parts = [await _attachments.to_part(a, self._files, vision=vision) for a in message.attachments]
            self._chats[message.id] = wire.to_chat(message, parts)
        return self._chats[message.id]
