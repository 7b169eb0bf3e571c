"""Turn: the right of one run to add to a thread (promise P5), and the life of its tool calls (P6).

A lease on the database's clock with a fencing number: every write of the run carries the number, so a
process that wakes after its lease passed on cannot write. How a run waits for its turn is `_waiting.py`'s.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from narrator import _holder
from narrator._backend import CallRecord, Question, Transaction
from narrator._logs import log
from narrator._settle import settled_task
from narrator._values import MAX_ID_CHARS
from narrator._waiting import acquire
from narrator._writer import ThreadWriter
from narrator.approval import PendingCall
from narrator.errors import LeaseLost, StoreUnavailable, ThreadConflict, ThreadNotFound
from narrator.message import Message, ToolCall, new_id
from narrator.thread import Thread

logger = logging.getLogger("narrator")


class Turn:
    """One run's turn on one thread. Its methods raise LeaseLost once the turn has passed to another run."""

    def __init__(
        self, writer: ThreadWriter, thread: Thread, key: int, fence: int, holder: str, lease: timedelta
    ) -> None:
        self._writer = writer
        self._holder = holder
        self._key = key
        self._lease = lease
        self.thread = thread
        self.fence = fence
        self.log_ids: Mapping[str, object] = {"thread_id": thread.id}  # whose log records are; a run puts its own here

    async def append(self, message: Message, *, behind: str | None, finishes: tuple[str, str] | None = None) -> None:
        """Store a message right behind the message `behind` (None: at the end) and put it into the thread.

        `finishes` names the call (assistant message id, call id) whose result this is; both are committed together.
        """
        done = (finishes[0], _key_of(finishes[1])) if finishes else None
        await self._writer.append(self.thread, message, fence=self.fence, behind=behind, finishes=done)

    async def set_metadata(self, name: str, value: Any) -> None:
        """Store one entry of the thread's metadata, and put it into the thread; other edits of it stay unsaved."""
        await self._writer.set_metadata(self.thread, name, value, fence=self.fence)

    async def start_calls(
        self, message_id: str, call_ids: Sequence[str], approved: Mapping[str, str] | None = None
    ) -> set[str]:
        """Record that these calls of an assistant message start now, committed when this returns; those that do.

        `approved`: call id -> digest of what was approved. Such a call starts only if its approval is for this digest,
        not too old and not used; starting uses it up.
        """

        gated = approved or {}

        async def work(tx: Transaction, attempt: int) -> set[str]:
            await self._hold(tx, message_id)
            started = {call_id for call_id in call_ids if call_id not in gated}
            await tx.start_calls(self._key, message_id, [_key_of(call_id) for call_id in started])
            before = await tx.call_states(self._key, message_id) if attempt > 1 and gated else {}
            for call_id, digest in gated.items():
                key = _key_of(call_id)
                was_ours = key in before and before[key].state == "started"  # by the attempt whose COMMIT got no reply
                if was_ours or await tx.start_approved(self._key, message_id, key, digest):
                    started.add(call_id)
            return started

        return await self._writer.commit(work)

    async def ask(
        self, message_id: str, questions: Sequence[tuple[ToolCall, str]], reasons: Mapping[str, str] | None = None
    ) -> list[PendingCall]:
        """Record that these calls await a decision, each with the digest of what it is about; committed, in order.

        `reasons`: why, by the call's id, where there is more to say than that the tool wants it.
        """
        why = reasons or {}
        rows = [
            Question(_key_of(call.id), new_id(), digest, call.model_dump_json(), why.get(call.id))
            for call, digest in questions
        ]

        async def work(tx: Transaction, _attempt: int) -> dict[str, CallRecord]:
            await self._hold(tx, message_id)
            await tx.ask_calls(self._key, message_id, rows)
            return await tx.call_states(self._key, message_id)

        records = (await self._writer.commit(work)).values()
        asked_at = {record.approval: record.asked_at for record in records if record.asked_at}
        thread = self.thread
        return [
            PendingCall(row.approval, thread.id, thread.owner, message_id, call, asked_at[row.approval], row.reason)
            for row, (call, _) in zip(rows, questions, strict=True)
        ]

    async def _hold(self, tx: Transaction, message_id: str) -> None:
        """LeaseLost unless the turn is this run's, ThreadConflict unless the message is there."""
        if not await tx.renew_lease(self._key, self.fence, self._lease):
            raise self._lost()
        if await tx.position_of(self._key, message_id) is None:
            raise ThreadConflict(
                f"message {message_id!r} of thread {self.thread.id!r}, which asks for these calls, was removed by "
                "someone else; they were not started. Call go() again to go on from what is stored"
            )

    async def call_states(self, message_id: str) -> dict[str, CallRecord]:
        """What is recorded of the calls of an assistant message; one that never started is absent."""

        async def work(tx: Transaction, _attempt: int) -> dict[str, CallRecord]:
            return await tx.call_states(self._key, message_id)

        states = await self._writer.backend.run(work, write=False)
        ids = {_key_of(call.id): call.id for m in self.thread.messages if m.id == message_id for call in m.tool_calls}
        return {ids.get(key, key): state for key, state in states.items()}

    async def _renew(self) -> None:
        async def work(tx: Transaction, _attempt: int) -> bool:
            return await tx.renew_lease(self._key, self.fence, self._lease)

        if not await self._writer.commit(work, one_statement=True):
            raise self._lost()

    async def _give_back(self, keeper: asyncio.Task[None]) -> None:
        async def work(tx: Transaction, _attempt: int) -> None:
            await tx.end_lease(self._key, self.fence)

        keeper.cancel()
        await asyncio.wait([keeper])
        try:
            await self._writer.commit(work, one_statement=True)
        except StoreUnavailable:
            _holder.note_ended(self._holder)  # or the next run in this process would wait for the lease to end
            log(logger, logging.WARNING, self.log_ids, "the turn could not be given back; it expires by itself")

    async def _keep(self) -> None:
        """Renew the lease three times in its length, until cancelled or lost."""
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            try:
                await self._renew()
            except StoreUnavailable:
                log(logger, logging.WARNING, self.log_ids, "the lease could not be renewed")
            except LeaseLost:
                return  # the run's next write raises it

    def _lost(self) -> LeaseLost:
        return LeaseLost(
            f"the turn on thread {self.thread.id!r} has passed to another run, so this run may not write any more; "
            "call go() again to go on from what is stored"
        )


def _key_of(call_id: str) -> str:
    """The call's id as far as an index can hold it: some providers put a signature of kilobytes into it."""
    return call_id if len(call_id) <= MAX_ID_CHARS else hashlib.sha256(call_id.encode()).hexdigest()


@asynccontextmanager
async def take_turn(writer: ThreadWriter, thread: Thread, *, wait_s: float, lease: timedelta) -> AsyncIterator[Turn]:
    """See ThreadStore.turn."""
    base = writer.baseline(thread)
    if base is None:
        raise ThreadNotFound(f"thread {thread.id!r} is not stored here; save_thread() it first")
    me = _holder.this_process()
    fence, head = await acquire(writer, thread, base.key, me, wait_s, lease)
    turn = Turn(writer, thread, base.key, fence, me, lease)
    keeper = asyncio.create_task(turn._keep())
    try:
        await writer.catch_up(thread, base, head=head)
        yield turn
    finally:
        await settled_task(turn._give_back(keeper))
