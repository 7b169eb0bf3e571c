"""Whether more processes serve more: 1, 2 and 4 workers on one PostgreSQL, all of them on all conversations.

Every worker sends messages to every conversation, so they wait for each other's turns: the hardest mixture.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import Counter
from time import monotonic

from benchmarks.harness.case import Case, Plot, Setting
from benchmarks.harness.clients import QUESTION, agent
from benchmarks.harness.figure import OURS, Budget, Figure
from benchmarks.harness.samples import significant
from narrator import Message, NarratorError, Thread, ThreadStore
from tyler import TylerError

CONVERSATIONS = 40
Served = tuple[Counter[int], Counter[str]]


async def measure(setting: Setting) -> list[Figure]:
    """Turns a second, errors, and how evenly the conversations were served."""
    figures: list[Figure] = []
    async with await ThreadStore.create(setting.postgres_url):
        pass  # its tables, before the workers come
    # A server that has imported litellm forks the workers: they would spend their time with the import.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["litellm", "sqlalchemy.dialects.postgresql.asyncpg"])
    for workers in setting.size((1, 2, 4), (1, 2)):
        figures += await asyncio.to_thread(served, setting, workers, context)
    return figures


def served(setting: Setting, workers: int, context: multiprocessing.context.ForkServerContext) -> list[Figure]:
    """The figures of so many workers."""
    seconds, conversations = setting.size((10.0, CONVERSATIONS), (1.0, 4))
    with context.Pool(workers) as pool:
        jobs = [(setting.postgres_url, setting.model(), f"{workers}-workers", conversations, seconds)] * workers
        results = pool.starmap(worker, jobs, chunksize=1)
    turns = sum((turns for turns, _ in results), Counter[int]())
    errors = sum((errors for _, errors in results), Counter[str]())
    each = [turns[number] for number in range(conversations)]
    what = f"{workers} workers"
    return [
        Figure(f"{what}: speed", "turns/s", {OURS: significant(sum(each) / seconds)}, series="turns/s", x=workers),
        Figure(f"{what}: turns of the least served conversation", "turns", {OURS: min(each)}),
        Figure(f"{what}: turns of the most served conversation", "turns", {OURS: max(each)}),
        Figure(f"{what}: errors", "errors", {OURS: errors.total()}, Budget(0)),
    ]


def worker(postgres_url: str, model_url: str, name: str, conversations: int, seconds: float) -> Served:
    """One process: turns by conversation, errors by their names."""
    return asyncio.run(work(postgres_url, model_url, name, conversations, seconds))


async def work(postgres_url: str, model_url: str, name: str, conversations: int, seconds: float) -> Served:
    turns, errors = Counter[int](), Counter[str]()
    async with await ThreadStore.create(postgres_url) as store, agent(model_url, thread_store=store) as ours:
        await ours.go(Thread(id=f"{name} warm-up", messages=[Message(role="user", content=QUESTION)]), wait_s=300)
        end = monotonic() + seconds

        async def client(number: int) -> None:
            while monotonic() < end:
                thread = Thread(id=f"{name} {number}", messages=[Message(role="user", content=QUESTION)])
                try:
                    await ours.go(thread)
                    turns[number] += 1
                except (NarratorError, TylerError) as error:
                    errors[type(error).__name__] += 1

        await asyncio.gather(*(client(number) for number in range(conversations)))
    return turns, errors


CASE = Case(
    "worker_processes",
    "Worker processes on one PostgreSQL",
    measure,
    f"{CONVERSATIONS} conversations for ten seconds; every worker answers messages of every conversation, each as a"
    " webhook would: a Thread made of its id, the stored one read by the run. So the workers wait for each other's"
    " turns, and share the two cores with PostgreSQL and the model server.",
    Plot("workers", "turns a second"),
)
