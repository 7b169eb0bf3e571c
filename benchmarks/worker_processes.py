"""Whether more processes serve more: workers on one PostgreSQL, each with conversations of its own, and all of them on
all conversations, where they wait for each other's turns.
"""

from __future__ import annotations

import asyncio
from multiprocessing.context import ForkServerContext

from benchmarks.harness.case import Case, Plot, Setting
from benchmarks.harness.figure import OURS, Budget, Figure
from benchmarks.harness.samples import significant
from benchmarks.harness.workers import Job, context, served
from narrator import ThreadStore

OWN, SHARED = 400, 40  # conversations
RAMP_S = {False: 4.0, True: 2.0}
SECONDS = {False: 16.0, True: 8.0}  # the more conversations, the longer until each has had some turns


async def measure(setting: Setting) -> list[Figure]:
    """Turns a second, errors, and how evenly the conversations were served."""
    figures: list[Figure] = []
    async with await ThreadStore.create(setting.postgres_url):
        pass  # its tables, before the workers come
    forking = context()
    for shared in (False, True):
        for workers in setting.size((2, 4) if shared else (1, 2, 4), (2,)):
            figures += await asyncio.to_thread(_served, setting, workers, shared, forking)
    return figures


def _served(setting: Setting, workers: int, shared: bool, forking: ForkServerContext) -> list[Figure]:
    """The figures of so many workers."""
    conversations = setting.size(SHARED if shared else OWN, 4)
    ramp_s, seconds = setting.size((RAMP_S[shared], SECONDS[shared]), (0.5, 3.0))
    series = f"all on all {conversations}" if shared else f"each its own of {conversations}"
    what = f"{workers} worker{'s'[: workers - 1]}, {series} conversations"
    jobs = []
    for n in range(workers):
        numbers = range(conversations) if shared else range(n, conversations, workers)
        jobs.append(Job(setting.postgres_url, setting.model(), what, numbers, seconds, ramp_s))
    outcome = served(forking, jobs, {})
    each = [outcome.turns[number] for number in range(conversations)]
    return [
        Figure(f"{what}: speed", "turns/s", {OURS: significant(sum(each) / seconds)}, series=series, x=workers),
        Figure(f"{what}: 95 % of the turns within", "ms", {OURS: outcome.p95_ms}),
        Figure(f"{what}: turns of the least served conversation", "turns", {OURS: min(each)}),
        Figure(f"{what}: turns of the most served conversation", "turns", {OURS: max(each)}),
        Figure(f"{what}: errors", "errors", {OURS: outcome.errors.total()}, Budget(0)),
    ]


CASE = Case(
    "worker_processes",
    "Worker processes on one PostgreSQL",
    measure,
    "Each turn as a webhook would do it: a Thread made of its id, the stored one read by the run, and the next"
    " message as soon as the answer is there. Each worker has its share of the conversations, or every worker has"
    " messages for every conversation, and they wait for each other's turns. They share the two cores with PostgreSQL"
    " and the model server.",
    Plot("workers", "turns a second"),
)
