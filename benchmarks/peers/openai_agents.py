# /// script
# requires-python = ">=3.11"
# dependencies = ["openai-agents==0.24.0"]
# ///
"""openai-agents with its SQLiteSession, called as its documentation shows; see benchmarks/harness/peers.py.

Of our packages it imports only `benchmarks.harness`, and of that what needs nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
from time import perf_counter

from agents import Agent, OpenAIChatCompletionsModel, Runner, SQLiteSession, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

from benchmarks.harness.case import Setting
from benchmarks.harness.figure import OURS, Figure
from benchmarks.harness.samples import Samples, significant

QUESTION = "Where is my order 7?"
TEXT = "a message of ordinary length, as people write them to a support bot. " * 3
FRESH = """
from agents import Agent, function_tool
@function_tool
def order_status(order: int) -> str:
    "Where an order is."
    return "in the post"
Agent(name="agent", model="gpt-4o", tools=[order_status])
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024)
"""


@function_tool
async def order_status(order: int) -> str:
    """Where an order is."""
    return f"order {order} is in the post"


def agent(base_url: str) -> Agent:
    client = AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0)
    model = OpenAIChatCompletionsModel(model="bench", openai_client=client)
    return Agent(name="agent", instructions="To help.", tools=[order_status], model=model)


def session(setting: Setting, name: str) -> SQLiteSession:
    return SQLiteSession(name, setting.folder / "openai-agents.db")


async def fresh_process(setting: Setting) -> list[Figure]:
    seconds, peak_mb = Samples(), Samples()
    for _ in range(setting.size(5, 1)):
        elapsed_s, mb = await asyncio.to_thread(fresh)
        seconds.add(OURS, elapsed_s)
        peak_mb.add(OURS, mb)
    what = "import + Agent with one tool"
    return [seconds.figure(f"{what}: time", "s"), peak_mb.figure(f"{what}: peak memory", "MB")]


def fresh() -> tuple[float, float]:
    started = perf_counter()
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True)
    return perf_counter() - started, float(done.stdout)


async def loop_overhead(setting: Setting) -> list[Figure]:
    figures = []
    for tool_rounds in setting.size((0, 1, 5), (0, 1)):
        ours = agent(setting.model(f"tools-{tool_rounds}"))
        for at_once in setting.size((1, 32, 256), (1, 4)):
            requests, samples = at_once * (tool_rounds + 1), Samples()
            for number in range(1 + setting.size(max(2, min(40, 400 // requests)), 1)):
                runs = asyncio.gather(*(Runner.run(ours, QUESTION) for _ in range(at_once)))
                await (samples if number else Samples()).time(OURS, runs, rounds=requests)
            figures.append(samples.figure(f"{tool_rounds} tool rounds, {at_once} at once", "ms"))
    return figures


async def one_more_turn(setting: Setting) -> list[Figure]:
    ours, figures = agent(setting.model()), []
    for size in setting.size((10, 100, 1_000, 10_000), (10, 100)):
        samples, kept = Samples(), await filled(setting, f"turn-{size}", size)
        for number in range(1 + setting.size(9, 1)):
            if size <= 100:
                kept = await filled(setting, f"turn-{size}-{number}", size)
            await (samples if number else Samples()).time(OURS, Runner.run(ours, QUESTION, session=kept))
        figures.append(samples.figure(f"SQLite, {size:,} messages: time", "ms"))
    return figures


async def opening(setting: Setting) -> list[Figure]:
    figures = []
    for size in setting.size((1_000, 10_000), (10, 100)):
        samples, kept = Samples(), await filled(setting, f"open-{size}", size)
        for number in range(1 + setting.size(20, 2)):
            await (samples if number else Samples()).time(OURS, kept.get_items())
        figures.append(samples.figure(f"SQLite, {size:,} messages", "ms"))
    return figures


async def conversations_at_once(setting: Setting) -> list[Figure]:
    ours, count, turns = agent(setting.model()), setting.size(50, 4), setting.size(20, 2)
    turn_ms: list[float] = []

    async def converse(number: int) -> None:
        kept = session(setting, f"at-once-{number}")
        for _ in range(turns):
            started = perf_counter()
            await Runner.run(ours, QUESTION, session=kept)
            turn_ms.append((perf_counter() - started) * 1000)

    started = perf_counter()
    outcome = await asyncio.gather(*(converse(n) for n in range(count)), return_exceptions=True)
    per_s = len(turn_ms) / (perf_counter() - started)
    what = f"SQLite, {count} conversations of {turns} turns"
    failed = sum(isinstance(one, BaseException) for one in outcome)
    return [
        Figure(f"{what}: speed", "turns/s", {OURS: significant(per_s)}),
        Figure(f"{what}: 95 % of the turns within", "ms", {OURS: significant(statistics.quantiles(turn_ms, n=20)[-1])}),
        Figure(f"{what}: errors", "errors", {OURS: failed}),
    ]


async def streaming(setting: Setting) -> list[Figure]:
    pieces = setting.size(2_000, 50)
    ours, speed, first = agent(setting.model(f"chunks-{pieces}")), Samples(), Samples()
    for number in range(1 + setting.size(9, 1)):
        started, first_ms, seen = perf_counter(), 0.0, 0
        async for event in Runner.run_streamed(ours, QUESTION).stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                first_ms = first_ms or (perf_counter() - started) * 1000
                seen += 1
        if seen != pieces:
            raise AssertionError(f"{seen} pieces of {pieces} came through")
        if number:
            speed.add(OURS, pieces / (perf_counter() - started))
            first.add(OURS, first_ms)
    what = f"{pieces:,} pieces"
    return [speed.figure(f"{what}: speed", "pieces/s"), first.figure(f"{what}: first piece", "ms")]


async def filled(setting: Setting, name: str, size: int) -> SQLiteSession:
    """A session with so many messages, in turns of user and assistant."""
    kept, roles = session(setting, name), ("user", "assistant")
    await kept.add_items([{"role": roles[n % 2], "content": f"{n} {TEXT}"} for n in range(size)])
    return kept


DONE = (fresh_process, loop_overhead, one_more_turn, opening, conversations_at_once, streaming)


async def main() -> None:
    set_tracing_disabled(True)
    case = next((case for case in DONE if case.__name__ == sys.argv[1]), None)
    figures = await case(Setting.from_json(sys.stdin.read())) if case else []
    print(json.dumps([figure.as_json() for figure in figures]))


if __name__ == "__main__":
    asyncio.run(main())
