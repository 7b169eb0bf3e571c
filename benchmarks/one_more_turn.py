"""What one more stored turn costs on threads of 10 to 10,000 messages: time, CPU, statements, bytes written.

The thread is in memory, as a worker has it that serves a conversation; opening it first is `opening.py`'s.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import process_time

from benchmarks.harness.case import Case, Plot, Setting
from benchmarks.harness.clients import QUESTION, Ask, agent, bare_client, over_httpx, over_litellm
from benchmarks.harness.databases import Database, Statements, both_databases, stored_thread
from benchmarks.harness.figure import LIMIT, LITELLM, OURS, Budget, Figure
from benchmarks.harness.samples import Samples
from narrator import Message, Thread
from tyler import Agent

SIZES = (10, 100, 1_000, 10_000)
SHORT = 100  # a thread up to here would grow visibly: each round has a new one
LONG, ROUNDS_OF_LONG = 10_000, 5  # each takes seconds
BUDGET_MS = {
    ("PostgreSQL", 10): Budget(15, limit_then=2.2),
    ("PostgreSQL", 1_000): Budget(30, limit_then=6.2),
    ("PostgreSQL", 10_000): Budget(200, limit_then=52),
    ("SQLite", 10): Budget(11, limit_then=0.6),
    ("SQLite", 1_000): Budget(25, limit_then=5.1),
    ("SQLite", 10_000): Budget(170, limit_then=52),
}
MOST_BYTES = Budget(6_000)


@dataclass
class Row:
    """The samples of one database and length."""

    time: Samples = field(default_factory=Samples)
    cpu: Samples = field(default_factory=Samples)
    statements: Samples = field(default_factory=Samples)
    written: Samples = field(default_factory=Samples)


async def measure(setting: Setting) -> list[Figure]:
    """Four rows for each database and length."""
    base_url = setting.model()
    sizes = setting.size(SIZES, (10, 100))
    rows: dict[tuple[str, int], Row] = defaultdict(Row)
    async with both_databases(setting) as databases, bare_client() as client, contextlib.AsyncExitStack() as stack:
        bare, alone = over_httpx(client, base_url), over_litellm(base_url)
        agents = {
            database.name: await stack.enter_async_context(agent(base_url, thread_store=database.store))
            for database in databases
        }
        threads: dict[tuple[str, int], Thread] = {}
        for number in range(1 + setting.size(9, 1)):  # the first round warms up
            for size in sizes:
                for database in databases if size < LONG or number <= ROUNDS_OF_LONG else ():
                    key = database.name, size
                    if key not in threads or size <= SHORT:
                        threads[key] = await stored_thread(database.store, size)
                    taken = rows[key] if number else Row()
                    await limit_and_litellm(taken, database, threads[key], bare, alone)
                    await our_turn(taken, database, threads[key], agents[database.name])
    return [figure for (name, size), row in rows.items() for figure in figures(name, size, row)]


async def limit_and_litellm(row: Row, database: Database, thread: Thread, bare: Ask, alone: Ask) -> None:
    """A stored message, the request over bare httpx, a stored message; and litellm, nothing stored."""
    messages = [{"role": message.role, "content": message.content} for message in thread.messages]
    messages.append({"role": "user", "content": QUESTION})

    async def turn() -> None:
        await database.insert()
        await bare(messages)
        await database.insert()

    await database.written_bytes()
    async with cpu(row.cpu, LIMIT):
        await row.time.time(LIMIT, turn())
    row.written.add(LIMIT, await database.written_bytes())
    async with cpu(row.cpu, LITELLM):
        await row.time.time(LITELLM, alone(messages))


async def our_turn(row: Row, database: Database, thread: Thread, ours: Agent) -> None:
    thread.add_message(Message(role="user", content=QUESTION))
    await database.written_bytes()
    with Statements() as statements:
        async with cpu(row.cpu, OURS):
            await row.time.time(OURS, ours.go(thread))
    row.written.add(OURS, await database.written_bytes())
    row.statements.add(OURS, statements.count)


@contextlib.asynccontextmanager
async def cpu(samples: Samples, who: str) -> AsyncIterator[None]:
    """Adds the milliseconds of processor that the block takes in this process, all threads."""
    started = process_time()
    yield
    samples.add(who, (process_time() - started) * 1000)


def figures(name: str, size: int, row: Row) -> list[Figure]:
    """The rows of one database and length."""
    what = f"{name}, {size:,} messages"
    most_bytes = MOST_BYTES if name == "PostgreSQL" else None
    return [
        row.time.figure(f"{what}: time", "ms", budget=BUDGET_MS.get((name, size)), series=name, x=size),
        row.cpu.figure(f"{what}: CPU", "ms"),
        row.statements.figure(f"{what}: statements", "statements"),
        row.written.figure(f"{what}: written", "bytes", budget=most_bytes),
    ]


CASE = Case(
    "one_more_turn",
    "One more stored turn",
    measure,
    "`agent.go` on a thread that is in memory, with a model that answers at once. The limit is two plain inserts, each"
    " committed, around the request over bare httpx; litellm is the request alone, nothing stored. CPU is of this"
    " process, the server of PostgreSQL not counted. Bytes are of the database's log.",
    Plot("messages in the thread", "ms", log_x=True, log_y=True),
)
