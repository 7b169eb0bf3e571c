"""How many conversations one process carries while the model thinks, until the turns take longer than it does."""

from __future__ import annotations

import asyncio
import statistics
from multiprocessing.context import ForkServerContext

from benchmarks.harness.case import Case, Plot, Setting
from benchmarks.harness.figure import OURS, Budget, Figure
from benchmarks.harness.samples import beside_the_limit, significant
from benchmarks.harness.workers import Job, context, served
from narrator import ThreadStore

THINKS_MS = 1_000
SIZES = (10, 25, 50, 100, 200)
RAMP_S, SECONDS = 3.0, 6.0


async def measure(setting: Setting) -> list[Figure]:
    """For each number of conversations: how long turns take beside the model's own time, and turns a second."""
    figures: list[Figure] = []
    async with await ThreadStore.create(setting.postgres_url):
        pass  # its tables
    forking = context()
    for conversations in setting.size(SIZES, (4,)):
        figures += await asyncio.to_thread(_served, setting, conversations, forking)
    return figures


def _served(setting: Setting, conversations: int, forking: ForkServerContext) -> list[Figure]:
    thinks_ms, ramp_s, seconds = setting.size((THINKS_MS, RAMP_S, SECONDS), (50, 0.5, 3.0))
    what = f"{conversations} conversations"
    url = setting.model(f"think-{thinks_ms}")
    job = Job(setting.postgres_url, url, what, range(conversations), seconds, ramp_s)
    outcome = served(forking, [job], {})
    median, p95 = statistics.median(outcome.turn_ms), outcome.p95_ms
    speed, most = len(outcome.turn_ms) / seconds, conversations * 1000 / thinks_ms
    return [
        Figure(
            f"{what}: half of the turns within",
            "ms",
            beside_the_limit(median, thinks_ms),
            series="median",
            x=conversations,
        ),
        Figure(
            f"{what}: 95 % of the turns within", "ms", beside_the_limit(p95, thinks_ms), series="95 %", x=conversations
        ),
        Figure(f"{what}: speed", "turns/s", beside_the_limit(speed, most)),
        Figure(f"{what}: cores in use by the worker", "cores", {OURS: significant(outcome.workers_s / seconds)}),
        Figure(f"{what}: errors", "errors", {OURS: outcome.errors.total()}, Budget(0)),
    ]


CASE = Case(
    "thinking_model",
    "Conversations of one process with a model that thinks",
    measure,
    f"One process on PostgreSQL; the model takes {THINKS_MS / 1000:g} s for each answer, which is the limit. Each"
    " conversation sends its next message as soon as it has its answer; people take longer, so a process serves as"
    " many more of them as they pause.",
    Plot("conversations at once", "ms", log_x=True),
)
