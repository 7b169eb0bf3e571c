"""How fast a streamed answer comes through: 2,000 pieces, and the time to the first of them. Nothing stored."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from time import perf_counter

import httpx

from benchmarks.harness.case import Case, Setting
from benchmarks.harness.clients import QUESTION, agent, bare_client, litellm_stream
from benchmarks.harness.figure import LIMIT, LITELLM, OURS, Budget, Figure
from benchmarks.harness.samples import Samples
from tyler import Agent, TextDelta

MESSAGES = [{"role": "user", "content": QUESTION}]


async def measure(setting: Setting) -> list[Figure]:
    """Pieces a second, ours beside litellm's, and milliseconds to the first piece."""
    pieces = setting.size(2_000, 50)
    base_url = setting.model(f"chunks-{pieces}")
    speed, first, beside = Samples(), Samples(), Samples()
    async with bare_client() as client, agent(base_url) as ours:
        streams: dict[str, Callable[[], AsyncIterator[str]]] = {
            LIMIT: lambda: bare(client, base_url),
            LITELLM: lambda: litellm_alone(base_url),
            OURS: lambda: answer(ours),
        }
        for number in range(1 + setting.size(9, 1)):  # the first round warms up
            for who, stream in streams.items():
                per_s, first_ms = await timed(stream(), pieces)
                if number:
                    speed.add(who, per_s)
                    first.add(who, first_ms)
            if number:
                beside.add(OURS, speed.last(OURS) / speed.last(LITELLM))
    return [
        speed.figure(f"{pieces:,} pieces: speed", "pieces/s", series="speed", x="pieces a second"),
        beside.figure(f"{pieces:,} pieces: speed beside litellm alone", "times", budget=Budget(0.9, "at least")),
        first.figure(f"{pieces:,} pieces: first piece", "ms"),
    ]


async def timed(stream: AsyncIterator[str], pieces: int) -> tuple[float, float]:
    """Pieces a second, from the call to the end; milliseconds to the first."""
    started, first_ms, seen = perf_counter(), 0.0, 0
    async for _piece in stream:
        first_ms = first_ms or (perf_counter() - started) * 1000
        seen += 1
    if seen != pieces:
        raise AssertionError(f"{seen} pieces of {pieces} came through")
    return pieces / (perf_counter() - started), first_ms


async def bare(client: httpx.AsyncClient, base_url: str) -> AsyncIterator[str]:
    body = {"model": "bench", "messages": MESSAGES, "stream": True}
    async with client.stream("POST", f"{base_url}/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {") and (choices := json.loads(line[6:])["choices"]):  # noqa: SIM102
                if text := choices[0]["delta"].get("content"):
                    yield text


async def litellm_alone(base_url: str) -> AsyncIterator[str]:
    chunks = await litellm_stream(base_url, MESSAGES)
    async for chunk in chunks:
        if chunk.choices and (text := chunk.choices[0].delta.content):
            yield text


async def answer(ours: Agent) -> AsyncIterator[str]:
    async with aclosing(ours.stream(QUESTION)) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                yield event.text


CASE = Case(
    "streaming",
    "Streaming",
    measure,
    "The server sends all pieces at once, each an event of its own, so this is the speed of the clients. The limit is"
    " bare httpx with `json.loads` of each event.",
)
