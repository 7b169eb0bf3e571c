"""A database with its tables, and nothing in them, for a test whose matter is not how tables are made.

To make them takes 50 ms of a processor on SQLite and 150 on PostgreSQL, for several hundred tests. So they are made
once: a SQLite file is copied; on PostgreSQL the rows of one test are removed for the next.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from narrator import ThreadStore
from tests.postgres_server import PostgresServer, in_a_thread, open_connections

DATABASE = "tables"
# What a test may have changed beside rows.
SHAPE = """
SELECT string_agg(concat_ws(' ', relname, relkind, relnatts, relchecks, relhastriggers), ';' ORDER BY relname)
    || (SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace)
    || (SELECT count(*) FROM pg_db_role_setting)
FROM pg_class WHERE relnamespace = 'public'::regnamespace
"""
# TRUNCATE costs more than to remove a few rows; but removed rows keep their place, which the next test would read.
REMOVE_ROWS = """
DO $$
DECLARE
    tables text[] := array(SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
                           AND relkind = 'r' AND relname <> 'narrator_version');
    name text;
BEGIN
    IF (SELECT sum(pg_total_relation_size(quote_ident(t)::regclass)) FROM unnest(tables) t) > 1 << 20 THEN
        EXECUTE 'TRUNCATE ' || (SELECT string_agg(quote_ident(t), ', ') FROM unnest(tables) t);
    ELSE
        SET LOCAL session_replication_role = replica;  -- no order among the tables
        FOREACH name IN ARRAY tables LOOP EXECUTE format('DELETE FROM %I', name); END LOOP;
    END IF;
    PERFORM setval(oid::regclass, 1, false) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'S';
END $$
"""


class SqliteTables:
    """A file with tables, to be copied."""

    def __init__(self, folder: Path) -> None:
        self._original = folder / "tables.db"
        in_a_thread(_make(f"sqlite+aiosqlite:///{self._original}"))
        self._bytes = self._original.read_bytes()

    def copy(self, path: Path) -> str:
        """The URL of a new file at `path`."""
        path.touch(0o600)
        path.write_bytes(self._bytes)
        return f"sqlite+aiosqlite:///{path}"


class PostgresTables:
    """A database with tables, on a test process's server."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.url = server.create_database(DATABASE)
        self._make()

    def empty(self) -> list[str]:
        """Make it as good as new; the last statement of each connection that a test left open."""
        left_open, shape = self._server.run_connected(DATABASE, _remove_rows)
        if shape != self._shape:
            self._server.empty_database(DATABASE)
            self._make()
        return left_open

    def _make(self) -> None:
        in_a_thread(_make(self._server.url_of(DATABASE)))
        _, self._shape = self._server.run_connected(DATABASE, _remove_rows)


async def _make(url: str) -> None:
    await (await ThreadStore.create(url)).close()


async def _remove_rows(connection: Any) -> tuple[list[str], list[Any]]:
    left_open = await open_connections(connection)
    shape = [await connection.fetchval(SHAPE)]
    if await connection.fetchval("SELECT to_regclass('narrator_version')"):
        shape.append(await connection.fetchval("SELECT string_agg(version_num, ' ') FROM narrator_version"))
    await connection.execute(REMOVE_ROWS)
    return left_open, shape
