"""ThreadStore: where conversations are kept. The contract; how rows move is a backend's, how saves merge `_saving`'s.

Any number of tasks, event loops, threads and processes may use one database at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from functools import partial
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from narrator import _files, _refresh, approval
from narrator._backend import Backend, Head, Selection, ThreadRef, Transaction, metadata_digest
from narrator._memory import MemoryBackend
from narrator._saving import Stored
from narrator._tracked import track
from narrator._values import check_id, clean_text, to_json, utc, utc_now
from narrator._writer import ThreadWriter
from narrator.approval import PendingCall
from narrator.config import PoolSettings, database_url_from_env, parse_url
from narrator.errors import ConfigurationError, OwnerMismatch, ThreadNotFound
from narrator.file_store import FileStore
from narrator.message import Message
from narrator.reports import InitReport, StoreStatus
from narrator.search import Search, SearchPage
from narrator.thread import Thread, ThreadSummary
from narrator.turn import Turn, take_turn

_MOST_ROWS = 2**62  # what a database's integer can hold
DEFAULT_WAIT_S = 60.0
DEFAULT_LEASE = timedelta(seconds=30)


class ThreadStore:
    """Conversations on SQLite, PostgreSQL or in memory. Made by `create`; closed by `close` or `async with`.

    A store without an owner is the operator's: it sees all threads. `for_owner` gives a view of one owner's.
    Every method raises StoreUnavailable when the database stays away (5 tries within 30 s).
    """

    def __init__(self, backend: Backend, file_store: FileStore | None, owner: str | None = None) -> None:
        self._backend = backend
        self._owner = owner
        self._writer = ThreadWriter(backend, file_store, owner)
        self._default_files = False

    @property
    def file_store(self) -> FileStore | None:
        """Where attachments of saved messages go."""
        return self._writer.files

    @classmethod
    async def create(cls, url: str | None = None, *, file_store: FileStore | None = None) -> ThreadStore:
        """A store on the database of `url`; without one, in this process's memory. Never reads the URL's variable.

        `sqlite+aiosqlite:///app.db` and `postgresql+asyncpg://user:password@host/name` (the plain schemes too).
        An empty database gets its tables. Attachments of saved messages go to `file_store`; in memory, one in
        memory is the default. Raises ConfigurationError for a URL or NARRATOR_DB_* value that cannot work,
        SchemaError for tables of another version, StoreUnavailable when the database cannot be reached.
        """
        parsed = parse_url(url) if url is not None else None
        if parsed is None or parsed.backend == "memory":
            store = cls(MemoryBackend(), file_store or await FileStore.create())
            store._default_files = file_store is None
            return store
        from narrator._sql import SqlBackend

        backend = SqlBackend(parsed, PoolSettings.from_env())
        try:
            await backend.open()
        except BaseException:
            await backend.close()
            raise
        return cls(backend, file_store)

    @classmethod
    async def from_env(cls, *, file_store: FileStore | None = None) -> ThreadStore:
        """A store on the database of NARRATOR_DATABASE_URL; ConfigurationError when it is not set."""
        return await cls.create(database_url_from_env(), file_store=file_store)

    @classmethod
    async def initialize(cls, url: str) -> InitReport:
        """Make or upgrade the tables; a SQLite file is copied first. Safe when ten processes start at once."""
        parsed = parse_url(url)
        if parsed.backend == "memory":
            raise ConfigurationError(f"{url!r} names no database on disk; there is nothing to initialize")
        from narrator._sql import SqlBackend

        backend = SqlBackend(parsed, PoolSettings.from_env())
        try:
            before, after, backup_path = await backend.migrate()
        finally:
            await backend.close()
        return InitReport(before, after, backup_path)

    def use_files(self, file_store: FileStore) -> None:
        """Keep attachments in this file store from now on; ConfigurationError if it has another one already."""
        mine = self.file_store
        if mine is not None and not self._default_files and not mine.same_place(file_store):
            raise ConfigurationError(f"{self!r} keeps its files in {mine!r}, not in {file_store!r}; use one")
        self._default_files = False
        self._writer.files = file_store if self._owner is None else file_store.for_owner(self._owner)

    def for_owner(self, owner: str) -> ThreadStore:
        """A view that sees and writes only this owner's threads, messages and files (promise P15).

        Two owners may use the same thread id for threads of their own.
        """
        check_id(owner, "owner")
        if self._owner not in (None, owner):
            raise OwnerMismatch(f"this store is owner {self._owner!r}'s view; ask the whole store for {owner!r}'s")
        files = self.file_store.for_owner(owner) if self.file_store else None
        return ThreadStore(self._backend, files, owner)

    async def get_thread(self, thread_id: str) -> Thread:
        """A private copy of the thread with all its messages; ThreadNotFound when there is none (here)."""

        async def work(tx: Transaction, _attempt: int) -> tuple[Head, Stored]:
            head = await self._head(tx, thread_id)
            rows = await tx.read(head.key)
            values = (await tx.metadata([head.key])).get(head.key, {})
            return head, Stored(head, rows=rows, whole=True, metadata=values)

        head, stored = await self._backend.run(work, write=False)
        thread = Thread(id=head.id, owner=head.owner or None, created_at=head.created_at)
        _refresh.learn(thread, stored, self._backend.identity, None)
        return thread

    async def save_thread(self, thread: Thread) -> None:
        """Write what changed in this object since it was loaded or saved; afterwards it equals what is stored.

        Appended messages are always kept, whoever else writes (P3, P4): one that is stored already is not stored
        again. Edits, removals, moves: only if nobody else wrote since the load. Metadata merges by key. Costs
        what changed, not what the thread holds. Raises ThreadConflict or MessageConflict, FileTooLarge,
        FileStoreMissing, OwnerMismatch; then nothing was written and the object is as it was.
        """
        await self._writer.save(thread)

    def has_saved(self, thread: Thread, message: Message) -> bool:
        """Whether this very message object is one that `thread` loaded from here or saved here."""
        return self._writer.has_saved(thread, message)

    async def delete_thread(self, thread_id: str) -> bool:
        """Remove the thread, its messages, and the files that no other message refers to; False if there is none."""

        files: set[tuple[str, str]] | None = None

        async def work(tx: Transaction, _attempt: int) -> set[tuple[str, str]] | None:
            nonlocal files
            try:
                head = await self._head(tx, thread_id)
            except ThreadNotFound:
                return files  # found by an attempt whose COMMIT was not confirmed
            files = await tx.files_of(head.key)
            await tx.delete_thread(head.key)
            return files

        files = await self._writer.commit(work)
        if files is None:
            return False
        await self._writer.drop_files(files)
        return True

    async def pending_calls(self, thread_id: str | None = None, *, limit: int | None = None) -> list[PendingCall]:
        """The tool calls that wait for a decision, the oldest first; of one thread, or of all that are seen here."""
        return await approval.pending_calls(self._backend, self._owner, thread_id, limit)

    async def decide(
        self,
        pending_id: str,
        *,
        approved: bool,
        reason: str | None = None,
        by: str | None = None,
        valid_for: timedelta | None = None,
    ) -> PendingCall:
        """Decide on a tool call that waits, from any process; the thread's next `go` acts on it. What was decided on.

        An approval is used once, by the call that was asked about, as it is; after `valid_for` it is void, and the
        question is asked again. The model reads the `reason` of a denial. `by` is kept with it. Until it is used,
        a decision may be changed. Raises ApprovalNotFound when no question of this id waits (here) any more.
        """
        decision = approval.decision(approved, reason, by, valid_for)
        return await approval.decide(self._writer, self._owner, pending_id, decision)

    async def list_threads(
        self,
        *,
        limit: int | None = None,
        before: ThreadSummary | str | None = None,
        metadata: Mapping[str, Any] | None = None,
        updated_before: datetime | None = None,
    ) -> list[ThreadSummary]:
        """Summaries, the most recently saved first.

        `before`: the last summary (or its thread id) of the page before. `metadata`: only threads that have exactly
        these entries (5 is not "5" is not True; numbers compare as numbers). `updated_before`: strictly earlier.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit is {limit!r}; it must be at least 1, or None for all")
        selection = Selection(
            owner=self._owner,
            metadata=_digests(metadata or {}),
            updated_before=None if updated_before is None else utc(updated_before),
            limit=None if limit is None else min(limit, _MOST_ROWS),
        )

        async def work(tx: Transaction, _attempt: int) -> tuple[list[Head], dict[int, dict[str, str]]]:
            chosen = selection
            if isinstance(before, ThreadSummary):
                chosen = _page(selection, before.updated_at, before._key)
            elif before is not None:
                head = await self._head(tx, before)
                chosen = _page(selection, head.updated_at, head.key)
            heads = await tx.select(chosen)
            return heads, await tx.metadata([head.key for head in heads])

        heads, values = await self._backend.run(work, write=False)
        return [_refresh.summary(head, values.get(head.key, {})) for head in heads]

    async def search(
        self,
        query: str,
        *,
        limit: int = 20,
        before: str | None = None,
        except_thread: str | None = None,
        max_messages: int = 10_000,
    ) -> SearchPage:
        """The messages of users and assistants whose text has all words of the query, the newest first.

        A word is found inside of others, in whatever case (Unicode's case folding), and stands for itself: there are
        no patterns. Newest first: the threads as `list_threads` has them, in each the last message first. One search
        looks at up to `max_messages` messages (and 20 million characters); `before`: the page's `more`, to go on from
        there. `except_thread`: the id of one that is left out. Raises ValueError for a query without words, with more
        than 20, or of more than 200 characters.
        """
        search = Search(self._backend, self._owner, query, except_thread)
        return await search.run(limit, before, max_messages)

    async def purge(self, *, older_than: timedelta, dry_run: bool = False) -> int:
        """Delete the threads last saved longer than this ago, one transaction each; how many (there would be)."""
        if older_than < timedelta(0):
            raise ValueError(f"older_than is {older_than!r}; it must not be negative")
        cutoff = utc_now() - older_than
        old = await self._select(Selection(owner=self._owner, updated_before=cutoff))
        if dry_run:
            return len(old)
        return sum([await self._delete_if_old(head, cutoff) for head in old])

    async def collect_garbage(
        self, *, grace: timedelta = timedelta(hours=1), dry_run: bool = False
    ) -> _files.GarbageReport:
        """Remove files that no message refers to and that were not saved within `grace`, and unfinished ones."""
        if self.file_store is None:
            raise ConfigurationError(
                "this store has no file store; make it with ThreadStore.create(url, file_store=...)"
            )
        return await _files.collect_garbage(self._backend, self.file_store, grace, dry_run)

    async def status(self) -> StoreStatus:
        """Counts and the time of one round trip; holds no message content."""
        version = await self._backend.schema_version()
        started = perf_counter()
        await self._backend.run(_nothing, write=False)
        latency_ms = (perf_counter() - started) * 1000
        threads, messages, files = await self._backend.run(partial(_counts, self._owner), write=False)
        backend = self._backend
        return StoreStatus(backend.name, backend.location, version, threads, messages, files, round(latency_ms, 2))

    def turn(
        self, thread: Thread, *, wait_s: float = DEFAULT_WAIT_S, lease: timedelta = DEFAULT_LEASE
    ) -> AbstractAsyncContextManager[Turn]:
        """The turn on a stored thread, for one run: `async with store.turn(thread) as turn` (promise P5).

        Waits up to `wait_s` for the run that has it, then raises ThreadBusy. The lease is renewed while the
        block runs. On entry, `thread` has learnt what others stored.
        """
        return take_turn(self._writer, thread, wait_s=wait_s, lease=lease)

    async def close(self) -> None:
        """Give back this event loop's connections. The store opens new ones if it is used again."""
        await self._backend.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        owner = f", owner={self._owner!r}" if self._owner else ""
        return f"ThreadStore({self._backend.location!r}{owner})"

    async def _head(self, tx: Transaction, thread_id: str) -> Head:
        if clean_text(thread_id) != thread_id:
            found = []  # no thread can have it, and a database would choke on it
        elif self._owner is not None:
            head = await tx.head(ThreadRef(self._owner, thread_id, None))
            found = [head] if head else []
        else:
            found = await tx.heads(thread_id)
            if len(found) > 1 and found[0].owner:
                raise ThreadNotFound(
                    f"several owners have a thread {thread_id!r}; say whose: store.for_owner(...).get_thread(...)"
                )
        if not found:
            raise ThreadNotFound(
                f"no thread {thread_id!r} in {self!r}; make it with Thread(id={thread_id!r}) and save it"
            )
        return found[0]

    async def _select(self, selection: Selection) -> list[Head]:
        async def work(tx: Transaction, _attempt: int) -> list[Head]:
            return await tx.select(selection)

        return await self._backend.run(work, write=False)

    async def _delete_if_old(self, head: Head, cutoff: datetime) -> bool:
        async def work(tx: Transaction, _attempt: int) -> set[tuple[str, str]] | None:
            now = await tx.head(ThreadRef(head.owner, head.id, head.key))
            if now is None or now.updated_at >= cutoff:
                return None
            files = await tx.files_of(head.key)
            await tx.delete_thread(head.key)
            return files

        files = await self._writer.commit(work)
        await self._writer.drop_files(files or set())
        return files is not None


def _digests(entries: Mapping[str, Any]) -> tuple[bytes, ...]:
    checked = track(dict(entries), "metadata filter")
    return tuple(metadata_digest(name, to_json(value)) for name, value in checked.items())


def _page(selection: Selection, at: datetime, key: int) -> Selection:
    return Selection(selection.owner, selection.metadata, selection.updated_before, (at, key), selection.limit)


async def _nothing(tx: Transaction, _attempt: int) -> None:
    await tx.heads("")


async def _counts(owner: str | None, tx: Transaction, _attempt: int) -> tuple[int, int, int]:
    return await tx.counts(owner)
