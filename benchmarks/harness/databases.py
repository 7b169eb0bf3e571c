"""A store beside the raw driver on the same database: plain, synced inserts and reads, the least possible work."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import Engine

from benchmarks.harness.case import Setting
from narrator import Message, Thread, ThreadStore

TEXT = "a message of ordinary length, as people write them to a support bot. " * 3
_THREAD = (
    "SELECT m.* FROM narrator_messages m JOIN narrator_threads t ON m.thread = t.key WHERE t.id = {0} ORDER BY position"
)
_POOL = 15  # as many as the store's own pool opens


@dataclass
class Database:
    """A store, and what the raw driver does on the same database.

    `insert` is one message in a transaction of its own. `fetch` is any SELECT. `fill` puts rows into a table of the
    store's. `written_bytes` is what was written since it was last called.
    """

    name: str
    store: ThreadStore
    insert: Callable[[], Awaitable[None]]
    fetch: Callable[..., Awaitable[Sequence[Any]]]
    fill: Callable[[str, Sequence[str], Iterable[Sequence[Any]]], Awaitable[None]]
    written_bytes: Callable[[], Awaitable[int]]
    mark: str  # of the first parameter in a statement

    async def read_all(self, thread_id: str) -> Sequence[Any]:
        """All rows of a thread."""
        return await self.fetch(_THREAD.format(self.mark), thread_id)


@contextlib.asynccontextmanager
async def both_databases(setting: Setting) -> AsyncIterator[list[Database]]:
    """SQLite in the setting's folder, and its PostgreSQL."""
    async with sqlite_database(setting) as sqlite, postgres_database(setting) as postgres:
        yield [sqlite, postgres]


@contextlib.asynccontextmanager
async def sqlite_database(setting: Setting) -> AsyncIterator[Database]:
    """A file of SQLite; the raw driver is the standard library's, called without a thread."""
    path = setting.folder / "bench.db"
    async with await ThreadStore.create(f"sqlite:///{path}") as store:
        raw = sqlite3.connect(path, isolation_level=None, timeout=30)
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("CREATE TABLE IF NOT EXISTS raw (number INTEGER PRIMARY KEY, content TEXT)")

        async def insert() -> None:
            raw.execute("INSERT INTO raw (content) VALUES (?)", (TEXT,))

        async def fetch(query: str, *values: Any) -> Sequence[Any]:
            return raw.execute(query, values).fetchall()

        async def fill(table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
            marks = ", ".join("?" * len(columns))
            raw.execute("BEGIN")
            raw.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
            raw.execute("COMMIT")

        async def written_bytes() -> int:
            # Frames in the log since it was last copied back: the pages that were written.
            pages = raw.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[1]
            return int(pages) * int(raw.execute("PRAGMA page_size").fetchone()[0])

        yield Database("SQLite", store, insert, fetch, fill, written_bytes, "?")
        raw.close()


@contextlib.asynccontextmanager
async def postgres_database(setting: Setting) -> AsyncIterator[Database]:
    """The setting's PostgreSQL; the raw driver is asyncpg with a pool as large as the store's."""
    async with await ThreadStore.create(setting.postgres_url) as store:
        url = setting.postgres_url.replace("+asyncpg", "")
        async with asyncpg.create_pool(url, min_size=1, max_size=_POOL) as raw:
            await raw.execute("CREATE TABLE IF NOT EXISTS raw (number bigserial PRIMARY KEY, content text)")

            async def insert() -> None:
                await raw.execute("INSERT INTO raw (content) VALUES ($1)", TEXT)

            async def fetch(query: str, *values: Any) -> Sequence[Any]:
                found: Sequence[Any] = await raw.fetch(query, *values)
                return found

            async def fill(table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
                await raw.copy_records_to_table(table, records=rows, columns=columns)
                await raw.execute(f"ANALYZE {table}")

            last = [0]

            async def written_bytes() -> int:
                before, last[0] = last[0], await raw.fetchval("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
                return last[0] - before

            yield Database("PostgreSQL", store, insert, fetch, fill, written_bytes, "$1")


@dataclass(frozen=True)
class Statement:
    """One that the store sent, as the driver got it; of many rows, the first one's parameters."""

    text: str
    parameters: Sequence[Any]


class Statements:
    """What the store sends to its database, transaction control aside."""

    def __init__(self) -> None:
        self.seen: list[Statement] = []

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self.seen)

    def __enter__(self) -> Statements:
        event.listen(Engine, "before_cursor_execute", self._see)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(Engine, "before_cursor_execute", self._see)

    def _see(
        self, _connection: object, _cursor: object, text: str, parameters: Any, _context: object, many: bool
    ) -> None:
        if not text.startswith("BEGIN"):
            rows = many and isinstance(parameters[0], tuple)  # many rows in one INSERT have all their values in one
            self.seen.append(Statement(text, tuple(parameters[0] if rows else parameters)))


async def stored_thread(store: ThreadStore, size: int) -> Thread:
    """A thread with so many messages, in turns of user and assistant, saved."""
    roles = ("user", "assistant")
    thread = Thread(messages=[Message(role=roles[n % 2], content=f"{n} {TEXT}") for n in range(size)])
    await store.save_thread(thread)
    return thread


async def at_once(works: Iterable[Awaitable[object]]) -> list[BaseException]:
    """Do them all at the same time; what failed."""
    outcome = await asyncio.gather(*works, return_exceptions=True)
    return [one for one in outcome if isinstance(one, BaseException)]
