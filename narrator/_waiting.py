"""The queue for a thread's turn: first come, first served, among tasks and processes alike (promise P5).

Who finds the turn taken leaves a place in the database, and renews it while it waits. Only the first in the queue may
take a turn that is free, so no run that follows another without a pause overtakes those who wait.
"""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from time import monotonic
from typing import NamedTuple

from narrator import _holder
from narrator._backend import Head, Lease, Transaction, Waiting
from narrator._settle import settled_task
from narrator._writer import ThreadWriter
from narrator.errors import StoreUnavailable, ThreadBusy, ThreadNotFound
from narrator.thread import Thread

_PLACE = timedelta(seconds=5)  # a place that was not renewed for so long is given up
_RENEWED_AFTER_S = 1.5
_FIRST_POLL_S = 0.02
_LAST_POLL_S = 0.5
_LAST_POLL_OF_FIRST_S = 0.1


class _Look(NamedTuple):
    """What one look at the turn brought: who has it, its fencing number if it is ours now, whether we are next."""

    lease: Lease | None
    fence: int | None = None
    first: bool = False


async def acquire(
    writer: ThreadWriter, thread: Thread, key: int, me: str, wait_s: float, lease: timedelta
) -> tuple[int, Head | None]:
    """Wait for the turn; its fencing number, and the thread's row if it came with it.

    Raises ThreadBusy after `wait_s`, ThreadNotFound, StoreUnavailable.
    """
    waiter = _Waiter(writer, thread, key, me, wait_s, lease)
    try:
        # Nearly always nobody is in the way.
        return await waiter.at_once() or (await waiter.wait(), None)
    except (asyncio.CancelledError, ThreadBusy):
        await settled_task(waiter.give_up())
        raise
    except StoreUnavailable:
        _holder.note_ended(me)  # the turn, or a place, may have been taken all the same
        raise


class _Waiter:
    """One run on its way to the turn."""

    def __init__(
        self, writer: ThreadWriter, thread: Thread, key: int, me: str, wait_s: float, lease: timedelta
    ) -> None:
        self._writer = writer
        self._thread = thread
        self._ref = writer.ref(thread)
        self._key = key
        self._lease = lease
        self._me = me
        self._wait_s = wait_s
        self._deadline = monotonic() + wait_s
        self._renewed = -_RENEWED_AFTER_S

    async def at_once(self) -> tuple[int, Head] | None:
        """The turn, if nobody is in the way; None too if an attempt before took it and got no reply."""

        async def work(tx: Transaction, _attempt: int) -> tuple[int, Head] | None:
            return await tx.take_free_turn(self._ref, self._me, self._lease)

        return await self._writer.commit(work, one_statement=True)

    async def wait(self) -> int:
        pause_s = _FIRST_POLL_S
        while True:
            look = await self._writer.commit(self._look)
            if look.lease is None:
                raise ThreadNotFound(f"thread {self._thread.id!r} was deleted by someone else")
            if look.fence is not None:
                return look.fence
            if (left_s := self._deadline - monotonic()) <= 0:
                raise self._busy(look.lease)
            await asyncio.sleep(min(pause_s * random.uniform(0.5, 1), left_s))
            pause_s = min(pause_s * 1.5, _LAST_POLL_OF_FIRST_S if look.first else _LAST_POLL_S)

    async def give_up(self) -> None:
        """Leave the queue, and the turn if it came just now: nobody is to wait for this run."""

        async def work(tx: Transaction, _attempt: int) -> None:
            seen = await tx.lease(self._ref)
            if seen is not None and seen.holder == self._me:
                await tx.end_lease(self._key, seen.fence)
            await tx.leave_queue(self._key, [self._me])

        try:
            await self._writer.commit(work)
        except StoreUnavailable:
            _holder.note_ended(self._me)

    async def _look(self, tx: Transaction, attempt: int) -> _Look:
        """Take the turn if it is free and nobody else is first, else keep our place."""
        seen = await tx.lease(self._ref)
        if seen is None:
            return _Look(None)
        if seen.holder == self._me:  # taken by an attempt whose COMMIT was not confirmed
            return _Look(seen, seen.fence)
        queue = await tx.queue(self._key) if seen.wanted else []
        gone = self._gone_from_its_head(queue)
        first = len(queue) == len(gone) or queue[len(gone)].holder == self._me
        free = seen.holder is None or seen.expired or _holder.is_gone(seen.holder)
        if first and free and await tx.take_lease(self._key, seen.fence, self._me, self._lease):
            if queue:
                await tx.leave_queue(self._key, [*gone, self._me])
            return _Look(seen, seen.fence + 1)
        if gone:
            await tx.leave_queue(self._key, gone)
        due = attempt > 1 or monotonic() - self._renewed >= _RENEWED_AFTER_S  # an attempt before may not have stored it
        if due and self._deadline > monotonic():
            await tx.keep_place(self._key, self._me, _PLACE)
            self._renewed = monotonic()
        return _Look(seen, first=first)

    def _gone_from_its_head(self, queue: list[Waiting]) -> list[str]:
        """Those before the first who still waits."""
        gone: list[str] = []
        for waiting in queue:
            if waiting.holder == self._me or not (waiting.expired or _holder.is_gone(waiting.holder)):
                break
            gone.append(waiting.holder)
        return gone

    def _busy(self, seen: Lease) -> ThreadBusy:
        who = "by another run that came first"
        if seen.holder is not None:
            who = f"by {_holder.describe(seen.holder)}"
        if seen.since is not None:
            who += f" since {seen.since.isoformat(timespec='seconds')}"
        return ThreadBusy(
            f"thread {self._thread.id!r} is being answered {who}; waited {self._wait_s:g} s. "
            "What was saved is kept: call go() again later, or allow a longer wait"
        )
