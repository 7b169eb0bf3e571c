"""How far processes scale, on one PostgreSQL and on one SQLite file, and whose processor time is the limit."""

from __future__ import annotations

import asyncio
import os
from multiprocessing.context import ForkServerContext

from benchmarks.harness.case import Case, Plot, Setting
from benchmarks.harness.figure import OURS, Budget, Figure
from benchmarks.harness.samples import significant
from benchmarks.harness.workers import Job, Served, context, served
from narrator import ThreadStore

CONVERSATIONS = 40
RAMP_S, SECONDS = 3.0, 8.0
WORKERS = (1, 2, 4, 8)


async def measure(setting: Setting) -> list[Figure]:
    """For each database and number of workers: turns a second, p95, errors, processor time; and what follows of it."""
    figures: list[Figure] = []
    forking = context()
    for name, url in (("PostgreSQL", setting.postgres_url), ("SQLite", f"sqlite:///{setting.folder / 'bench.db'}")):
        async with await ThreadStore.create(url):
            pass  # its tables, before the workers come
        for workers in setting.size(WORKERS, (2,)):
            figures += await asyncio.to_thread(_served, setting, name, url, workers, forking)
    return figures


def _served(setting: Setting, name: str, url: str, workers: int, forking: ForkServerContext) -> list[Figure]:
    conversations = setting.size(CONVERSATIONS, 4)
    ramp_s, seconds = setting.size((RAMP_S, SECONDS), (0.5, 3.0))
    what = f"{name}, {workers} worker{'s'[: workers - 1]}"
    jobs = [Job(url, setting.model(), what, range(n, conversations, workers), seconds, ramp_s) for n in range(workers)]
    servers = {"the model server": setting.model_url}
    if name == "PostgreSQL":
        servers["PostgreSQL"] = url
    outcome = served(forking, jobs, servers)
    turns = len(outcome.turn_ms)
    return [
        Figure(f"{what}: speed", "turns/s", {OURS: significant(turns / seconds)}, series=name, x=workers),
        Figure(f"{what}: 95 % of the turns within", "ms", {OURS: outcome.p95_ms}),
        Figure(f"{what}: errors", "errors", {OURS: outcome.errors.total()}, Budget(0)),
        *_processor(what, outcome, turns, seconds),
    ]


def _processor(what: str, outcome: Served, turns: int, seconds: float) -> list[Figure]:
    """Whose processor time a turn takes, and how much of the machine is used up."""
    workers_ms = outcome.workers_s * 1000 / turns
    others_ms = {name: used * 1000 / turns for name, used in outcome.others_s.items()}
    busy = (outcome.workers_s + sum(outcome.others_s.values())) / seconds
    figures = [Figure(f"{what}: processor of the workers", "ms a turn", {OURS: significant(workers_ms)})]
    for name, used_ms in sorted(others_ms.items()):
        figures.append(Figure(f"{what}: processor of {name}", "ms a turn", {OURS: significant(used_ms)}))
    figures.append(Figure(f"{what}: cores in use, of {os.cpu_count()}", "cores", {OURS: significant(busy)}))
    if database_ms := others_ms.get("PostgreSQL"):
        carried, fed = 1000 / database_ms, workers_ms / database_ms
        figures.append(Figure(f"{what}: a core of PostgreSQL carries", "turns/s", {OURS: significant(carried)}))
        figures.append(Figure(f"{what}: a core of PostgreSQL feeds", "workers", {OURS: significant(fed)}))
    return figures


CASE = Case(
    "growing_processes",
    "More processes",
    measure,
    f"{CONVERSATIONS} conversations that talk without a pause, shared out among the workers, for eight seconds. The"
    " processor time is that of each process, user and system. What a core of PostgreSQL carries is derived, not"
    " tried: a second divided by the processor time that a turn takes of it; the workers that it feeds are what a"
    " turn takes of a worker, divided by that. Where the cores in use are all that there are, more processes cannot"
    " bring more.",
    Plot("workers", "turns a second"),
)
