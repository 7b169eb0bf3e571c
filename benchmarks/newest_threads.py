"""What the first page of a list costs: the newest 50 of 10,000 and 100,000 threads, and with a filter for 1 %."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.harness.case import Case, Plot, Setting
from benchmarks.harness.databases import Database, both_databases
from benchmarks.harness.figure import LIMIT, OURS, Budget, Figure
from benchmarks.harness.samples import Samples
from narrator._backend import metadata_digest

PAGE = 50
CUSTOMERS = 100  # so that one of them has 1 %
BUDGET_MS = {
    ("PostgreSQL", 100_000, False): Budget(4, limit_then=0.4),
    ("PostgreSQL", 100_000, True): Budget(10, limit_then=2),
}
THREAD_COLUMNS = ("key", "owner", "id", "created_at", "updated_at", "message_count", "tail", "revision", "reshaped")
NEWEST = "ORDER BY t.updated_at DESC, t.key DESC LIMIT 50"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


async def measure(setting: Setting) -> list[Figure]:
    """`list_threads(limit=50)`, plain and with `metadata=`, for each database and number of threads."""
    times: dict[tuple[str, int, bool], Samples] = defaultdict(Samples)
    async with both_databases(setting) as databases:
        there = 0
        for size in setting.size((10_000, 100_000), (500, 1_000)):
            for database in databases:
                await fill(database, range(there, size))
            there = size
            for number in range(1 + setting.size(30, 2)):  # the first round warms up
                for database in databases:
                    for filtered in (False, True):
                        key = database.name, size, filtered
                        await both(times[key] if number else Samples(), database, filtered)
    return [
        samples.figure(
            f"{name}, newest {PAGE} of {size:,}{', 1 % filter' if filtered else ''}",
            "ms",
            budget=BUDGET_MS.get((name, size, filtered)),
            series=f"{name}{', 1 % filter' if filtered else ''}",
            x=size,
        )
        for (name, size, filtered), samples in times.items()
    ]


async def both(samples: Samples, database: Database, filtered: bool) -> None:
    """The raw driver, and ours."""
    if filtered:
        # Materialized: PostgreSQL would walk through the newest threads, by several processes, for 50 that match.
        query = f"""WITH found AS MATERIALIZED
                    (SELECT thread FROM narrator_thread_metadata WHERE digest = {database.mark})
                    SELECT t.* FROM narrator_threads t JOIN found ON found.thread = t.key {NEWEST}"""
        await samples.time(LIMIT, database.fetch(query, metadata_digest("customer", "7")))
        await samples.time(OURS, database.store.list_threads(limit=PAGE, metadata={"customer": 7}))
    else:
        await samples.time(LIMIT, database.fetch(f"SELECT t.* FROM narrator_threads t {NEWEST}"))
        await samples.time(OURS, database.store.list_threads(limit=PAGE))


async def fill(database: Database, numbers: range) -> None:
    """Threads as `save_thread` would leave them, but a hundred times faster."""
    postgres = database.name == "PostgreSQL"

    def threads() -> Iterator[tuple[Any, ...]]:
        for n in numbers:
            moment: Any = EPOCH + timedelta(seconds=n) if postgres else int(EPOCH.timestamp() + n) * 1_000_000
            yield n + 1, "", f"thread-{n}", moment, moment, 2, 2 << 32, 1, 0, f"{n:032}"

    def values() -> Iterator[tuple[Any, ...]]:
        for n in numbers:
            for name, value in (("customer", str(n % CUSTOMERS)), ("channel", '"mail"')):
                yield n + 1, name, value, metadata_digest(name, value)

    await database.fill("narrator_threads", (*THREAD_COLUMNS, "last_write"), threads())
    await database.fill("narrator_thread_metadata", ("thread", "name", "value", "digest"), values())
    newest = await database.store.list_threads(limit=1, metadata={"customer": (numbers.stop - 1) % CUSTOMERS})
    if newest[0].id != f"thread-{numbers.stop - 1}":
        raise AssertionError(f"{database.name} was filled wrongly: its newest thread is {newest[0]!r}")


CASE = Case(
    "newest_threads",
    "The newest threads",
    measure,
    "`list_threads(limit=50)`, and with a metadata filter that 1 % of the threads pass. The limit is the raw driver"
    " with the least statement that finds the same threads, metadata not read.",
    Plot("threads", "ms", log_x=True, log_y=True),
)
