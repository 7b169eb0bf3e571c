"""How fast the model server answers by itself: no other figure can be faster than this one."""

from __future__ import annotations

import asyncio
from time import perf_counter
from urllib.parse import urlsplit

import httpx

from benchmarks.harness.case import Case, Setting
from benchmarks.harness.clients import MODEL, QUESTION, bare_clients
from benchmarks.harness.figure import LIMIT, Figure
from benchmarks.harness.model_server import answer
from benchmarks.harness.samples import Samples


async def measure(setting: Setting) -> list[Figure]:
    """Requests a second: over a bare socket, and over bare httpx."""
    socket, rows = Samples(), {(streamed, n): Samples() for streamed in (False, True) for n in (1, 32)}
    for _ in range(setting.size(5, 1)):
        socket.add(LIMIT, await over_a_socket(setting, setting.size(2_000, 20)))
        for (streamed, at_once), samples in rows.items():
            samples.add(LIMIT, await over_httpx(setting, streamed, at_once, setting.size(320, 32)))
    return [
        socket.figure("a bare socket, 1 at once, whole answers", "requests/s"),
        *(
            samples.figure(f"httpx, {at_once} at once, {'streamed' if streamed else 'whole'} answers", "requests/s")
            for (streamed, at_once), samples in rows.items()
        ),
    ]


async def over_a_socket(setting: Setting, requests: int) -> float:
    """One connection, one prebuilt request after the other."""
    address = urlsplit(setting.model_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    body = b'{"model":"bench","messages":[]}'
    head = f"POST /text/v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n"
    expected = answer("text", 0, False)
    started = perf_counter()
    for _ in range(requests):
        writer.write(head.encode() + body)
        if await reader.readexactly(len(expected)) != expected:
            raise AssertionError("the model server's answer is not the one that it was built to give")
    seconds = perf_counter() - started
    writer.close()
    await writer.wait_closed()
    return requests / seconds


async def over_httpx(setting: Setting, streamed: bool, at_once: int, requests: int) -> float:
    url = f"{setting.model()}/chat/completions"
    body = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "stream": streamed}
    async with bare_clients(at_once) as clients:

        async def ask(client: httpx.AsyncClient) -> None:
            for _ in range(requests // at_once):
                (await client.post(url, json=body)).raise_for_status()

        started = perf_counter()
        await asyncio.gather(*map(ask, clients))
        return requests / (perf_counter() - started)


CASE = Case(
    "model_server_ceiling",
    "The model server's own ceiling",
    measure,
    "What the server does without a framework in front of it. Over a socket it is the server that is measured, over"
    " httpx mostly httpx.",
)
