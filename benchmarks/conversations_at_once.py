"""How many turns a second one process serves: 200 conversations at once on PostgreSQL, 50 on SQLite, 20 turns each."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter

from benchmarks.harness.case import Case, Plot, Setting
from benchmarks.harness.clients import QUESTION, Ask, agent, bare_clients, over_httpx, over_litellm
from benchmarks.harness.databases import Database, at_once, both_databases
from benchmarks.harness.figure import LIMIT, LITELLM, OURS, Budget, Figure
from benchmarks.harness.samples import Samples, significant
from narrator import Message, Thread
from tyler import Agent

AT_ONCE = {"PostgreSQL": 200, "SQLite": 50}
TURNS, SLICES = 20, 4
BUDGET = {"PostgreSQL": Budget(130, "at least", limit_then=680)}
Turns = Callable[[int], Awaitable[list[BaseException]]]


async def measure(setting: Setting) -> list[Figure]:
    """Turns a second, the slowest 5 % and errors, for each database."""
    figures = []
    async with both_databases(setting) as databases, bare_clients(setting.size(max(AT_ONCE.values()), 4)) as clients:
        bare, alone = [over_httpx(client, setting.model()) for client in clients], over_litellm(setting.model())
        for database in reversed(databases):
            count = setting.size(AT_ONCE[database.name], 4)
            async with agent(setting.model(), thread_store=database.store) as ours:
                figures += await measured(setting, database, count, ours, bare, alone)
    return figures


async def measured(
    setting: Setting, database: Database, count: int, ours: Agent, bare: list[Ask], alone: Ask
) -> list[Figure]:
    """The turns in slices, the limit and litellm between them."""
    threads = [Thread() for _ in range(count)]
    turn_ms: list[float] = []
    speed, errors = Samples(), list[BaseException]()

    async def converse(thread: Thread, turns: int) -> None:
        for _ in range(turns):
            thread.add_message(Message(role="user", content=QUESTION))
            started = perf_counter()
            await ours.go(thread)
            turn_ms.append((perf_counter() - started) * 1000)

    async def by_hand(ask: Ask, turns: int, database: Database | None) -> None:
        for _ in range(turns):
            if database:
                await database.insert()
            await ask([{"role": "user", "content": QUESTION}])
            if database:
                await database.insert()

    whose: dict[str, Turns] = {
        LIMIT: lambda turns: at_once(by_hand(ask, turns, database) for ask in bare[:count]),
        LITELLM: lambda turns: at_once(by_hand(alone, turns, None) for _ in range(count)),
        OURS: lambda turns: at_once(converse(thread, turns) for thread in threads),
    }
    slices = setting.size(SLICES, 2)
    turns = setting.size(TURNS, 2) // slices
    for _ in range(slices):
        for who, run in whose.items():
            done, started = len(turn_ms), perf_counter()
            failed = await run(turns)
            seconds = perf_counter() - started
            if who == OURS:
                errors += failed
            elif failed:
                raise failed[0]
            speed.add(who, (len(turn_ms) - done if who == OURS else count * turns) / seconds)
    if errors:
        print(f"{database.name}: {len(errors)} conversations failed, the first with {errors[0]!r}", file=sys.stderr)
    what = f"{database.name}, {count} conversations of {slices * turns} turns"
    p95 = significant(statistics.quantiles(turn_ms, n=20)[-1])
    x = f"{database.name}, {count} at once"
    return [
        speed.figure(f"{what}: speed", "turns/s", budget=BUDGET.get(database.name), series="turns/s", x=x),
        Figure(f"{what}: 95 % of the turns within", "ms", {OURS: p95}),
        Figure(f"{what}: errors", "errors", {OURS: len(errors)}, Budget(0)),
    ]


CASE = Case(
    "conversations_at_once",
    "Conversations at once",
    measure,
    "One process, the store's default pool of 5 + 10 connections. All conversations talk at once, each turn `agent.go`"
    " on a thread in memory. The limit is two plain inserts around the request over bare httpx, 15 connections"
    " and a client for each conversation;"
    " litellm is the request alone, nothing stored.",
    Plot("", "turns a second", kind="bars"),
)
