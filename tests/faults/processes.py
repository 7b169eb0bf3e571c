"""Worker processes for the fault tests, real ones with process ids of their own.

They are forked from one server process that has imported everything already, so each starts in milliseconds. A
worker is an async function `work(channel, *arguments)` of a module in this folder; what it says is what
`channel.send` gets. Any exception of its own reaches the test as WorkerFailed.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import traceback
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

PATIENCE_S = 30.0
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "tests.faults.workers",
        "narrator._sql",
        "narrator._disk_files",
        "alembic.command",
        "sqlalchemy.dialects.postgresql.asyncpg",
        "sqlalchemy.dialects.sqlite.aiosqlite",
        "aiosqlite",
        "docstring_parser",
        "httpx",
    ]
)

Work = Callable[..., Awaitable[None]]


class WorkerFailed(AssertionError):
    """The worker raised; the message is its traceback."""


class Worker:
    """One process; it is gone when the `with` block ends."""

    def __init__(self, work: Work, *arguments: Any) -> None:
        self._channel, theirs = _context.Pipe()
        self._process = _context.Process(target=_main, args=(theirs, work, arguments), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    def heard(self, timeout_s: float = PATIENCE_S) -> Any:
        """The next thing it says; EOFError if it ended instead."""
        if not self._channel.poll(timeout_s):
            raise TimeoutError(f"worker {self.pid} said nothing for {timeout_s} s")
        kind, value = self._channel.recv()
        if kind == "failed":
            raise WorkerFailed(value)
        return value

    def tell(self, value: Any = None) -> None:
        """Something for its `channel.recv()`."""
        self._channel.send(value)

    def stop(self) -> None:
        """SIGSTOP; returns when the process stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        self.stopped()

    def stopped(self) -> None:
        """Wait until the process stands still."""
        while (state := _state(self.pid)) != "T":
            assert state, f"worker {self.pid} is gone"

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        self._process.kill()
        self._process.join(PATIENCE_S)

    def ended(self) -> int:
        """Wait for its end: the exit code, negative for a signal."""
        self._process.join(PATIENCE_S)
        assert self._process.exitcode is not None, f"worker {self.pid} does not end"
        return self._process.exitcode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._channel.close()
        self._process.close()


class Channel:
    """The worker's end of the line to its test."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, value: Any) -> None:
        """Something for `worker.heard()`."""
        self._connection.send(("said", value))

    def recv(self) -> Any:
        """What the test tells; blocks, the event loop too."""
        return self._connection.recv()


def _main(connection: Connection, work: Work, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        asyncio.run(work(Channel(connection), *arguments))
    except BaseException:
        connection.send(("failed", traceback.format_exc()))
        raise SystemExit(1) from None


def _state(pid: int) -> str:
    """The kernel's letter for the state of a process, "" when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""
