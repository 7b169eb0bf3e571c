"""SQLite and PostgreSQL behind one backend: transactions, retries, and errors with a next step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential_jitter,
)

from narrator._backend import T
from narrator._engine import SQLITE_POOL, STATEMENT_S, create_engine
from narrator._loop_engine import LoopEngine, LoopEngines
from narrator._schema_version import NEWEST, back_up, check_version, stored_version, upgrade
from narrator._settle import settled_task
from narrator._sql_errors import PassingFailure, translated
from narrator._sql_rows import SqlTransaction
from narrator._sqlite import make_private
from narrator.config import DatabaseUrl, PoolSettings

_TRIES = 5
_GIVE_UP_AFTER_S = 30


class SqlBackend:
    """One database, used from any number of event loops and processes (promise P12)."""

    def __init__(self, url: DatabaseUrl, pool: PoolSettings) -> None:
        self.name: str = url.backend
        self.location = url.safe
        self.identity: object = (url.backend, url.safe)
        self._url = url
        self._sqlite = url.backend == "sqlite"
        self._inode: int | None = None
        self._pool = SQLITE_POOL if self._sqlite else pool
        self._engines = LoopEngines(self._create_engine, self._pool, url.path)
        self._patience_s = max(_GIVE_UP_AFTER_S, url.connect_args.get("timeout", 0))

    async def open(self) -> None:
        """Reach the database, make the tables of an empty one, refuse those of another version."""
        await self._make_file()
        version = await self.run_sync(stored_version)
        if version is None:
            await self._upgrade()
        else:
            check_version(version, self.location)

    async def _make_file(self) -> None:
        if self._url.path is not None:
            self._inode = await asyncio.to_thread(make_private, self._url.path, self.location)

    async def migrate(self) -> tuple[str | None, str, Path | None]:
        """Upgrade the tables: (version before or None, version after, backup of the SQLite file or None)."""
        await self._make_file()
        version = await self.run_sync(stored_version)
        backup = None
        if version is not None and version < NEWEST and self._url.path is not None:
            backup = await asyncio.to_thread(back_up, self._url.path, version)
        before, after = await self._upgrade()
        if backup is not None and before == after:  # another process was first: this may be a copy of the new tables
            backup.unlink()
            backup = None
        return before, after, backup

    async def _upgrade(self) -> tuple[str | None, str]:
        """With a patience of its own: large tables take long, and so does another process that is at it already."""
        if self._sqlite:
            return await self.run_sync(upgrade, self.location, write=True)
        patient = replace(self._url, connect_args={**self._url.connect_args, "command_timeout": None})
        backend = SqlBackend(patient, self._pool)
        try:
            return await backend.run_sync(upgrade, self.location, write=True)
        finally:
            await backend.close()

    async def run(
        self, work: Callable[[SqlTransaction, int], Awaitable[T]], *, write: bool, one_statement: bool = False
    ) -> T:
        """See Backend.run. A read settles too: a driver cut off in mid-answer loses its connection or a task."""
        attempts = self._attempts(work, write=write, one_statement=one_statement)
        return await (attempts if write else settled_task(attempts))

    async def _attempts(
        self, work: Callable[[SqlTransaction, int], Awaitable[T]], *, write: bool, one_statement: bool
    ) -> T:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(PassingFailure),
            stop=stop_after_attempt(_TRIES) | stop_before_delay(_GIVE_UP_AFTER_S - STATEMENT_S),
            # 9 s in all: a cut connection is tried again at once, and a server that restarts is back by then.
            wait=wait_exponential_jitter(multiplier=0.1, exp_base=4, max=10, jitter=0.1),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                async with translated(self.location), self._begin(write=write, lone=one_statement) as connection:
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
    async def _begin(self, *, write: bool, lone: bool = False) -> AsyncIterator[AsyncConnection]:
        loop_engine = self._engines.current()
        if not self._sqlite:
            async with self._connected(loop_engine) as connection:
                if lone:  # BEGIN and COMMIT would be two more ways to the server and back
                    await connection.execution_options(isolation_level="AUTOCOMMIT")
                elif not write:
                    await connection.execution_options(isolation_level="REPEATABLE READ")
                async with connection.begin():
                    yield connection
        elif write:
            async with (
                loop_engine.writers.turn(self._patience_s) as enter,
                self._connected(loop_engine) as connection,
            ):
                await connection.execution_options(narrator_begin="BEGIN IMMEDIATE")
                async with connection.begin():
                    enter()
                    yield connection
        else:
            async with self._connected(loop_engine) as connection, connection.begin():
                yield connection

    @asynccontextmanager
    async def _connected(self, loop_engine: LoopEngine) -> AsyncIterator[AsyncConnection]:
        """A connection, in the order of asking, and given back here.

        The pool itself gives one that comes back to whoever asks next, be it the one who had it: of many conversations
        some would have turn after turn while others wait. And SQLAlchemy's own `async with` leaves the giving back to a
        task, which can be cancelled.
        """
        try:
            async with asyncio.timeout(self._pool.timeout_s):
                await loop_engine.places.acquire()
        except TimeoutError as error:
            raise PoolTimeout from error
        try:
            connection = await loop_engine.engine.connect()
            try:
                yield connection
            finally:
                await connection.close()
        finally:
            loop_engine.places.release()

    def _create_engine(self) -> AsyncEngine:
        return create_engine(self._url, self._pool, self._inode)
