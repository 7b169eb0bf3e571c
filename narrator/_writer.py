"""ThreadWriter: brings a Thread object and its rows together, for ThreadStore and Turn alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

from narrator import _files, _refresh
from narrator._backend import Backend, Head, T, ThreadRef, Transaction
from narrator._baseline import Baseline
from narrator._changes import Changes, changes_since
from narrator._codec import StoredMessage, encode
from narrator._saving import NothingToWrite, Stored, Write, read_since, write_changes
from narrator._settle import settled_task
from narrator._values import to_json
from narrator.errors import OwnerMismatch, ThreadNotFound
from narrator.file_store import FileStore
from narrator.message import Message, new_id
from narrator.thread import Thread


class ThreadWriter:
    """Saves threads and lets them learn what is stored, for one owner's view (None: for all)."""

    def __init__(self, backend: Backend, files: FileStore | None, owner: str | None) -> None:
        self.backend = backend
        self.files = files
        self._owner = owner

    async def save(self, thread: Thread) -> None:
        """See ThreadStore.save_thread."""
        async with alone(thread, "_saving"):
            await self._save(thread)

    async def _save(self, thread: Thread) -> None:
        ref, base = self.ref(thread), self.baseline(thread)
        changes = changes_since(thread, base)
        if base is not None and changes.empty:
            await self.catch_up(thread, base)
            if changes.repeats:
                _refresh.drop_repeats(thread)
            return
        touched = [*changes.removed, *(message.id for message in changes.edited)]
        orphans = await self.backend.run(partial(_files_of, ref, touched), write=False) if touched else set()
        await self._write(
            thread,
            Write(
                ref=ref,
                token=new_id(),
                created_at=thread.created_at,
                base=base,
                changes=changes,
                title=thread.title,
                rows=_rows(changes),
            ),
        )
        await self.drop_files(orphans)

    async def append(
        self,
        thread: Thread,
        message: Message,
        *,
        fence: int,
        behind: str | None,
        finishes: tuple[str, str] | None,
    ) -> None:
        """See Turn.append."""
        async with alone(thread, "_saving"):
            changes = Changes(appended=[message])
            await self._write(
                thread,
                Write(
                    ref=self.ref(thread),
                    token=new_id(),
                    created_at=thread.created_at,
                    base=self.baseline(thread),
                    changes=changes,
                    title=None,
                    rows=_rows(changes),
                    behind=behind,
                    fence=fence,
                    finishes=finishes,
                ),
            )

    async def set_metadata(self, thread: Thread, name: str, value: Any, *, fence: int) -> None:
        """See Turn.set_metadata."""
        async with alone(thread, "_saving"):
            thread.metadata[name] = value
            base = self.baseline(thread)
            changes = Changes(appended=[], metadata={name: to_json(value)})
            # What this object changed under other names is not part of this write.
            changes.seen_metadata = {**(base.metadata if base else {}), name: to_json(value)}
            write = Write(self.ref(thread), new_id(), thread.created_at, base, changes, None, {}, fence=fence)
            await self._write(thread, write)

    async def _write(self, thread: Thread, write: Write) -> None:
        """Store it, files first, and let the object learn the outcome; both are done before a cancellation leaves."""
        await settled_task(self._write_and_learn(thread, write))

    async def _write_and_learn(self, thread: Thread, write: Write) -> None:
        write.files = await _files.save_all(write, self.files, self._owner)
        edited = write.base.edited if write.base else set()
        taken = {message.id for message in write.changes.edited}
        edited -= taken  # an edit from now on is for the next save

        async def work(tx: Transaction, attempt: int) -> Stored:
            stored = await write_changes(tx, attempt, write)
            await _files.verify(write, self.files, self._owner)
            return stored

        try:
            stored = await self.backend.run(work, write=True)
        except NothingToWrite:
            edited |= taken
            await self.catch_up(thread, write.base, write)
        except BaseException:
            edited |= taken
            raise
        else:
            self._learn(thread, stored, write)

    def _learn(self, thread: Thread, stored: Stored, write: Write | None) -> None:
        if thread.owner is None and self._owner is not None:
            thread.owner = self._owner
        _refresh.learn(thread, stored, self.backend.identity, write)

    async def commit(self, work: Callable[[Transaction, int], Awaitable[T]], *, one_statement: bool = False) -> T:
        """Run a write transaction; one that has begun settles before a CancelledError leaves (promise P8)."""
        return await settled_task(self.backend.run(work, write=True, one_statement=one_statement))

    async def catch_up(
        self, thread: Thread, base: Baseline | None, write: Write | None = None, head: Head | None = None
    ) -> None:
        """Learn what others stored since this object was loaded or saved. `head`: the thread's row as it was just now,
        which says whether there is anything to read."""
        if head is not None and base is not None and head.revision == base.revision:
            self._learn(thread, Stored(head), None)
            return
        ref = self.ref(thread)

        async def work(tx: Transaction, _attempt: int) -> Stored:
            head = await tx.head(ref)
            if head is None:
                raise ThreadNotFound(f"thread {thread.id!r} was deleted since it was loaded")
            if write is None and base is not None and head.revision == base.revision:
                return Stored(head)
            return await read_since(tx, head, base)

        self._learn(thread, await self.backend.run(work, write=False), write)

    def baseline(self, thread: Thread) -> Baseline | None:
        """What the object last saw stored in this database; None if it was made in code, or loaded elsewhere."""
        base = thread._baseline
        return base if base is not None and base.database == self.backend.identity else None

    def ref(self, thread: Thread) -> ThreadRef:
        """Where the thread is kept; OwnerMismatch if this view is another owner's."""
        base = self.baseline(thread)
        owner = self._owner if thread.owner is None and base is None else thread.owner
        if self._owner is not None and owner != self._owner:
            raise OwnerMismatch(
                f"thread {thread.id!r} belongs to owner {thread.owner!r}, and this store is {self._owner!r}'s view"
            )
        return ThreadRef(owner or "", thread.id, base.key if base else None)

    def has_saved(self, thread: Thread, message: Message) -> bool:
        """See ThreadStore.has_saved."""
        base = self.baseline(thread)
        if base is None or message.id not in base.positions:
            return False
        return any(known is message for known in reversed(base.messages))

    async def drop_files(self, candidates: set[tuple[str, str]]) -> None:
        """Remove these files unless a message refers to them."""
        if self.files is not None:
            for owner, file_id in candidates:
                await _files.drop(self.backend, self.files, owner, file_id)


@asynccontextmanager
async def alone(thread: Thread, doing: Literal["_saving", "_answering"]) -> AsyncIterator[None]:
    """One at a time of those who do this with an object, in an event loop; the next one finds what this one left."""
    loop = asyncio.get_running_loop()
    while (under_way := getattr(thread, doing)) is not None and under_way.get_loop() is loop:
        await asyncio.wait([under_way])
    mine: asyncio.Future[None] = loop.create_future()
    setattr(thread, doing, mine)
    try:
        yield
    finally:
        setattr(thread, doing, None)
        mine.set_result(None)


def _rows(changes: Changes) -> dict[str, StoredMessage]:
    return {message.id: encode(message) for message in changes.written}


async def _files_of(ref: ThreadRef, ids: list[str], tx: Transaction, _attempt: int) -> set[tuple[str, str]]:
    return set() if ref.key is None else await tx.files_of(ref.key, ids)
