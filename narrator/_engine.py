"""The SQLAlchemy engine of a database, and what the drivers' connections are told when they are opened."""

from __future__ import annotations

from typing import Any

from asyncpg import Connection
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from narrator._sqlite import SqliteConnections
from narrator.config import DatabaseUrl, PoolSettings

CONNECT_S = 5  # asyncpg alone would wait 60 s for a server that never answers,
STATEMENT_S = 12  # and for ever for one that falls silent
_STAND_STILL_S = 10  # below STATEMENT_S: who waits for a row of a process that stands still gets it
_CLOSE_S = 0.5
_SQLITE_BUSY_S = 30
SQLITE_POOL = PoolSettings(size=5, max_overflow=10)


def create_engine(url: DatabaseUrl, pool: PoolSettings, inode: int | None) -> AsyncEngine:
    """An engine for one event loop; what the URL says of time-outs goes before what is said here.

    `inode`: the SQLite file's number when the store was opened, None where it is not known.
    """
    sqlite = url.backend == "sqlite"
    defaults: dict[str, Any] = {"timeout": _SQLITE_BUSY_S, "isolation_level": None}
    if not sqlite:
        defaults = {"timeout": CONNECT_S, "command_timeout": STATEMENT_S, "connection_class": _Connection}
    engine = create_async_engine(
        url.engine_url(),
        connect_args=defaults | dict(url.connect_args),
        pool_size=pool.size,
        max_overflow=pool.max_overflow,
        pool_timeout=pool.timeout_s,
        pool_recycle=pool.recycle_s,
        hide_parameters=True,  # an error must not quote the messages it was about (promise P16)
    )
    if url.path is not None:
        SqliteConnections(url.path, url.safe, inode).listen(engine.sync_engine)
    else:
        event.listen(engine.sync_engine, "connect", _prepare_postgresql)
        event.listen(engine.sync_engine, "handle_error", _give_up_silent_connections)
    return engine


class _Connection(Connection):  # type: ignore[misc]  # asyncpg has no types
    """Closes without waiting long for the server's goodbye, which one that fell silent never says."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  # asyncpg's signature
        try:
            await super().close(timeout=_CLOSE_S)
        except TimeoutError:
            self.terminate()


def _prepare_postgresql(connection: Any, _record: object) -> None:
    """A process that stands still or vanishes in a transaction must not lock a thread for hours (promise P5).

    The owner's own setting is kept. Not a startup parameter, for PgBouncer refuses those that it does not know.
    """
    connection.run_async(
        lambda driver: driver.execute(
            f"SELECT set_config(name, '{_STAND_STILL_S}s', false) FROM pg_settings "
            "WHERE name = 'idle_in_transaction_session_timeout' AND setting = '0'"
        )
    )


def _give_up_silent_connections(context: Any) -> None:
    """Where one connection got no answer in time, its pool's others may not either: all are opened anew.

    SQLAlchemy itself takes a TimeoutError for the caller's, and gives up the one connection.
    """
    if isinstance(context.original_exception, TimeoutError):
        context.is_disconnect = context.invalidate_pool_on_disconnect = True
