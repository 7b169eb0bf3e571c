"""What a million messages take on the disk, table by table, and what opening such a database costs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter

from benchmarks.harness.case import Case, Setting
from benchmarks.harness.databases import Database
from benchmarks.harness.figure import LIMIT, OURS, Figure
from benchmarks.harness.filled import SHARED, Size, filled_databases
from benchmarks.harness.samples import Samples, significant
from narrator import ThreadStore

RELATIONS = {
    "PostgreSQL": """SELECT coalesce(i.indrelid::regclass::text || ': ' || r.relname, r.relname),
                            pg_relation_size(r.oid) + coalesce(pg_relation_size(nullif(r.reltoastrelid, 0)), 0)
                     FROM pg_class r LEFT JOIN pg_index i ON i.indexrelid = r.oid
                     WHERE r.relkind IN ('r', 'i') AND coalesce(i.indrelid::regclass::text, r.relname) LIKE 'narrator%'
                     ORDER BY 1""",
    "SQLite": """SELECT CASE m.type WHEN 'index' THEN m.tbl_name || ': ' || m.name ELSE m.name END, sum(s.pgsize)
                 FROM dbstat s JOIN sqlite_master m ON m.name = s.name
                 WHERE m.tbl_name LIKE 'narrator%' GROUP BY 1 ORDER BY 1""",
}


async def measure(setting: Setting) -> list[Figure]:
    """Bytes a message of each table and index; milliseconds of opening, of `narrator init`, of `status`."""
    figures: list[Figure] = []
    started = perf_counter()
    async with filled_databases(setting) as (size, databases):
        seconds = perf_counter() - started
        rows = size.messages * len(databases)
        figures.append(Figure("both filled: messages", "messages/s", {OURS: significant(rows / seconds)}))
        urls = {"SQLite": f"sqlite:///{setting.folder / 'bench.db'}", "PostgreSQL": setting.postgres_url}
        for database in databases:
            figures += await sizes(database, size)
            figures += await openings(setting, database, urls[database.name])
    return figures


async def sizes(database: Database, size: Size) -> list[Figure]:
    """A row for each table and index that holds something, and their sum beside the text alone."""
    found = {str(name): int(used) for name, used in await database.fetch(RELATIONS[database.name])}
    count = size.messages
    figures = [
        Figure(f"{database.name}, {name}", "bytes a message", {OURS: significant(used / count)})
        for name, used in found.items()
        if used / count >= 1
    ]
    text = (await database.fetch("SELECT sum(length(content)) FROM narrator_messages"))[0][0]
    total = {OURS: significant(sum(found.values()) / count), LIMIT: significant(int(text) / count)}
    return [*figures, Figure(f"{database.name}, in all", "bytes a message", total)]


async def openings(setting: Setting, database: Database, url: str) -> list[Figure]:
    """What a process pays that opens it, and what the command's `init` and `status` do."""

    async def create() -> None:
        await (await ThreadStore.create(url)).close()

    works: dict[str, Callable[[], Awaitable[object]]] = {
        "ThreadStore.create": create,
        "narrator init, tables are current": lambda: ThreadStore.initialize(url),
        "status, which counts": database.store.status,
    }
    figures = []
    for name, work in works.items():
        samples = Samples()
        for _ in range(setting.size(5, 1)):
            await samples.time(OURS, work())
        figures.append(samples.figure(f"{database.name}: {name}", "ms"))
    return figures


CASE = Case(
    "large_sizes",
    "A million messages: size",
    measure,
    "1,000,000 messages in 100,000 threads of 1,000 owners, three entries of metadata and one tool call a thread,"
    " loaded in bulk with the rows that saves would have left. Bytes a message are megabytes a million; tables and"
    " indexes below one byte a message are left out. The limit is the text of the messages alone.",
    shares=SHARED,
)
