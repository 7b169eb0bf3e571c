"""The connections of each event loop: neither driver lets another loop use them (promise P12)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from narrator._write_queue import WriteQueue
from narrator.config import PoolSettings
from narrator.errors import StoreUnavailable


class LoopEngine:
    """The engine of one event loop, and `places`: who may have one of its connections."""

    def __init__(self, engine: AsyncEngine, pool: PoolSettings) -> None:
        self.engine = engine
        self.pid = os.getpid()
        self.writers = WriteQueue()
        self.places = asyncio.Semaphore(pool.size + pool.max_overflow)
        self._drivers: weakref.WeakSet[Any] = weakref.WeakSet()
        event.listen(engine.sync_engine, "connect", self._note)

    def _note(self, connection: Any, _record: object) -> None:
        self._drivers.add(connection.driver_connection)

    def abandon(self) -> None:
        """Close connections whose loop is closed, so that the drivers themselves cannot; called without a loop."""
        for driver in list(self._drivers):
            if stop := getattr(driver, "stop", None):  # aiosqlite: closes the file and ends its thread
                stop()
                # Its own future would be waited for in vain if the thread had ended before (a cancelled operation).
                driver._thread.join()
            elif (transport := getattr(driver, "_transport", None)) is not None:  # asyncpg: the server lets go
                with contextlib.suppress(OSError):
                    transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self.engine.sync_engine.dispose(close=False)


class LoopEngines:
    """One engine a loop, made when first asked for. Safe to use from several threads."""

    def __init__(self, create: Callable[[], AsyncEngine], pool: PoolSettings, sqlite_file: Path | None) -> None:
        self._create = create
        self._pool = pool
        self._sqlite_file = sqlite_file
        self._engines: dict[asyncio.AbstractEventLoop, LoopEngine] = {}
        self._lock = threading.Lock()
        _ALL.add(self)

    def current(self) -> LoopEngine:
        """The running loop's engine."""
        loop = asyncio.get_running_loop()
        found = self._engines.get(loop)
        if found is None:
            self._refuse_after_fork()
            self._abandon_ended()
            found = LoopEngine(self._create(), self._pool)
            with self._lock:
                self._engines[loop] = found
        return found

    async def close(self) -> None:
        """Give back the connections of this event loop and of loops that are closed."""
        with self._lock:
            own = self._engines.pop(asyncio.get_running_loop(), None)
        if own is not None:
            await own.engine.dispose()
        self._abandon_ended()

    def _refuse_after_fork(self) -> None:
        if self._sqlite_file is None:
            return
        for other in list(_ALL):
            engines = list(other._engines.values())
            if other._sqlite_file == self._sqlite_file and any(engine.pid != os.getpid() for engine in engines):
                raise StoreUnavailable(
                    f"{str(self._sqlite_file)!r} was open when this process was forked, and SQLite loses writes then. "
                    "await store.close() before the fork, or start processes with multiprocessing's 'spawn'"
                )

    def _abandon_ended(self) -> None:
        me = os.getpid()  # a parent's connections are not this process's to close
        with self._lock:
            closed = [loop for loop, engine in self._engines.items() if loop.is_closed() and engine.pid == me]
            ended = [self._engines.pop(loop) for loop in closed]
        for engine in ended:  # from a thread without a loop, for aiosqlite would answer to the running one
            thread = threading.Thread(target=engine.abandon)
            thread.start()
            thread.join()


# Those of this process: SQLite's locks are kept for each file of a process, whichever store opened it.
_ALL: weakref.WeakSet[LoopEngines] = weakref.WeakSet()
