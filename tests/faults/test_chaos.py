"""Everything at once: workers that share threads are killed, stopped and woken at random (promises P1 to P6).

Three processes deliver the same events to the same threads again and again. Whatever happens to them, in the end each
event stands in its thread once, with its own whole answer right behind it, and every answer that anyone was given.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest

from tests.faults.conversation import ROLES, Journal, assert_answered, assert_sound, opened
from tests.faults.processes import Worker
from tests.faults.workers import deliver_again_and_again, deliver_each
from tests.postgres_server import PostgresServer

THREADS = 3
WORKERS = 3


async def disturb(worker: Worker, chance: random.Random) -> bool:
    """Do something to it; whether it is dead."""
    if chance.random() < 0.7:
        worker.kill()
        return True
    worker.stop()
    await asyncio.sleep(chance.choice([0.05, 1.5]))  # within its lease of a second, or past it
    worker.go_on()
    return False


async def chaos(url: str, folder: Path, seconds: float, seed: int, server: PostgresServer | None) -> None:
    """Let it happen for so long, and until two were killed; then let one worker finish. `server`: it crashes too."""
    chance, killed = random.Random(seed), 0
    events = {f"thread-{n}": [f"evt-{n}-{k}" for k in range(int(2 + seconds))] for n in range(THREADS)}
    async with opened(url, folder / "files"):
        pass  # the tables

    def new_worker(stack: ExitStack) -> Worker:
        return stack.enter_context(Worker(deliver_again_and_again, url, folder, events, chance.randrange(1 << 30)))

    with ExitStack() as stack:
        workers = [new_worker(stack) for _ in range(WORKERS)]
        ends_at = monotonic() + seconds
        while monotonic() < ends_at or killed < 2:
            await asyncio.sleep(chance.expovariate(3))
            if server is not None and chance.random() < 0.1:
                await asyncio.to_thread(server.restart, "immediate")
            place = chance.randrange(WORKERS)
            if await disturb(workers[place], chance):
                assert workers[place].ended() == -signal.SIGKILL
                killed += 1
                workers[place] = new_worker(stack)
    with Worker(deliver_each, url, folder, events) as finisher:
        assert finisher.heard(timeout_s=60 + seconds) == "done"
    journal = Journal(folder / "journal")
    given = dict(line.split(" ", 1) for line in journal.all("given"))
    assert all(answer == f"done: order {event}" for event, answer in given.items())
    async with opened(url, folder / "files") as store:
        for thread_id, own_events in events.items():
            thread = await store.get_thread(thread_id)
            await assert_sound(store, thread, journal)
            inputs = [message.id for message in thread.messages if message.role == "user"]
            assert sorted(inputs) == sorted(own_events)
            places = [assert_answered(thread, event) for event in inputs]
            assert places == list(range(0, len(thread.messages), len(ROLES)))


async def chaos_of_its_own(url: str, folder: Path, seconds: float, server: PostgresServer | None = None) -> None:
    seed = random.randrange(sys.maxsize)
    try:
        await chaos(url, folder, seconds, seed, server)
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.deep)], indirect=True)
async def test_killed_and_stopped_at_random_leaves_correct_conversations(database: str, tmp_path: Path) -> None:
    await chaos_of_its_own(database, tmp_path, 3)


@pytest.mark.deep
async def test_two_minutes_of_kills_and_stops_leave_correct_conversations(database: str, tmp_path: Path) -> None:
    await chaos_of_its_own(database, tmp_path, 120)


@pytest.mark.deep
async def test_two_minutes_of_kills_stops_and_crashes_of_the_server_leave_correct_conversations(
    postgres_server: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    await chaos_of_its_own(postgres_url, tmp_path, 120, postgres_server)
