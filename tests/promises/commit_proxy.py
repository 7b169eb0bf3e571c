"""A TCP proxy in front of PostgreSQL that loses the answer to a commit, as a dying network does."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.commit_points import CommitPoints


class CommitProxy:
    """Passes everything on. After `lose_next_commit()`: one commit reaches the server, its answer nobody.

    `when_lost` is awaited when the server's answer is here and before the client's connection breaks; with
    `wait_for_answer=False` the connection breaks while the server is still committing.
    """

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._armed = False
        self._wait_for_answer = True
        self._when_lost: Callable[[], Awaitable[None]] | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.lost = 0
        self.url = ""

    def lose_next_commit(
        self, when_lost: Callable[[], Awaitable[None]] | None = None, *, wait_for_answer: bool = True
    ) -> None:
        self._armed, self._when_lost, self._wait_for_answer = True, when_lost, wait_for_answer

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        real = urlsplit(self._server_url).port
        self.url = self._server_url.replace(f":{real}/", f":{port}/")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        to_server: asyncio.StreamWriter | None = None
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", urlsplit(self._server_url).port)
            losing, points = asyncio.Event(), CommitPoints()
            await self._until_one_ends(
                self._to_server(reader, to_server, losing, points), self._to_client(from_server, writer, losing, points)
            )
        finally:
            ends = [end for end in (writer, to_server) if end is not None]
            for end in ends:
                end.close()
            self._connections.discard(task)
            for end in ends:
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _until_one_ends(self, *directions: Awaitable[None]) -> None:
        tasks = [asyncio.ensure_future(direction) for direction in directions]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _to_server(
        self, reader: StreamReader, writer: StreamWriter, losing: asyncio.Event, points: CommitPoints
    ) -> None:
        while data := await reader.read(65536):
            committing = points.commits(data) and self._armed
            if committing:
                self._armed = False
                losing.set()
            writer.write(data)
            await writer.drain()
            if committing and not self._wait_for_answer:
                self.lost += 1
                return

    async def _to_client(
        self, reader: StreamReader, writer: StreamWriter, losing: asyncio.Event, points: CommitPoints
    ) -> None:
        while data := await reader.read(65536):
            points.answered(data)
            if losing.is_set():
                self.lost += 1
                if self._when_lost is not None:
                    await self._when_lost()
                return
            writer.write(data)
            await writer.drain()
