"""The tests' own PostgreSQL: it refuses, keeps and forgets what a test relies on."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import psutil
import pytest

from narrator import Message, Thread, ThreadStore
from tests.postgres_server import PostgresServer
from tests.tables import PostgresTables


def dsn(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://")


async def test_server_answers_in_utf8_and_commits_before_it_answers(postgres_url: str) -> None:
    connection = await asyncpg.connect(dsn(postgres_url))
    settings = {name: await connection.fetchval(f"SHOW {name}") for name in ("server_encoding", "synchronous_commit")}
    collation = await connection.fetchval("SELECT datcollate FROM pg_database WHERE datname = current_database()")
    await connection.close()
    assert settings == {"server_encoding": "UTF8", "synchronous_commit": "on"}
    assert collation == "C.UTF-8"


async def test_wrong_password_is_refused(postgres_server: PostgresServer, postgres_url: str) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(dsn(postgres_url).replace(postgres_server.password, "wrong"))


@pytest.mark.parametrize("mode", [pytest.param("fast", marks=pytest.mark.deep), "immediate"])
async def test_restart_keeps_port_and_committed_rows(postgres_server: PostgresServer, postgres_url: str, mode) -> None:
    connection = await asyncpg.connect(dsn(postgres_url))
    await connection.execute("CREATE TABLE kept (value int); INSERT INTO kept VALUES (7)")
    postgres_server.restart(mode)
    connection.terminate()
    connection = await asyncpg.connect(dsn(postgres_url))
    assert await connection.fetchval("SELECT value FROM kept") == 7
    await connection.close()


async def test_stopped_server_refuses_and_starts_again(postgres_server: PostgresServer, postgres_url: str) -> None:
    postgres_server.stop()
    with pytest.raises(OSError, match=r"Connect call failed|refused"):
        await asyncpg.connect(dsn(postgres_url))
    postgres_server.restart()
    await (await asyncpg.connect(dsn(postgres_url))).close()


async def test_created_database_has_any_name_and_is_dropped_under_its_users(
    postgres_server: PostgresServer,
) -> None:
    name = 'odd "name"/ü'
    connection = await asyncpg.connect(dsn(postgres_server.create_database(name)))
    assert await connection.fetchval("SELECT current_database()") == name
    postgres_server.drop_database(name)
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(dsn(postgres_server.url_of(name)))
    connection.terminate()


async def test_emptied_database_is_as_good_as_new_and_tells_of_open_connections(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    connection = await asyncpg.connect(dsn(postgres_url))
    await connection.execute("CREATE TABLE left_behind (id serial primary key); CREATE SCHEMA other")
    await connection.execute("CREATE TYPE other.mood AS ENUM ('good'); ALTER DATABASE test SET work_mem = '1MB'")
    await connection.execute("SELECT 'left open'")
    assert postgres_server.empty_database("test") == ["SELECT 'left open'"]
    connection.terminate()

    connection = await asyncpg.connect(dsn(postgres_url))
    schemas = await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY nspname")
    tables = await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    work_mem = await connection.fetchval("SHOW work_mem")
    await connection.execute("CREATE TABLE left_behind (id serial primary key)")
    await connection.close()
    assert [row["nspname"] for row in schemas] == ["information_schema", "public"]
    assert (tables, work_mem) == (0, "4MB")


def test_server_and_its_data_die_with_a_killed_test_run() -> None:
    script = (
        "from tests.postgres_server import PostgresServer; server = PostgresServer.start();"
        "print(server.folder, server.pid, flush=True); input()"
    )
    checkout = Path(__file__).parents[1]
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        folder, pid = run.stdout.readline().split()
        server = psutil.Process(int(pid))
        run.kill()
    psutil.wait_procs([server], timeout=15)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
    deadline = time.monotonic() + 15
    while Path(folder).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("messages", "change"),
    [
        (1, "SELECT 1"),
        (2_000, "SELECT 1"),
        (1, "ALTER TABLE narrator_messages ADD CHECK (role <> 'tool')"),
        (1, "DROP TABLE narrator_calls"),
        (1, "UPDATE narrator_version SET version_num = '9999'"),
    ],
)
async def test_the_tables_are_empty_and_whole_for_the_next_test(
    postgres_tables: PostgresTables, postgres_tables_url: str, messages: int, change: str
) -> None:
    async with await ThreadStore.create(postgres_tables_url) as store:
        many = [Message(role="user", content="x" * 300) for _ in range(messages)]
        await store.save_thread(Thread(id="t", messages=many))
    connection = await asyncpg.connect(dsn(postgres_tables_url))
    await connection.execute(change)
    assert postgres_tables.empty() == [change]
    connection.terminate()
    async with await ThreadStore.create(postgres_tables_url) as store:
        assert await store.list_threads() == []
        thread = Thread(id="t", messages=[Message(role="tool", content="x")])
        await store.save_thread(thread)
        async with store.turn(thread) as turn:
            assert await turn.call_states(thread.messages[0].id) == {}
    connection = await asyncpg.connect(dsn(postgres_tables_url))
    size_bytes = await connection.fetchval("SELECT pg_total_relation_size('narrator_messages')")
    await connection.close()
    assert size_bytes < 1 << 20
