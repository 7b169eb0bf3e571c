"""An MCP server as a child process: what it says, whether it still runs, and its last words on stderr."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from mcp.client._transport import ReadStream, TransportStreams
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.message import SessionMessage

from tyler._mcp_endpoint import StdioEndpoint

_MAX_TAIL_BYTES = 4_000
_LAST_WORDS_S = 0.5


class Stderr:
    """Takes what a server writes to stderr, for a server that cannot write any more stops; keeps the end of it."""

    def __init__(self) -> None:
        self._tail = b""
        self._read_fd, self._write_fd = os.pipe()
        self._thread = threading.Thread(target=self._read, name="tyler-mcp-stderr", daemon=True)

    def open_for_server(self) -> Any:
        """The file to give to the server; to be closed once it has it."""
        self._thread.start()
        return os.fdopen(self._write_fd, "w")

    async def last_line(self) -> str:
        """The last line, once the server has ended; what there is after half a second if something still writes."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _LAST_WORDS_S
        while self._thread.is_alive() and loop.time() < end:
            await asyncio.sleep(0.01)
        lines = self._tail.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _read(self) -> None:
        with os.fdopen(self._read_fd, "rb", buffering=0) as pipe:
            while chunk := pipe.read(65_536):
                self._tail = (self._tail + chunk)[-_MAX_TAIL_BYTES:]


@asynccontextmanager
async def stdio_streams(
    endpoint: StdioEndpoint, stderr: Stderr, on_end: Callable[[], None]
) -> AsyncGenerator[TransportStreams, None]:
    """The streams to a new process; `on_end` is called when it will say no more. Raises OSError, ValueError."""
    parameters = StdioServerParameters(
        command=endpoint.command, args=list(endpoint.args), env=dict(endpoint.env), cwd=endpoint.cwd
    )
    with stderr.open_for_server() as errors:
        async with stdio_client(parameters, errors) as (read, write):
            errors.close()  # the process has its own; the pipe ends with the last of them
            yield _Watched(read, on_end), write


class _Watched:
    """A stream that tells when it ends. The session has no event for it, and a call must know before it is sent."""

    def __init__(self, stream: ReadStream[SessionMessage | Exception], on_end: Callable[[], None]) -> None:
        self._stream = stream
        self._on_end = on_end

    async def receive(self) -> SessionMessage | Exception:
        return await self._stream.receive()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await anext(self._stream)
        except StopAsyncIteration:
            self._on_end()
            raise

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stream.__aexit__(kind, error, trace)
