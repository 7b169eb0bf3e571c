"""SQLite and PostgreSQL behind one backend: engines, transactions, retries, and errors with a next step."""

from __future__ import annotations

import asyncio
import os
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
    stop_before_delay,
    wait_exponential_jitter,
)

from narrator._backend import T
from narrator._loop_engine import LoopEngines
from narrator._schema_version import NEWEST, back_up, check_version, stored_version, upgrade
from narrator._settle import settled_task
from narrator._sql_errors import PassingFailure, translated
from narrator._sql_rows import SqlTransaction
from narrator.config import DatabaseUrl, PoolSettings
from narrator.errors import StoreUnavailable

_TRIES = 5
_GIVE_UP_AFTER_S = 30
_CONNECT_S = 5  # asyncpg alone would wait 60 s for a server that never answers
_SQLITE_BUSY_S = 30
_SQLITE_POOL = PoolSettings(size=5, max_overflow=10)


class SqlBackend:
    """One database, used from any number of event loops and processes (promise P12)."""

    def __init__(self, url: DatabaseUrl, pool: PoolSettings) -> None:
        self.name: str = url.backend
        self.location = url.safe
        self.identity: object = (url.backend, url.safe)
        self._url = url
        self._sqlite = url.backend == "sqlite"
        self._pool = _SQLITE_POOL if self._sqlite else pool
        self._engines = LoopEngines(self._create_engine, url.path)

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
        if backup is not None and before == after:  # another process was first: this may be a copy of the new tables
            backup.unlink()
            backup = None
        return before, after, backup

    async def run(self, work: Callable[[SqlTransaction, int], Awaitable[T]], *, write: bool) -> T:
        """See Backend.run. A read settles too: a driver cut off in mid-answer loses its connection or a task."""
        attempts = self._attempts(work, write=write)
        return await (attempts if write else settled_task(attempts))

    async def _attempts(self, work: Callable[[SqlTransaction, int], Awaitable[T]], *, write: bool) -> T:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(PassingFailure),
            stop=stop_after_attempt(_TRIES) | stop_before_delay(_GIVE_UP_AFTER_S - _CONNECT_S),
            # 9 s in all: a cut connection is tried again at once, and a server that restarts is back by then.
            wait=wait_exponential_jitter(multiplier=0.1, exp_base=4, max=10, jitter=0.1),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                async with translated(self.location), self._begin(write=write) as connection:
                    return await work(SqlTransaction(connection), attempt.retry_state.attempt_number)
        raise AssertionError("tenacity ends by returning or raising")

    async def run_sync(self, work: Callable[..., T], *args: Any, write: bool = False) -> T:
        """Run blocking code with a connection, and settle it; one attempt."""

        async def attempt() -> T:
            async with translated(self.location), self._begin(write=write) as connection:
                return await connection.run_sync(work, *args)

        return await settled_task(attempt())

    async def schema_version(self) -> str:
        return await self.run_sync(stored_version) or "-"

    async def close(self) -> None:
        """Give back the connections of this event loop, and drop those of loops that are closed."""
        await self._engines.close()

    @asynccontextmanager
    async def _begin(self, *, write: bool) -> AsyncIterator[AsyncConnection]:
        loop_engine = self._engines.current()
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

    def _create_engine(self) -> AsyncEngine:
        pool = self._pool
        connect_args = dict(self._url.connect_args)
        if self._sqlite:
            connect_args = {"timeout": _SQLITE_BUSY_S, "isolation_level": None} | connect_args
        else:
            connect_args = {"timeout": _CONNECT_S} | connect_args
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
        else:
            event.listen(engine.sync_engine, "connect", _prepare_postgresql)
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


def _prepare_postgresql(connection: Any, _record: object) -> None:
    """A process that stands still or vanishes in a transaction must not lock a thread for hours (promise P5).

    The owner's own setting is kept. Not a startup parameter, for PgBouncer refuses those that it does not know.
    """
    connection.run_async(
        lambda driver: driver.execute(
            "SELECT set_config(name, '30s', false) FROM pg_settings "
            "WHERE name = 'idle_in_transaction_session_timeout' AND setting = '0'"
        )
    )


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
