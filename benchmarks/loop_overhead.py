"""What our loop costs a model round, with nothing stored: beside bare httpx and litellm alone, 1 to 256 at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from benchmarks.harness.case import Case, Plot, Setting
from benchmarks.harness.clients import QUESTION, agent, bare_clients, conversation, over_httpx, over_litellm
from benchmarks.harness.figure import LIMIT, LITELLM, OURS, Budget, Figure
from benchmarks.harness.model_server import ANSWER
from benchmarks.harness.samples import Samples

OVER_LITELLM_MS = 0.5
Run = Callable[[int], Awaitable[object]]


async def measure(setting: Setting) -> list[Figure]:
    """Milliseconds a model round: the time of all runs, divided by the requests that they made."""
    figures = []
    for tool_rounds in setting.size((0, 1, 5), (0, 1)):
        for at_once in setting.size((1, 32, 256), (1, 4)):
            times, over = await measured(setting, tool_rounds, at_once)
            what = f"{tool_rounds} tool rounds, {at_once} at once"
            figures.append(times.figure(what, "ms", series=f"{tool_rounds} tool rounds", x=at_once))
            figures.append(over.figure(f"{what}: over litellm", "ms", budget=Budget(OVER_LITELLM_MS)))
    return figures


async def measured(setting: Setting, tool_rounds: int, at_once: int) -> tuple[Samples, Samples]:
    """The times of the three, taken in turn, and what ours has over litellm's; the first round warms up."""
    base_url, rounds = setting.model(f"tools-{tool_rounds}"), tool_rounds + 1
    times, over = Samples(), Samples()
    async with bare_clients(at_once) as clients, agent(base_url) as ours:
        bare, alone = [over_httpx(client, base_url) for client in clients], over_litellm(base_url)

        async def answered(_n: int) -> None:
            result = await ours.go(QUESTION)
            assert result.content == ANSWER, result

        runs: dict[str, Run] = {
            LIMIT: lambda n: conversation(bare[n], tool_rounds),
            LITELLM: lambda _n: conversation(alone, tool_rounds),
            OURS: answered,
        }
        for number in range(1 + setting.size(repeats(at_once * rounds), 1)):
            taken = times if number else Samples()
            for who, run in runs.items():
                work = asyncio.gather(*(run(n) for n in range(at_once)))
                await taken.time(who, work, rounds=at_once * rounds)
            if number:
                over.add(OURS, times.last(OURS) - times.last(LITELLM))
    return times, over


def repeats(requests: int) -> int:
    """Many of few, few of many."""
    return max(2, min(40, 400 // requests))


CASE = Case(
    "loop_overhead",
    "The loop, nothing stored",
    measure,
    "Milliseconds a model round: the time of all runs that are under way at once, divided by the requests that they"
    " made. The limit is bare httpx, a client for each run, which reads the same streamed answers; litellm is called by"
    " hand with the same messages. The tool is an async function that returns a string.",
    Plot("runs at once", "ms a model round", log_x=True),
)
