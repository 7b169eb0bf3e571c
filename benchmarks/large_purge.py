"""How fast old threads are removed among a million messages, who waits meanwhile, and what that does to the size."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from time import perf_counter
from typing import TypeVar

from benchmarks.harness.case import Case, Setting
from benchmarks.harness.clients import QUESTION
from benchmarks.harness.databases import Database
from benchmarks.harness.figure import OURS, Figure
from benchmarks.harness.filled import DAYS, SHARED, Size, conversation, filled_databases
from benchmarks.harness.samples import Samples, beside_the_limit, significant
from narrator import Message, Thread, ThreadStore

KEPT = timedelta(days=DAYS * 0.9)  # a tenth is older
PAUSE_S = 0.05  # between the appends beside
SIZE = {
    "PostgreSQL": "SELECT pg_database_size(current_database())",
    "SQLite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
}
T = TypeVar("T")
TIDIED = {"PostgreSQL": ("VACUUM", "VACUUM FULL"), "SQLite": ("VACUUM",)}


async def measure(setting: Setting) -> list[Figure]:
    """Threads and messages a second, the appends beside, and sizes in MB."""
    figures: list[Figure] = []
    async with filled_databases(setting) as (size, databases):
        urls = {"SQLite": f"sqlite:///{setting.folder / 'bench.db'}", "PostgreSQL": setting.postgres_url}
        for database in databases:
            async with await ThreadStore.create(urls[database.name]) as writer:  # with connections of its own
                figures += await purged(setting, database, size, writer)
    return figures


async def purged(setting: Setting, database: Database, size: Size, writer: ThreadStore) -> list[Figure]:
    """One database's rows."""
    name, sizes = database.name, [await megabytes(database)]
    alone = Samples()
    await appends(alone, writer, asyncio.sleep(setting.size(3.0, 0.2)))
    by_hand = setting.size(500, 5)
    oldest = await database.fetch(f"SELECT key FROM narrator_threads ORDER BY updated_at, key LIMIT {by_hand}")
    started = perf_counter()
    for (key,) in oldest:
        await database.fetch(f"DELETE FROM narrator_threads WHERE key = {database.mark}", key)
    raw = by_hand / (perf_counter() - started)
    beside = Samples()
    started = perf_counter()
    gone = await appends(beside, writer, database.store.purge(older_than=KEPT))
    rate = gone / (perf_counter() - started)
    sizes.append(await megabytes(database))
    each = len(conversation())
    figures = [
        Figure(f"{name}, purge of {gone:,} threads: speed", "threads/s", beside_the_limit(rate, raw)),
        Figure(
            f"{name}, purge of {gone:,} threads: speed in messages",
            "messages/s",
            beside_the_limit(rate * each, raw * each),
        ),
        alone.figure(f"{name}, append with nothing beside: median", "ms"),
        Figure(f"{name}, append with nothing beside: longest", "ms", {OURS: significant(alone.longest(OURS))}),
        beside.figure(f"{name}, append beside the purge: median", "ms"),
        Figure(f"{name}, append beside the purge: longest", "ms", {OURS: significant(beside.longest(OURS))}),
        Figure(f"{name}, size before", "MB", {OURS: sizes[0]}),
        Figure(f"{name}, size after the purge", "MB", {OURS: sizes[1]}),
    ]
    for command in TIDIED[name]:
        started = perf_counter()
        await database.fetch(command)
        seconds = perf_counter() - started
        figures.append(Figure(f"{name}, {command}", "s", {OURS: significant(seconds)}))
        figures.append(Figure(f"{name}, size after {command}", "MB", {OURS: await megabytes(database)}))
    return figures


async def appends(samples: Samples, store: ThreadStore, during: Awaitable[T]) -> T:
    """Append to a thread of its own, with pauses, until the work is done; its outcome."""
    work = asyncio.ensure_future(during)
    thread = Thread()
    while not work.done():
        thread.add_message(Message(role="user", content=QUESTION))
        await samples.time(OURS, store.save_thread(thread))
        await asyncio.sleep(PAUSE_S)
    return await work


async def megabytes(database: Database) -> float:
    """The whole database."""
    return significant(int((await database.fetch(SIZE[database.name]))[0][0]) / 1e6)


CASE = Case(
    "large_purge",
    "A million messages: purge",
    measure,
    "`store.purge(older_than=...)` for the oldest tenth, one transaction a thread, while another store appends a"
    " message every 50 ms. The limit is the raw driver: one DELETE a thread, committed, the foreign keys take the"
    " rest. VACUUM of PostgreSQL makes the room of what is gone free for new rows; only VACUUM FULL, which locks"
    " everybody out, gives it back to the disk.",
    shares=SHARED,
)
