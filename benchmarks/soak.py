"""Whether memory grows with the turns that one process has served: conversations one after the other, on SQLite."""

from __future__ import annotations

import gc

import psutil

from benchmarks.harness.case import Case, Plot, Setting
from benchmarks.harness.clients import QUESTION, agent
from benchmarks.harness.databases import sqlite_database
from benchmarks.harness.figure import OURS, Figure
from benchmarks.harness.samples import significant
from narrator import Message, Thread

TURNS_EACH = 20
READINGS = 10


async def measure(setting: Setting) -> list[Figure]:
    """The memory of this process, read on the way, and what came on top in the second half."""
    turns = setting.size(setting.soak_turns, 40)
    every = max(1, turns // setting.size(READINGS, 2))
    process, readings = psutil.Process(), dict[int, float]()
    async with sqlite_database(setting) as database, agent(setting.model(), thread_store=database.store) as ours:
        thread = Thread()
        for number in range(turns):
            if number % TURNS_EACH == 0:
                thread = Thread()
            thread.add_message(Message(role="user", content=QUESTION))
            await ours.go(thread)
            if (number + 1) % every == 0:
                gc.collect()
                readings[number + 1] = significant(process.memory_info().rss / 2**20)
    figures = [Figure(f"after {n:,} turns", "MB", {OURS: mb}, series="memory", x=n) for n, mb in readings.items()]
    half = min(n for n in readings if 2 * n >= turns)
    grown = {OURS: round(readings[turns // every * every] - readings[half], 1)}
    return [*figures, Figure(f"growth from turn {half:,} to {turns:,}", "MB", grown)]


CASE = Case(
    "soak",
    "Memory of a soak",
    measure,
    f"Resident memory of a process that serves conversations of {TURNS_EACH} turns one after the other, on SQLite,"
    " garbage collected before each reading. `make bench SOAK=10000` makes it ten times as long.",
    Plot("turns", "MB"),
)
