"""Which version the tables are of, and how they get to the newest (promise P13).

Blocking code: it runs under `connection.run_sync` or in a thread.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, inspect, select, table, text
from sqlalchemy.sql import column

from narrator.errors import SchemaError

NEWEST = "0005"
_VERSION_TABLE = table("narrator_version", column("version_num"))
# Any constant will do: processes that migrate one PostgreSQL at once queue on it.
_MIGRATION_LOCK = 7_274_112_023


def stored_version(connection: Connection) -> str | None:
    """The version of the tables; None for a database that has none of them."""
    if not inspect(connection).has_table(_VERSION_TABLE.name):
        return None
    found = connection.execute(select(_VERSION_TABLE.c.version_num)).scalar()
    return None if found is None else str(found)


def check_version(version: str, location: str) -> None:
    """SchemaError unless the tables are of this program's version."""
    if version < NEWEST:
        raise SchemaError(
            f"the tables of {location} are of version {version}, this program needs {NEWEST}: "
            "run `narrator init` to upgrade them (SQLite is backed up first)"
        )
    if version > NEWEST:
        raise SchemaError(
            f"the tables of {location} are of version {version}, newer than this program's {NEWEST}: "
            "install the newer release of this package; nothing was changed"
        )


def upgrade(connection: Connection, location: str, target: str = NEWEST) -> tuple[str | None, str]:
    """Bring the tables to `target` in the connection's transaction: (version before, version after).

    Ten at once: one migrates, the others wait and find nothing to do. Raises SchemaError for newer tables.
    """
    from alembic import command
    from alembic.config import Config

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    before = stored_version(connection)
    if before is not None and before > target:
        check_version(before, location)
    if before != target:
        config = Config()
        config.set_main_option("script_location", "narrator:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, target)
    return before, target


def back_up(path: Path, version: str) -> Path:
    """A copy of a SQLite database beside it, consistent while others write; the copy's path."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    backup = path.with_name(f"{path.name}.{version}-{stamp}.backup")
    source, target = sqlite3.connect(path), sqlite3.connect(backup)
    try:
        source.backup(target)
    finally:
        target.close()
        source.close()
    backup.chmod(0o600)
    return backup
