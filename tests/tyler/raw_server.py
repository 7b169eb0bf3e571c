"""A server that sends bytes as they are: what no honest HTTP server would say. It counts the requests."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

Step = bytes | Literal["silence", "reset"]
DONE = b"data: [DONE]\n\n"


class RawServer:
    """Answers each request with the next script, the last one again and again; in the test's own event loop.

    A script is bytes, or a list of bytes, "silence" (nothing more until the client leaves) and "reset". Behind
    a script the connection is closed.
    """

    def __init__(self, *scripts: Step | Sequence[Step]) -> None:
        self.scripts = [[script] if isinstance(script, bytes | str) else list(script) for script in scripts]
        self.requests = 0
        self.heads: list[bytes] = []  # what the requests sent
        self.bodies: list[bytes] = []
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if b"content-length" in line]
            self.heads.append(head)
            self.bodies.append(await reader.readexactly(int(lengths[0]) if lengths else 0))
            script = self.scripts[min(self.requests, len(self.scripts) - 1)]
            self.requests += 1
            for step in script:
                await self._do(step, reader, writer)
        except ConnectionError:
            pass  # the client has left
        finally:
            writer.close()

    async def _do(self, step: Step, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if step == "silence":
            await reader.read()
        elif step == "reset":
            # Lingering for zero seconds turns the close into a TCP reset.
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif isinstance(step, bytes):
            writer.write(step)
            await writer.drain()


@asynccontextmanager
async def raw_server(*scripts: Step | Sequence[Step]) -> AsyncIterator[RawServer]:
    """A running RawServer."""
    raw = RawServer(*scripts)
    server = await asyncio.start_server(raw.answer, "127.0.0.1", 0)
    async with server:
        raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield raw


def http(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """A response that ends with its connection; `retry_after="1"` becomes the header Retry-After."""
    lines = [f"HTTP/1.1 {status}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def stream(*events: Any, done: bytes = DONE) -> bytes:
    """A response that streams the events: dicts as JSON, bytes as they are."""
    lines = [event if isinstance(event, bytes) else sse(event) for event in events]
    return http(b"".join([*lines, done]), content_type="text/event-stream")


def sse(event: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def chunk(delta: Any = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """A chunk of a chat completion."""
    choice = {"index": 0, "delta": delta if delta is not None else {}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **fields}


def text(content: str, **fields: Any) -> dict[str, Any]:
    """A chunk with text."""
    return chunk({"content": content}, **fields)


def call(
    arguments: Any = '{"a": 1, "b": 2}', *, index: int | None = 0, call_id: Any = "c1", name: Any = "add", **fields: Any
) -> dict[str, Any]:
    """A chunk with a piece of a tool call; None leaves out index or id."""
    piece: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    if index is not None:
        piece["index"] = index
    if call_id is not None:
        piece["id"] = call_id
    return chunk({"tool_calls": [piece]}, **fields)
