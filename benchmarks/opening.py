"""What it costs to open a long thread, beside the raw driver that reads the same rows."""

from __future__ import annotations

from collections import defaultdict

from benchmarks.harness.case import Case, Plot, Setting
from benchmarks.harness.databases import both_databases, stored_thread
from benchmarks.harness.figure import LIMIT, OURS, Budget, Figure
from benchmarks.harness.samples import Samples

BUDGET_MS = {("PostgreSQL", 10_000): Budget(90, limit_then=17), ("SQLite", 10_000): Budget(45, limit_then=8)}


async def measure(setting: Setting) -> list[Figure]:
    """`get_thread`, for each database and length."""
    times: dict[tuple[str, int], Samples] = defaultdict(Samples)
    async with both_databases(setting) as databases:
        sizes = setting.size((1_000, 10_000), (10, 100))
        threads = {(one.name, size): await stored_thread(one.store, size) for size in sizes for one in databases}
        for number in range(1 + setting.size(20, 2)):  # the first round warms up
            for size in sizes:
                for database in databases:
                    key = database.name, size
                    taken = times[key] if number else Samples()
                    await taken.time(LIMIT, database.read_all(threads[key].id))
                    await taken.time(OURS, database.store.get_thread(threads[key].id))
    return [
        samples.figure(f"{name}, {size:,} messages", "ms", budget=BUDGET_MS.get((name, size)), series=name, x=size)
        for (name, size), samples in times.items()
    ]


CASE = Case(
    "opening",
    "Opening a thread",
    measure,
    "`get_thread`: all messages as objects. The limit is the raw driver that reads the same rows as tuples.",
    Plot("messages in the thread", "ms", log_x=True, log_y=True),
)
