"""What one more saved message costs on threads of 10 to 10,000 messages, beside the raw driver; opening; 200 at once.

    python -m benchmarks.save_one_more [--postgres URL] [--rounds 30] [--json FILE]

Without --postgres it starts a PostgreSQL server of its own. All measurements of a round are taken in turn, so that
noise of the machine falls on all alike; figures are medians in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sqlite3
import statistics
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import Engine

from narrator import Message, Thread, ThreadStore

SIZES = (10, 100, 1_000, 10_000)
TEXT = "a message of ordinary length, as people write them to a support bot. " * 3
AT_ONCE = 200

Figures = dict[str, Any]


@dataclass
class Database:
    """A store, and the raw driver on the same database: one plain, fsynced insert, and reading it all."""

    name: str
    store: ThreadStore
    insert: Callable[[int], Awaitable[None]]
    read_all: Callable[[str], Awaitable[None]]
    written_bytes: Callable[[], Awaitable[int]]


@contextlib.asynccontextmanager
async def sqlite_database(folder: Path) -> AsyncIterator[Database]:
    path = folder / "bench.db"
    async with await ThreadStore.create(f"sqlite:///{path}") as store:
        raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("CREATE TABLE raw (number INTEGER PRIMARY KEY, content TEXT)")

        async def insert(number: int) -> None:
            raw.execute("INSERT INTO raw VALUES (?, ?)", (number, TEXT))

        async def read_all(thread_id: str) -> None:
            raw.execute(
                "SELECT m.* FROM narrator_messages m JOIN narrator_threads t ON m.thread = t.key WHERE t.id = ?"
                " ORDER BY position",
                (thread_id,),
            ).fetchall()

        async def written_bytes() -> int:
            # Frames in the log since it was last copied back: the pages that were written.
            pages = raw.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[1]
            return int(pages) * int(raw.execute("PRAGMA page_size").fetchone()[0])

        yield Database("SQLite", store, insert, read_all, written_bytes)
        raw.close()


@contextlib.asynccontextmanager
async def postgres_database(url: str) -> AsyncIterator[Database]:
    async with await ThreadStore.create(url) as store:
        raw = await asyncpg.connect(url.replace("+asyncpg", ""))
        await raw.execute("DROP TABLE IF EXISTS raw; CREATE TABLE raw (number bigint PRIMARY KEY, content text)")

        async def insert(number: int) -> None:
            await raw.execute("INSERT INTO raw VALUES ($1, $2)", number, TEXT)

        async def read_all(thread_id: str) -> None:
            await raw.fetch(
                "SELECT m.* FROM narrator_messages m JOIN narrator_threads t ON m.thread = t.key WHERE t.id = $1"
                " ORDER BY position",
                thread_id,
            )

        last = [await raw.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'")]

        async def written_bytes() -> int:
            before, last[0] = last[0], await raw.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'")
            return int(last[0] - before)

        yield Database("PostgreSQL", store, insert, read_all, written_bytes)
        await raw.close()


class Statements:
    """Counts what is sent to a database, transaction control aside."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Statements:
        event.listen(Engine, "before_cursor_execute", self._seen)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(Engine, "before_cursor_execute", self._seen)

    def _seen(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self.count += not statement.startswith("BEGIN")


async def milliseconds(work: Awaitable[object]) -> float:
    started = perf_counter()
    await work
    return (perf_counter() - started) * 1000


async def measure(databases: list[Database], rounds: int) -> list[Figures]:
    """One row for each database and thread length."""
    threads: dict[tuple[str, int], Thread] = {}
    times: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    extra: dict[tuple[str, int], Figures] = {}
    for database in databases:
        for size in SIZES:
            thread = Thread(messages=[Message(role="user", content=f"{n} {TEXT}") for n in range(size)])
            await database.store.save_thread(thread)
            threads[database.name, size] = thread
    for number in range(rounds + 2):
        for size in SIZES:
            for database in databases:
                key, thread = (database.name, size), threads[database.name, size]
                counting = number == rounds + 1
                if counting:
                    await database.written_bytes()
                raw_ms = await milliseconds(database.insert(number * len(SIZES) + SIZES.index(size)))
                raw_bytes = await database.written_bytes() if counting else 0
                thread.add_message(Message(role="user", content=TEXT))
                with Statements() if counting else contextlib.nullcontext(Statements()) as statements:
                    save_ms = await milliseconds(database.store.save_thread(thread))
                if counting:
                    written = await database.written_bytes()
                    extra[key] = {"statements": statements.count, "bytes": written, "raw_bytes": raw_bytes}
                elif number:  # the first round warms up
                    times[(*key, "raw")].append(raw_ms)
                    times[(*key, "save")].append(save_ms)
                if size >= 1_000:
                    raw_open_ms = await milliseconds(database.read_all(thread.id))
                    open_ms = await milliseconds(database.store.get_thread(thread.id))
                    if number and not counting:
                        times[(*key, "raw_open")].append(raw_open_ms)
                        times[(*key, "open")].append(open_ms)
    return [row(name, size, times, extra[name, size]) for name, size in threads]


def row(name: str, size: int, times: dict[tuple[str, int, str], list[float]], extra: Figures) -> Figures:
    medians = {
        f"{what}_ms": round(statistics.median(values), 2)
        for what in ("raw", "save", "raw_open", "open")
        if (values := times.get((name, size, what)))
    }
    return {
        "database": name,
        "messages": size,
        **medians,
        "ratio": round(medians["save_ms"] / medians["raw_ms"], 1),
        **extra,
    }


async def two_hundred_at_once(database: Database) -> Figures:
    """Two hundred conversations save a turn (two messages) at the same time."""
    threads = [Thread(messages=[Message(role="user", content=TEXT) for _ in range(2)]) for _ in range(AT_ONCE)]
    started = perf_counter()
    outcome = await asyncio.gather(*map(database.store.save_thread, threads), return_exceptions=True)
    seconds = perf_counter() - started
    errors = sum(isinstance(one, BaseException) for one in outcome)
    return {
        "database": database.name,
        "saves": AT_ONCE,
        "seconds": round(seconds, 2),
        "saves_per_s": round(AT_ONCE / seconds),
        "errors": errors,
    }


def table(rows: list[Figures]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    lines += [f"| {' | '.join(str(row.get(name, '')) for name in names)} |" for row in rows]
    return "\n".join(lines)


async def run(postgres: str, rounds: int) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        async with sqlite_database(Path(folder)) as sqlite, postgres_database(postgres) as postgresql:
            databases = [sqlite, postgresql]
            saves = await measure(databases, rounds)
            return {"save_one_more": saves, "at_once": [await two_hundred_at_once(one) for one in databases]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--postgres", metavar="URL", help="an empty database; default: a server of its own")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if options.postgres is None:
            from tests.postgres_server import PostgresServer

            server = PostgresServer.start()
            stack.callback(server.close)
            options.postgres = server.create_database("bench")
        figures = asyncio.run(run(options.postgres, options.rounds))
    for name, rows in figures.items():
        print(f"\n### {name}\n\n{table(rows)}")
    print(f"\n```json\n{json.dumps(figures)}\n```")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
