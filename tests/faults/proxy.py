"""A TCP proxy in front of PostgreSQL that cuts the connection around a commit, or falls silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

from tests.commit_points import CommitPoints

When = Literal["before", "after", "silent"]


class Proxy:
    """Passes everything on. At the n-th commit since `cut_at` it resets the connection instead.

    "before": the server never sees it. "after": the server has committed, the client never hears of it.
    "silent": the same as "after", and the connection stays open without another word, as behind a dead firewall.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.commits = 0
        self.cuts = 0
        self._server_port = port
        self._cut: tuple[int, When] | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self._silent_lines: set[asyncio.Task[None]] = set()
        self._silent = False

    def silence(self, *, new_lines_too: bool) -> None:
        """Pass on nothing more over the connections that there are, or over any."""
        self._silent_lines |= self._lines
        self._silent = new_lines_too

    def speak(self) -> None:
        """Let new connections through again; the silent ones stay silent."""
        self._silent = False

    def cut_at(self, number: int, when: When) -> None:
        """Cut at this commit, counted from now."""
        self.commits = self.cuts = 0
        self._cut = (number, when)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Serve on a free port of 127.0.0.1."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for line in self._lines:
                line.cancel()
            await asyncio.gather(*self._lines, return_exceptions=True)
            await server.wait_closed()

    async def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines.add(task)
        if self._silent:
            self._silent_lines.add(task)
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        except ConnectionError:
            to_client.transport.abort()
            self._lines.discard(task)
            return
        points = CommitPoints()
        answers = asyncio.create_task(_pump(server, to_client, points))
        try:
            while data := await client.read(1 << 16):
                if task in self._silent_lines:
                    continue
                if points.commits(data) and self._cuts_now():
                    assert self._cut is not None
                    when, self._cut = self._cut[1], None
                    self.cuts += 1
                    answers.cancel()
                    await asyncio.wait([answers])
                    if when in ("after", "silent"):
                        to_server.write(data)
                        await server.read(1 << 16)  # the server says that it has committed
                    if when == "silent":
                        self._silent_lines.add(task)
                        continue
                    to_client.transport.abort()
                    return
                to_server.write(data)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the line's end is what this program is about
        finally:
            self._lines.discard(task)
            self._silent_lines.discard(task)
            answers.cancel()
            with suppress(asyncio.CancelledError):
                await answers
            to_server.close()
            to_client.close()

    def _cuts_now(self) -> bool:
        self.commits += 1
        return self._cut is not None and self.commits == self._cut[0]


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, points: CommitPoints) -> None:
    with suppress(ConnectionError):
        while data := await source.read(1 << 16):
            points.answered(data)
            target.write(data)
    target.close()
