"""The turn of an agent without a thread store: messages go into the Thread object, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from narrator import Message, PendingCall, Thread, ThreadBusy, ToolCall
from narrator._backend import CallRecord
from narrator._writer import alone
from narrator.errors import ConfigurationError


class RunTurn(Protocol):
    """What a run needs of its turn: narrator's Turn, or the Unsaved one here."""

    thread: Thread
    log_ids: Mapping[str, object]

    async def append(
        self, message: Message, *, behind: str | None, finishes: tuple[str, str] | None = None
    ) -> None: ...

    async def set_metadata(self, name: str, value: Any) -> None: ...

    async def start_calls(
        self, message_id: str, call_ids: Sequence[str], approved: Mapping[str, str] | None = None
    ) -> set[str]: ...

    async def ask(
        self, message_id: str, questions: Sequence[tuple[ToolCall, str]], reasons: Mapping[str, str] | None = None
    ) -> list[PendingCall]: ...

    async def call_states(self, message_id: str) -> dict[str, CallRecord]: ...


class UnsavedTurn:
    """Keeps nothing beyond the object."""

    def __init__(self, thread: Thread) -> None:
        self.thread = thread
        self.log_ids: Mapping[str, object] = {"thread_id": thread.id}
        self._started: dict[str, dict[str, CallRecord]] = {}

    async def append(self, message: Message, *, behind: str | None, finishes: tuple[str, str] | None = None) -> None:
        """Put the message right behind the one named, or at the end."""
        messages = self.thread.messages
        place = len(messages)
        if behind is not None:
            place = next((i + 1 for i in range(len(messages) - 1, -1, -1) if messages[i].id == behind), place)
        messages.insert(place, message)

    async def set_metadata(self, name: str, value: Any) -> None:
        """Put the entry into the thread's metadata."""
        self.thread.metadata[name] = value

    async def start_calls(
        self, message_id: str, call_ids: Sequence[str], approved: Mapping[str, str] | None = None
    ) -> set[str]:
        """Known for the time of the run; a call that a crash left open is known by its missing result alone."""
        self._started.setdefault(message_id, {}).update(dict.fromkeys(call_ids, CallRecord("started")))
        return set(call_ids)

    async def ask(
        self, message_id: str, questions: Sequence[tuple[ToolCall, str]], reasons: Mapping[str, str] | None = None
    ) -> list[PendingCall]:
        """ConfigurationError: the question would be kept nowhere."""
        raise ConfigurationError(
            f"{questions[0][0].name} needs a human's approval, and this agent has no thread store in which it could "
            "wait; give it one (ThreadStore.create() is in memory), or a function to ask: Agent(approve=...)"
        )

    async def call_states(self, message_id: str) -> dict[str, CallRecord]:
        """The calls that this run has started."""
        return self._started.get(message_id, {})


@asynccontextmanager
async def unsaved_turn(thread: Thread, wait_s: float) -> AsyncIterator[UnsavedTurn]:
    """The turn on a Thread object: one run of an event loop at a time (P5), or ThreadBusy after `wait_s`."""
    async with AsyncExitStack() as turn:
        try:
            async with asyncio.timeout(wait_s):
                await turn.enter_async_context(alone(thread, "_answering"))
        except TimeoutError as error:
            raise ThreadBusy(
                f"thread {thread.id!r} is being answered by another run of this program; waited {wait_s:g} s. "
                "Call go() again later, or allow a longer wait"
            ) from error
        yield UnsavedTurn(thread)
