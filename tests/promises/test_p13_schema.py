"""P13: alembic, safe when ten start at once; other versions are refused; SQLite is backed up first."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from narrator import Message, SchemaError, Thread, ThreadStore
from narrator._schema import metadata
from narrator._schema_version import _MIGRATION_LOCK, NEWEST, upgrade
from narrator._sql import SqlBackend
from narrator.config import PoolSettings, parse_url

# One process loads the libraries and forks ten, which start at one moment: ten loads would take a minute.
TEN = """
import asyncio, gc, os, sys
from narrator import *
import narrator._sql, narrator._schema_version, alembic.command, alembic.config, alembic.autogenerate

async def main(number):
    if sys.argv[2] == "initialize":
        report = await ThreadStore.initialize(sys.argv[1])
        os.write(1, f"{report.before} {report.after}\\n".encode())
        return
    async with await ThreadStore.create(sys.argv[1]) as store:
        await store.save_thread(Thread(id=str(number)))

gc.freeze()  # else each child copies all that was loaded, to collect it
gate, opener = os.pipe()
children = []
for number in range(10):
    if (pid := os.fork()) == 0:
        os.close(opener)
        os.read(gate, 1)
        asyncio.run(main(number))
        sys.exit(0)
    children.append(pid)
os.close(opener)
sys.exit(max(os.waitpid(pid, 0)[1] for pid in children) != 0)
"""


async def on(url: str, work: Any, *args: Any) -> Any:
    """Run blocking code with a connection to the database, as the migrations do."""
    backend = SqlBackend(parse_url(url), PoolSettings())
    try:
        return await backend.run_sync(work, *args, write=True)
    finally:
        await backend.close()


def ten_at_once(url: str, what: str) -> list[str]:
    """The lines that ten processes print that start the same work at one moment."""
    command = [sys.executable, "-c", TEN, url, what]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


async def old_database(url: str) -> None:
    """Version 0001 with a thread of two messages in it."""
    await on(url, upgrade, "old", "0001")

    def fill(connection: Connection) -> None:
        at = "1700000000000000" if connection.dialect.name == "sqlite" else "now()"
        connection.execute(text(
            "INSERT INTO narrator_threads (owner, id, title, created_at, updated_at, message_count, tail, revision, "
            f"reshaped, last_write) VALUES ('', 'old', 'Kept', {at}, {at}, 2, 8589934592, 1, 0, '')"
        ))  # fmt: skip
        for position in (1, 2):
            connection.execute(text(
                "INSERT INTO narrator_messages (thread, position, id, role, content, created_at, revision) "
                f"SELECT key, {position} * 4294967296, 'm{position}', 'user', 'text', {at}, 1 FROM narrator_threads"
            ))  # fmt: skip

    await on(url, fill)


def backups(url: str) -> list[Path]:
    path = parse_url(url).path
    return [] if path is None else sorted(path.parent.glob("*.backup"))


@pytest.mark.parametrize("what", ["create", "initialize"])
async def test_ten_at_once_make_the_tables_of_an_empty_database(bare_url: str, what: str) -> None:
    await asyncio.to_thread(ten_at_once, bare_url, what)
    async with await ThreadStore.create(bare_url) as store:
        assert len(await store.list_threads()) == (10 if what == "create" else 0)
        assert (await store.status()).schema_version == NEWEST


async def test_ten_at_once_upgrade_an_old_database(bare_url: str) -> None:
    await old_database(bare_url)
    outputs = await asyncio.to_thread(ten_at_once, bare_url, "initialize")
    assert sorted(output.split()[:2] for output in outputs) == [["0001", NEWEST]] + [[NEWEST, NEWEST]] * 9
    assert len(backups(bare_url)) == (1 if bare_url.startswith("sqlite") else 0)
    async with await ThreadStore.create(bare_url) as store:
        assert [m.id for m in (await store.get_thread("old")).messages] == ["m1", "m2"]


async def test_an_old_database_is_refused_with_the_command_and_upgraded_with_its_data(bare_url: str) -> None:
    await old_database(bare_url)
    with pytest.raises(SchemaError, match="narrator init"):
        await ThreadStore.create(bare_url)
    report = await ThreadStore.initialize(bare_url)
    assert (report.before, report.after) == ("0001", NEWEST)
    async with await ThreadStore.create(bare_url) as store:
        thread = await store.get_thread("old")
        assert (thread.title, [m.text for m in thread.messages]) == ("Kept", ["text", "text"])
        thread.add_message(Message(role="user", content="goes on"))
        async with store.turn(thread):
            await store.save_thread(thread)
    again = await ThreadStore.initialize(bare_url)
    assert (again.before, again.after, again.backup_path) == (NEWEST, NEWEST, None)


async def test_calls_that_were_started_before_approvals_came_are_kept(bare_url: str) -> None:
    await old_database(bare_url)
    await on(bare_url, upgrade, "old", "0003")

    def start(connection: Connection) -> None:
        at = "1700000000000000" if connection.dialect.name == "sqlite" else "now()"
        connection.execute(text(
            "INSERT INTO narrator_calls (thread, message, call_id, state, started_at) "
            f"SELECT key, 'm1', 'c', 'started', {at} FROM narrator_threads"
        ))  # fmt: skip

    await on(bare_url, start)
    await ThreadStore.initialize(bare_url)
    async with await ThreadStore.create(bare_url) as store:
        thread = await store.get_thread("old")
        async with store.turn(thread) as turn:
            assert {id: call.state for id, call in (await turn.call_states("m1")).items()} == {"c": "started"}
            await turn.append(Message(role="tool", content="ok"), behind="m1", finishes=("m1", "c"))
        await store.delete_thread("old")  # the calls go with their thread still
    rows = text("SELECT count(*) FROM narrator_calls")
    assert await on(bare_url, lambda connection: connection.execute(rows).scalar()) == 0


async def test_sqlite_is_backed_up_before_an_upgrade(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/old.db"
    await old_database(url)
    backup_path = (await ThreadStore.initialize(url)).backup_path
    assert backup_path is not None
    assert backup_path.stat().st_mode & 0o077 == 0
    connection = sqlite3.connect(backup_path)
    assert connection.execute("SELECT version_num FROM narrator_version").fetchall() == [("0001",)]
    assert connection.execute("SELECT count(*) FROM narrator_messages").fetchall() == [(2,)]
    connection.close()


async def test_a_newer_database_is_refused_and_left_as_it_is(bare_url: str) -> None:
    async with await ThreadStore.create(bare_url) as store:
        await store.save_thread(Thread(id="t"))
    await on(bare_url, lambda connection: connection.execute(text("UPDATE narrator_version SET version_num = '9999'")))
    for attempt in (ThreadStore.create, ThreadStore.initialize):
        with pytest.raises(SchemaError, match=r"9999, newer.*newer release"):
            await attempt(bare_url)
    query = text("SELECT (SELECT version_num FROM narrator_version), (SELECT id FROM narrator_threads)")
    assert await on(bare_url, lambda connection: tuple(connection.execute(query).one())) == ("9999", "t")


async def test_the_migrations_make_exactly_the_tables_of_the_schema(bare_url: str) -> None:
    await ThreadStore.initialize(bare_url)

    def differences(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": True, "version_table": "narrator_version"}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    assert await on(bare_url, differences) == []

    def autoincrement(connection: Connection) -> bool:
        if connection.dialect.name != "sqlite":
            return True
        query = text("SELECT sql FROM sqlite_master WHERE name = 'narrator_threads'")
        return "AUTOINCREMENT" in connection.execute(query).scalar_one()

    assert await on(bare_url, autoincrement), "a deleted thread's key must never name another one"


async def test_foreign_tables_in_the_database_are_left_alone(bare_url: str) -> None:
    def make(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE threads (id text)"))
        connection.execute(text("CREATE TABLE alembic_version (version_num text)"))
        connection.execute(text("INSERT INTO threads VALUES ('theirs')"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('abc')"))

    await on(bare_url, make)
    async with await ThreadStore.create(bare_url) as store:
        await store.save_thread(Thread(id="ours"))
        assert (await store.status()).threads == 1
    await ThreadStore.initialize(bare_url)
    query = text("SELECT (SELECT id FROM threads), (SELECT version_num FROM alembic_version)")
    assert await on(bare_url, lambda connection: tuple(connection.execute(query).one())) == ("theirs", "abc")


async def test_a_migration_waits_longer_than_a_statement_may_take(postgres_url: str) -> None:
    """For another process's migration, say: that one holds the lock for as long as its tables are large."""
    other = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    try:
        await other.execute(f"SELECT pg_advisory_lock({_MIGRATION_LOCK})")
        opening = asyncio.create_task(ThreadStore.create(f"{postgres_url}?command_timeout=0.1"))
        waited = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND query_start < now() - interval '0.5 s'"
        )
        async with asyncio.timeout(20):
            while not opening.done() and not await other.fetchval(waited):
                await asyncio.sleep(0.01)
        await other.execute(f"SELECT pg_advisory_unlock({_MIGRATION_LOCK})")
        async with await opening as store:
            assert (await store.status()).schema_version == NEWEST
    finally:
        await other.close()
