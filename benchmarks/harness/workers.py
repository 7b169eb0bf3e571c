"""Worker processes that serve conversations, all at the same time: what each turn took, and what it cost whom.

All run for a while before anything is counted, so that as many turns are under way at the end as at the beginning.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Barrier
from time import monotonic, process_time, sleep

from benchmarks.harness.clients import QUESTION, agent
from benchmarks.harness.processor import used_s
from benchmarks.harness.samples import significant
from narrator import Message, NarratorError, Thread, ThreadStore
from tyler import TylerError

TIMEOUT_S = 300


@dataclass(frozen=True)
class Job:
    """What a worker does: turns of these conversations, for so long, of which the ramp isn't counted."""

    database_url: str
    model_url: str
    name: str
    conversations: Sequence[int]
    seconds: float
    ramp_s: float


@dataclass
class Served:
    """Turns that ended while it was counted, by conversation; how long they took; errors by their names."""

    turns: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    turn_ms: list[float] = field(default_factory=list)
    workers_s: float = 0  # of processor
    others_s: dict[str, float] = field(default_factory=dict)  # of the servers' processor

    @property
    def p95_ms(self) -> float:
        """95 % of the turns took no longer; AssertionError where there were too few to tell."""
        if len(self.turn_ms) < 2:
            raise AssertionError(f"only {len(self.turn_ms)} turns were counted: try again when the machine has time")
        return significant(statistics.quantiles(self.turn_ms, n=20)[-1])

    def add(self, other: Served) -> None:
        """Another worker's."""
        self.turns += other.turns
        self.errors += other.errors
        self.turn_ms += other.turn_ms
        self.workers_s += other.workers_s


def context() -> ForkServerContext:
    """Workers come from a server that has imported litellm: they would spend their time with the import."""
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(["benchmarks.harness.preloaded"])
    return forking


def served(forking: ForkServerContext, jobs: Sequence[Job], servers: dict[str, str]) -> Served:
    """Do the jobs, a process each, and count. `servers`: URLs whose servers' processor time is counted, by name."""
    ready, results = forking.Barrier(len(jobs) + 1), forking.Queue()
    processes = [forking.Process(target=_worker, args=(job, ready, results)) for job in jobs]
    for process in processes:
        process.start()
    try:
        ready.wait(TIMEOUT_S)
        sleep(jobs[0].ramp_s)
        before = {name: used_s(url) for name, url in servers.items()}
        sleep(jobs[0].seconds)
        after = {name: used_s(url) for name, url in servers.items()}
        outcomes: list[Served] = [results.get(timeout=TIMEOUT_S) for _ in processes]
    finally:
        for process in processes:
            process.join(1)
            process.kill()
    total = Served(others_s={name: after[name] - before[name] for name in servers})
    for outcome in outcomes:
        total.add(outcome)
    if total.errors:
        print(f"{jobs[0].name}: {dict(total.errors)}", file=sys.stderr)
    return total


def _worker(job: Job, ready: Barrier, results: multiprocessing.Queue[Served]) -> None:
    """One process."""
    results.put(asyncio.run(_work(job, ready)))


async def _work(job: Job, ready: Barrier) -> Served:
    done = Served()
    async with await ThreadStore.create(job.database_url) as store, agent(job.model_url, thread_store=store) as ours:
        # The first turn takes a second.
        await ours.go(Thread(id=f"{job.name}, {os.getpid()}", messages=[Message(role="user", content=QUESTION)]))
        await asyncio.to_thread(ready.wait, TIMEOUT_S)
        begin = monotonic() + job.ramp_s
        end = begin + job.seconds

        async def converse(number: int) -> None:
            while (started := monotonic()) < end:
                thread = Thread(id=f"{job.name} {number}", messages=[Message(role="user", content=QUESTION)])
                try:
                    await ours.go(thread)
                except (NarratorError, TylerError) as error:
                    done.errors[type(error).__name__] += 1
                    continue
                if begin <= (now := monotonic()) < end:
                    done.turns[number] += 1
                    done.turn_ms.append((now - started) * 1000)

        async def count() -> None:
            await asyncio.sleep(begin - monotonic())
            used = process_time()
            await asyncio.sleep(end - monotonic())
            done.workers_s = process_time() - used

        await asyncio.gather(count(), *(converse(number) for number in job.conversations))
    return done
