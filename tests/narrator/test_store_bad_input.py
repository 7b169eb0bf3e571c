"""What can be wrong with a URL, a file, a server or a disk: one typed error that says what and what next.

No message holds a password, and a thread that could not be saved can be saved afterwards.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from narrator import ConfigurationError, Message, NarratorError, SchemaError, StoreUnavailable, Thread, ThreadStore
from tests.postgres_server import PostgresServer

REPOSITORY = Path(__file__).parents[2]
SECRET = "hunter2"


async def refused(url: str, kind: type[NarratorError], *words: str) -> str:
    """The message with which the store does not open: this very kind of error, with these words in it."""
    started = time.monotonic()
    with pytest.raises(kind) as caught:
        await ThreadStore.create(url)
    text = str(caught.value)
    assert "\n" not in text
    assert SECRET not in text + repr(caught.value)
    for word in words:
        assert word in text
    assert time.monotonic() - started < 30
    return text


def thread_of(*texts: str) -> Thread:
    return Thread(messages=[Message(role="user", content=text) for text in texts])


async def assert_saved_afterwards(store: ThreadStore, thread: Thread) -> None:
    """Nothing is lost: the object is saved now, whole."""
    await store.save_thread(thread)
    assert await store.get_thread(thread.id) == thread


async def run_raw(url: str, statement: str) -> None:
    """Something that another program does to the database."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.partition("///")[2])
        connection.execute(statement)
        connection.commit()
        connection.close()
        return
    server = await asyncpg.connect(url.replace("+asyncpg", ""))
    await server.execute(statement)
    await server.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        f"mysql://me:{SECRET}@localhost/db",
        f"postgresql+psycopg://me:{SECRET}@localhost/db",
        f"postgresql://me:{SECRET}@localhost",
        f"postgresql://me:{SECRET}@localhost:port/db",
        f"postgresql://me:{SECRET}@localhost/db?nonsense=1",
        "sqlite://conversations.db",
        "sqlite:///folder/",
        "sqlite:///a.db?timeout=soon",
    ],
)
async def test_a_url_that_cannot_work_is_refused_with_one_that_does(url: str) -> None:
    await refused(url, ConfigurationError, "sqlite+aiosqlite:///", "postgresql+asyncpg://")


async def test_a_server_that_is_not_there(unused_tcp_port: int) -> None:
    url = f"postgresql://me:{SECRET}@127.0.0.1:{unused_tcp_port}/db"
    await refused(url, StoreUnavailable, "me:***@127.0.0.1", "cannot be reached", "Is the server running")


async def test_a_server_that_takes_the_connection_and_never_answers() -> None:
    release = asyncio.Event()

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        await refused(
            f"postgresql://me:{SECRET}@127.0.0.1:{port}/db", StoreUnavailable, "does not answer", "connect_timeout"
        )
    finally:
        release.set()
        server.close()


async def test_a_host_that_has_no_address() -> None:
    await refused(f"postgresql://me:{SECRET}@host.invalid/db", StoreUnavailable, "cannot be reached")


async def test_a_wrong_password(postgres_url: str, postgres_server: PostgresServer) -> None:
    url = postgres_url.replace(postgres_server.password, SECRET)
    await refused(url, StoreUnavailable, "refuses the user or password", "check the URL's user and password")


async def test_a_database_that_does_not_exist(postgres_server: PostgresServer) -> None:
    text = await refused(postgres_server.url_of("nothing"), StoreUnavailable, "no database of that name", "create it")
    assert postgres_server.password not in text


async def test_a_sqlite_path_whose_folder_is_missing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/missing/a.db"
    await refused(url, StoreUnavailable, "No such file or directory", "must exist")
    assert not (tmp_path / "missing").exists()


async def test_a_sqlite_path_with_a_file_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    await refused(f"sqlite:///{tmp_path}/file/a.db", StoreUnavailable, "Not a directory")


async def test_a_folder_for_a_sqlite_file(tmp_path: Path) -> None:
    await refused(f"sqlite:///{tmp_path}", StoreUnavailable, "Is a directory", "must be a file")


AS_NOBODY = """
import asyncio, os, sys
from narrator import StoreUnavailable, ThreadStore

async def main(warm_up, *urls):
    async with await ThreadStore.create(warm_up):
        pass  # everything is imported by now: the next user may not be able to read it
    if os.geteuid() == 0:
        os.setegid(65534)
        os.seteuid(65534)
    for url in urls:
        try:
            await ThreadStore.create(url)
        except StoreUnavailable as error:
            print(error)

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_folder_and_a_file_that_may_only_be_read(tmp_path: Path) -> None:
    closed, open_folder = tmp_path / "closed", tmp_path / "open"
    for folder in (closed, open_folder):
        folder.mkdir()
    (open_folder / "old.db").touch(mode=0o444)
    closed.chmod(0o555)
    tops = [tmp_path, *tmp_path.parents][:3]
    before = [top.stat().st_mode for top in tops]
    for top in tops:
        top.chmod(0o755)
    urls = [f"sqlite:///{path}" for path in (tmp_path / "warm.db", closed / "a.db", open_folder / "old.db")]
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *urls], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    for top, mode in zip(tops, before, strict=True):
        top.chmod(mode)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    assert all("Permission denied" in line and "writable" in line for line in lines)
    assert list(closed.iterdir()) == []


async def test_a_file_that_is_no_sqlite_database(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"these are my holiday photos, do not touch them" * 100)
    before = (tmp_path / "a.db").read_bytes()
    await refused(f"sqlite:///{tmp_path}/a.db", StoreUnavailable, "not a SQLite database", "restore a backup")
    assert (tmp_path / "a.db").read_bytes() == before


async def test_a_sqlite_file_that_is_damaged_inside(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    thread = thread_of(*(f"text {number} " * 50 for number in range(200)))
    async with await ThreadStore.create(f"sqlite:///{path}") as store:
        await store.save_thread(thread)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 3)
        file.write(os.urandom(size // 2))
    with pytest.raises(StoreUnavailable, match="damaged"):
        async with await ThreadStore.create(f"sqlite:///{path}") as store:
            await store.get_thread(thread.id)


async def test_tables_of_a_newer_program_are_left_alone(sql_url: str) -> None:
    await (await ThreadStore.create(sql_url)).close()
    await run_raw(sql_url, "UPDATE narrator_version SET version_num = '9999'")
    await refused(sql_url, SchemaError, "version 9999", "newer", "install the newer release")
    with pytest.raises(SchemaError, match="9999"):
        await ThreadStore.initialize(sql_url)


async def test_tables_of_an_older_program_ask_for_narrator_init(sql_url: str) -> None:
    await (await ThreadStore.create(sql_url)).close()
    await run_raw(sql_url, "UPDATE narrator_version SET version_num = '0001'")
    await refused(sql_url, SchemaError, "version 0001", "narrator init")


@pytest.mark.parametrize(
    "name",
    ["NARRATOR_DB_POOL_SIZE", "NARRATOR_DB_MAX_OVERFLOW", "NARRATOR_DB_POOL_TIMEOUT", "NARRATOR_DB_POOL_RECYCLE"],
)
@pytest.mark.parametrize("value", ["many", "-5", "nan", "1e3", f"postgresql://me:{SECRET}@h/db"])
async def test_a_pool_variable_that_cannot_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    await refused(f"sqlite:///{tmp_path}/a.db", ConfigurationError, name, "it must be")


async def test_a_sqlite_file_that_another_program_keeps_locked(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    async with await ThreadStore.create(f"{url}?timeout=0.05") as store:
        thread = thread_of("first")
        await store.save_thread(thread)
        thread.messages[0].content = "edited"
        thread.add_message(Message(role="user", content="second"))
        other = sqlite3.connect(tmp_path / "a.db")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match=r"another program keeps it locked.*timeout"):
            await store.save_thread(thread)
        assert len((await store.get_thread(thread.id)).messages) == 1  # readers are not held up
        other.rollback()
        other.close()
        await assert_saved_afterwards(store, thread)


DISK_FULL = """
import asyncio, os, resource, sys
from narrator import Message, StoreUnavailable, Thread, ThreadStore

async def main(path):
    thread = Thread(id="t")
    async with await ThreadStore.create(f"sqlite:///{path}") as store:
        thread.add_message(Message(role="user", content="first"))
        await store.save_thread(thread)
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        largest = max(entry.stat().st_size for entry in os.scandir(os.path.dirname(path)))
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 50_000, unlimited[1]))
        thread.messages[0].content = "edited"
        thread.add_message(Message(role="user", content="x" * 1_000_000))
        try:
            await store.save_thread(thread)
        except StoreUnavailable as error:
            print(error)
        stored = await store.get_thread("t")
        assert [m.content for m in stored.messages] == ["first"], "nothing half written"
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        await store.save_thread(thread)
        assert await store.get_thread("t") == thread

asyncio.run(main(sys.argv[1]))
"""


def test_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(tmp_path / "data/a.db")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "free some space and try again" in done.stdout
    assert "xxx" not in done.stdout


async def test_a_server_that_restarts_between_two_saves(postgres_url: str, postgres_server: PostgresServer) -> None:
    async with await ThreadStore.create(postgres_url) as store:
        thread = thread_of("first")
        await asyncio.gather(*(store.save_thread(thread_of("x")) for _ in range(8)))  # several connections to lose
        await store.save_thread(thread)
        await asyncio.to_thread(postgres_server.restart, "immediate")
        thread.add_message(Message(role="user", content="second"))
        await assert_saved_afterwards(store, thread)
        await asyncio.gather(*(store.save_thread(thread_of("x")) for _ in range(8)))


@pytest.mark.deep
async def test_a_server_that_stays_away(postgres_url: str, postgres_server: PostgresServer) -> None:
    async with await ThreadStore.create(postgres_url) as store:
        thread = thread_of("first")
        await store.save_thread(thread)
        thread.messages[0].content = "edited"
        thread.add_message(Message(role="user", content="second"))
        await asyncio.to_thread(postgres_server.stop, "immediate")
        try:
            started = time.monotonic()
            attempts: list[Any] = [store.save_thread(thread), store.get_thread(thread.id), store.list_threads()]
            for error in await asyncio.gather(*attempts, return_exceptions=True):
                assert isinstance(error, StoreUnavailable)
                assert "Is the server running" in str(error) or "is the server still running" in str(error)
                assert postgres_server.password not in str(error)
            assert time.monotonic() - started < 30
        finally:
            await asyncio.to_thread(postgres_server.restart)
        await assert_saved_afterwards(store, thread)


async def test_a_pool_with_no_free_connection(monkeypatch: pytest.MonkeyPatch, postgres_url: str) -> None:
    for name, value in {"POOL_SIZE": "1", "MAX_OVERFLOW": "0", "POOL_TIMEOUT": "0.2"}.items():
        monkeypatch.setenv(f"NARRATOR_DB_{name}", value)
    async with await ThreadStore.create(postgres_url) as store:
        waiting, refused_one = thread_of("first"), thread_of("other")
        await store.save_thread(waiting)
        waiting.add_message(Message(role="user", content="second"))
        other = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
        lock = other.transaction()
        await lock.start()
        await other.execute("SELECT 1 FROM narrator_threads FOR UPDATE")
        save = asyncio.create_task(store.save_thread(waiting))
        blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        for _ in range(1000):
            if await other.fetchval(blocked):
                break
            await asyncio.sleep(0.01)
        with pytest.raises(StoreUnavailable, match=r"connections of the pool are in use.*NARRATOR_DB_POOL_SIZE"):
            await store.save_thread(refused_one)
        await lock.rollback()
        await save
        await other.close()
        await assert_saved_afterwards(store, refused_one)
        assert await store.get_thread(waiting.id) == waiting
