"""Whether more processes serve more: 1, 2 and 4 workers on one PostgreSQL, each with conversations of its own, and all
of them on all conversations, where they wait for each other's turns.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import Counter
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from time import monotonic

from benchmarks.harness.case import Case, Plot, Setting
from benchmarks.harness.clients import QUESTION, agent
from benchmarks.harness.figure import OURS, Budget, Figure
from benchmarks.harness.samples import significant
from narrator import Message, NarratorError, Thread, ThreadStore
from tyler import TylerError

CONVERSATIONS = 40
TIMEOUT_S = 300
Served = tuple[Counter[int], Counter[str]]


@dataclass(frozen=True)
class Job:
    """What a worker does: turns of these conversations, for so long."""

    postgres_url: str
    model_url: str
    name: str
    conversations: range
    seconds: float


async def measure(setting: Setting) -> list[Figure]:
    """Turns a second, errors, and how evenly the conversations were served."""
    figures: list[Figure] = []
    async with await ThreadStore.create(setting.postgres_url):
        pass  # its tables, before the workers come
    # A server that has imported litellm forks the workers: they would spend their time with the import.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.harness.preloaded"])
    for shared in (False, True):
        for workers in setting.size((1, 2, 4), (2,)):
            if workers > 1 or not shared:  # one alone shares with nobody
                figures += await asyncio.to_thread(served, setting, workers, shared, context)
    return figures


def served(
    setting: Setting, workers: int, shared: bool, context: multiprocessing.context.ForkServerContext
) -> list[Figure]:
    """The figures of so many workers."""
    seconds, conversations = setting.size((8.0, CONVERSATIONS), (1.0, 4))
    what = f"{workers} worker{'s'[: workers - 1]}, {'all on all' if shared else 'each its own'} conversations"
    ready, results = context.Barrier(workers), context.Queue()
    processes = []
    for n in range(workers):
        numbers = range(conversations) if shared else range(n, conversations, workers)
        job = Job(setting.postgres_url, setting.model(), what, numbers, seconds)
        processes.append(context.Process(target=worker, args=(job, ready, results)))
    for process in processes:
        process.start()
    try:
        outcomes: list[Served] = [results.get(timeout=TIMEOUT_S) for _ in processes]
    finally:
        for process in processes:
            process.join(1)
            process.kill()
    turns = sum((turns for turns, _ in outcomes), Counter[int]())
    errors = sum((errors for _, errors in outcomes), Counter[str]())
    each = [turns[number] for number in range(conversations)]
    series = "all on all" if shared else "each its own"
    return [
        Figure(f"{what}: speed", "turns/s", {OURS: significant(sum(each) / seconds)}, series=series, x=workers),
        Figure(f"{what}: turns of the least served conversation", "turns", {OURS: min(each)}),
        Figure(f"{what}: turns of the most served conversation", "turns", {OURS: max(each)}),
        Figure(f"{what}: errors", "errors", {OURS: errors.total()}, Budget(0)),
    ]


def worker(job: Job, ready: Barrier, results: multiprocessing.Queue[Served]) -> None:
    """One process: turns by conversation, errors by their names."""
    results.put(asyncio.run(work(job, ready)))


async def work(job: Job, ready: Barrier) -> Served:
    turns, errors = Counter[int](), Counter[str]()
    async with await ThreadStore.create(job.postgres_url) as store, agent(job.model_url, thread_store=store) as ours:
        await ours.go(Thread(messages=[Message(role="user", content=QUESTION)]))  # the first one takes a second
        await asyncio.to_thread(ready.wait, TIMEOUT_S)
        end = monotonic() + job.seconds

        async def client(number: int) -> None:
            while monotonic() < end:
                thread = Thread(id=f"{job.name} {number}", messages=[Message(role="user", content=QUESTION)])
                try:
                    await ours.go(thread)
                    turns[number] += monotonic() < end
                except (NarratorError, TylerError) as error:
                    errors[type(error).__name__] += 1

        await asyncio.gather(*(client(number) for number in job.conversations))
    return turns, errors


CASE = Case(
    "worker_processes",
    "Worker processes on one PostgreSQL",
    measure,
    f"{CONVERSATIONS} conversations for eight seconds, each turn as a webhook would do it: a Thread made of its id, the"
    " stored one read by the run. Each worker has its share of the conversations, or every worker has messages for"
    " every conversation, and they wait for each other's turns. They share the two cores with PostgreSQL and the model"
    " server.",
    Plot("workers", "turns a second"),
)
