"""The store's own part of a turn: one more saved message on threads of 10 to 10,000, beside a plain insert."""

from __future__ import annotations

from collections import defaultdict

from benchmarks.harness.case import Case, Plot, Setting
from benchmarks.harness.databases import TEXT, Database, Statements, both_databases, stored_thread
from benchmarks.harness.figure import LIMIT, OURS, Budget, Figure
from benchmarks.harness.samples import Samples, significant
from narrator import Message, Thread

SIZES = (10, 100, 1_000, 10_000)
FLAT = Budget(1.5)


async def measure(setting: Setting) -> list[Figure]:
    """Time, statements and bytes for each database and length, and how flat the time is."""
    sizes = setting.size(SIZES, (10, 1_000))
    times: dict[tuple[str, int], Samples] = defaultdict(Samples)
    async with both_databases(setting) as databases:
        threads = {(one.name, size): await stored_thread(one.store, size) for size in sizes for one in databases}
        for number in range(1 + setting.size(30, 2)):  # the first round warms up
            for size in sizes:
                for database in databases:
                    key = database.name, size
                    taken = times[key] if number else Samples()
                    await taken.time(LIMIT, database.insert())
                    await taken.time(OURS, one_more(database, threads[key]))
        figures = []
        for database in databases:
            for size in sizes:
                key = database.name, size
                what = f"{database.name}, {size:,} messages"
                figures.append(times[key].figure(f"{what}: time", "ms", series=database.name, x=size))
                figures += await costs(what, database, threads[key])
            short, long = (times[database.name, size].median(OURS) for size in (sizes[0], sizes[-1]))
            flat = {OURS: significant(long / short)}
            figures.append(Figure(f"{database.name}, {sizes[-1]:,} beside {sizes[0]} messages", "times", flat, FLAT))
    return figures


async def one_more(database: Database, thread: Thread) -> None:
    thread.add_message(Message(role="user", content=TEXT))
    await database.store.save_thread(thread)


async def costs(what: str, database: Database, thread: Thread) -> list[Figure]:
    """Statements, and bytes of the database's log; they are the same each time."""
    statements, written = Samples(), Samples()
    await database.written_bytes()
    await database.insert()
    written.add(LIMIT, await database.written_bytes())
    with Statements() as sent:
        await one_more(database, thread)
    written.add(OURS, await database.written_bytes())
    statements.add(OURS, sent.count)
    return [statements.figure(f"{what}: statements", "statements"), written.figure(f"{what}: written", "bytes")]


CASE = Case(
    "save_one_more",
    "One more saved message: the store alone",
    measure,
    "`save_thread` after one `add_message`. The limit is one plain insert, committed.",
    Plot("messages in the thread", "ms", log_x=True, log_y=True),
)
