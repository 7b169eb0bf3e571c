"""SQLite and PostgreSQL behind one backend: engines, transactions, retries, and errors with a next step."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential_jitter,
)

from narrator._backend import T
from narrator._schema_version import NEWEST, back_up, check_version, stored_version, upgrade
from narrator._sql_errors import PassingFailure, translated
from narrator._sql_rows import SqlTransaction
from narrator.config import DatabaseUrl, PoolSettings
from narrator.errors import StoreUnavailable

_TRIES = 5
_GIVE_UP_AFTER_S = 30
_SQLITE_BUSY_S = 30
_SQLITE_POOL = PoolSettings(size=5, max_overflow=10)


class _LoopEngine:
    """The connections of one event loop: neither driver lets another loop use them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        # SQLite takes one writer at a time; waiting here is fair, waiting in SQLite is not.
        self.writer = asyncio.Lock()


class SqlBackend:
    """One database, used from any number of event loops and processes (promise P12)."""

    def __init__(self, url: DatabaseUrl, pool: PoolSettings) -> None:
        self.name: str = url.backend
        self.location = url.safe
        self.identity: object = (url.backend, url.safe)
        self._url = url
        self._sqlite = url.backend == "sqlite"
        self._pool = _SQLITE_POOL if self._sqlite else pool
        self._engines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopEngine] = weakref.WeakKeyDictionary()

    async def open(self) -> None:
        """Reach the database, make the tables of an empty one, refuse those of another version."""
        if self._url.path is not None:
            await asyncio.to_thread(_touch_private, self._url.path, self.location)
        version = await self.run_sync(stored_version)
        if version is None:
            await self.run_sync(upgrade, self.location, write=True)
        else:
            check_version(version, self.location)

    async def migrate(self) -> tuple[str | None, str, Path | None]:
        """Upgrade the tables: (version before or None, version after, backup of the SQLite file or None)."""
        if self._url.path is not None:
            await asyncio.to_thread(_touch_private, self._url.path, self.location)
        version = await self.run_sync(stored_version)
        backup = None
        if version is not None and version < NEWEST and self._url.path is not None:
            backup = await asyncio.to_thread(back_up, self._url.path, version)
        before, after = await self.run_sync(upgrade, self.location, write=True)
        return before, after, backup

    async def run(self, work: Callable[[SqlTransaction, int], Awaitable[T]], *, write: bool) -> T:
        """See Backend.run."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(PassingFailure),
            stop=stop_after_attempt(_TRIES) | stop_after_delay(_GIVE_UP_AFTER_S),
            wait=wait_exponential_jitter(multiplier=0.05, max=2, jitter=0.1),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                async with translated(self.location), self._begin(write=write) as connection:
                    return await work(SqlTransaction(connection), attempt.retry_state.attempt_number)
        raise AssertionError("tenacity ends by returning or raising")

    async def run_sync(self, work: Callable[..., T], *args: Any, write: bool = False) -> T:
        """Run blocking code with a connection; one attempt."""
        async with translated(self.location), self._begin(write=write) as connection:
            return await connection.run_sync(work, *args)

    async def schema_version(self) -> str:
        return await self.run_sync(stored_version) or "-"

    async def close(self) -> None:
        """Give back the connections of this event loop, and drop those of loops that are closed."""
        own = self._engines.pop(asyncio.get_running_loop(), None)
        if own is not None:
            await own.engine.dispose()
        for loop in [loop for loop in self._engines if loop.is_closed()]:
            self._engines.pop(loop).engine.sync_engine.dispose(close=False)

    @asynccontextmanager
    async def _begin(self, *, write: bool) -> AsyncIterator[AsyncConnection]:
        loop_engine = self._engine()
        if not self._sqlite:
            options = {} if write else {"isolation_level": "REPEATABLE READ"}
            async with loop_engine.engine.connect() as connection:
                if options:
                    await connection.execution_options(**options)
                async with connection.begin():
                    yield connection
        elif write:
            async with loop_engine.writer, loop_engine.engine.connect() as connection:
                await connection.execution_options(narrator_begin="BEGIN IMMEDIATE")
                async with connection.begin():
                    yield connection
        else:
            async with loop_engine.engine.begin() as connection:
                yield connection

    def _engine(self) -> _LoopEngine:
        loop = asyncio.get_running_loop()
        if loop not in self._engines:
            for closed in [other for other in self._engines if other.is_closed()]:
                self._engines.pop(closed).engine.sync_engine.dispose(close=False)
            self._engines[loop] = _LoopEngine(self._create_engine())
        return self._engines[loop]

    def _create_engine(self) -> AsyncEngine:
        pool = self._pool
        connect_args = dict(self._url.connect_args)
        if self._sqlite:
            connect_args = {"timeout": _SQLITE_BUSY_S, "isolation_level": None} | connect_args
        engine = create_async_engine(
            self._url.engine_url(),
            connect_args=connect_args,
            pool_size=pool.size,
            max_overflow=pool.max_overflow,
            pool_timeout=pool.timeout_s,
            pool_recycle=pool.recycle_s,
            hide_parameters=True,  # an error must not quote the messages it was about (promise P16)
        )
        if self._sqlite:
            event.listen(engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """WAL and FULL: readers never wait, and a commit survives a power cut (promise P1)."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA journal_mode")
    if cursor.fetchone()[0] != "wal":
        cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    """The driver starts no transactions itself (isolation_level None): a writer takes the lock at once."""
    connection.exec_driver_sql(connection.get_execution_options().get("narrator_begin", "BEGIN"))


def _touch_private(path: Path, location: str) -> None:
    """Make the file readable by its owner alone, before SQLite would make it readable by all."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreUnavailable(
            f"{location} cannot be opened: {error.strerror}. "
            f"The folder {str(path.parent)!r} must exist and be writable, and the path must be a file"
        ) from error
