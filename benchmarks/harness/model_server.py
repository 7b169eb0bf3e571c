"""A model server without a model: prebuilt bytes in OpenAI's chat format, in a process of its own.

It reads no JSON and never waits, so that what is measured is the client. The path says what is answered:
`/text/v1` a short text, `/think-200/v1` the same after that many milliseconds, `/chunks-2000/v1` a long one in that
many pieces, `/tools-5/v1` five tool calls, one a round, and then the text. Run as a program it prints its port and
ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TOOL = "order_status"
ANSWER = "It is in the post."
_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM = b'"stream":'


class ModelServer:
    """`with ModelServer() as server: server.url`; the process ends with the block, and with this process."""

    url: str

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self._process.communicate()


@lru_cache(maxsize=1000)
def answer(script: str, step: int, streamed: bool) -> bytes:
    """The whole HTTP response. `step`: how many tool results the request has."""
    kind, _, number = script.partition("-")
    if kind == "tools" and step < int(number):
        call = {"id": f"call_{step}", "type": "function", "function": {"name": TOOL, "arguments": '{"order": 7}'}}
        pieces: list[dict[str, Any]] = [{"tool_calls": [{"index": 0, **call}] if streamed else [call]}]
        finish = "tool_calls"
    else:
        pieces = [{"content": f"word{n} "} for n in range(int(number))] if kind == "chunks" else [{"content": ANSWER}]
        finish = "stop"
    return _events(pieces, finish) if streamed else _whole(pieces, finish)


def _events(pieces: list[dict[str, Any]], finish: str) -> bytes:
    """Server-sent events, each an HTTP chunk of its own."""
    about = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 0, "model": "bench"}
    events: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]}]
    events += [{"choices": [{"index": 0, "delta": piece, "finish_reason": None}]} for piece in pieces]
    events += [{"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}, {"choices": [], "usage": _usage(1)}]
    lines = [json.dumps({**about, **event}, separators=(",", ":")) for event in events]
    chunks = [f"data: {line}\n\n" for line in (*lines, "[DONE]")]
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return (head + "".join(f"{len(chunk):x}\r\n{chunk}\r\n" for chunk in chunks) + "0\r\n\r\n").encode()


def _whole(pieces: list[dict[str, Any]], finish: str) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(p.get("content", "") for p in pieces) or None}
    if "tool_calls" in pieces[0]:
        message["tool_calls"] = pieces[0]["tool_calls"]
    body = json.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 0,
            "model": "bench",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": _usage(len(pieces)),
        }
    )
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def _usage(pieces: int) -> dict[str, int]:
    return {"prompt_tokens": 10, "completion_tokens": pieces, "total_tokens": 10 + pieces}


class _Connection(asyncio.Protocol):
    """One keep-alive connection; requests are answered in the order of coming."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._read = bytearray()
        self._body_at = self._end = 0

    def data_received(self, data: bytes) -> None:
        self._read += data
        while self._whole_request():
            script = bytes(self._read[: self._read.index(b" HTTP/")]).split(b"/")[1].decode()
            step = self._read.count(b'"tool_call_id"', self._body_at, self._end) if script.startswith("tools") else 0
            self._say(answer(script, step, self._streamed()), script)
            del self._read[: self._end]
            self._end = 0

    def _say(self, said: bytes, script: str) -> None:
        if script.startswith("think-"):
            asyncio.get_running_loop().call_later(int(script[6:]) / 1000, self._transport.write, said)
        else:
            self._transport.write(said)

    def _streamed(self) -> bool:
        # From the end, for clients put it behind the messages. In a message its quotes would be escaped.
        at = self._read.rfind(_STREAM, self._body_at, self._end)
        return at >= 0 and self._read[at + len(_STREAM) : at + len(_STREAM) + 5].lstrip().startswith(b"true")

    def _whole_request(self) -> bool:
        if not self._end:
            head_end = self._read.find(_HEAD_END)
            if head_end < 0:
                return False
            self._body_at = head_end + len(_HEAD_END)
            length = _LENGTH.search(self._read, 0, head_end)
            self._end = self._body_at + (int(length[1]) if length else 0)
        return len(self._read) >= self._end


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
