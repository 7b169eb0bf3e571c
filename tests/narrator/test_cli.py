"""The `narrator` command: what it prints, its exit codes; never a traceback or a password."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import TypeVar

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from narrator._schema_version import NEWEST, upgrade
from narrator.attachment import Attachment
from narrator.cli import main
from narrator.config import parse_url
from narrator.file_store import FileStore
from narrator.message import Message
from narrator.thread import Thread
from narrator.thread_store import ThreadStore

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "narrator.cli"]


def environment(**variables: str) -> dict[str, str]:
    """This process's variables without narrator's own, and `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NARRATOR_")}
    return {**kept, "COLUMNS": "100", **variables}


def narrator(*arguments: str, **variables: str) -> CompletedProcess[str]:
    """The console script's function in this process, without a terminal; an uncaught exception fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, open(os.devnull) as no_terminal:
        for name in [name for name in os.environ if name.startswith("NARRATOR_")]:
            patch.delenv(name)
        for name, value in {"COLUMNS": "100", **variables}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["narrator", *arguments])
        patch.setattr(sys, "stdin", no_terminal)
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            main()
    assert isinstance(end.value.code, int)
    return checked(CompletedProcess(arguments, end.value.code, out.getvalue(), err.getvalue()))


def process(*arguments: str, stdin: int = subprocess.DEVNULL, **variables: str) -> CompletedProcess[str]:
    """The command as a process of its own."""
    return checked(
        subprocess.run(
            [*COMMAND, *arguments],
            env=environment(**variables),
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            timeout=60,
        )
    )


def checked(done: CompletedProcess[str]) -> CompletedProcess[str]:
    assert "Traceback" not in done.stderr, done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    return done


def succeeds(*arguments: str, **variables: str) -> str:
    done = narrator(*arguments, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*arguments: str, code: int = 1, **variables: str) -> str:
    """The one line that a failing command says."""
    done = narrator(*arguments, **variables)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr.startswith("narrator: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""
    return done.stderr


def answering(answer: str, *arguments: str) -> CompletedProcess[str]:
    """The command run on a terminal where a person types `answer`."""
    person, terminal = pty.openpty()
    try:
        os.write(person, answer.encode())
        return process(*arguments, stdin=terminal)
    finally:
        os.close(person)
        os.close(terminal)


def with_store(url: str, work: Callable[[ThreadStore], Awaitable[T]], files: Path | None = None) -> T:
    async def run() -> T:
        file_store = await FileStore.create(files) if files else None
        store = await ThreadStore.create(url, file_store=file_store)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def with_connection(url: str, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Reach around the store, for states that it would not make itself."""

    async def run() -> T:
        engine = create_async_engine(parse_url(url).engine_url())
        try:
            async with engine.begin() as connection:
                return await work(connection)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def execute(url: str, statement: str, **values: object) -> None:
    with_connection(url, lambda connection: connection.execute(text(statement), values))


def save_threads(url: str, *ids: str, files: Path | None = None) -> None:
    async def save(store: ThreadStore) -> None:
        for id in ids:
            await store.save_thread(Thread(id=id, messages=[Message(role="user", content="hello")]))

    with_store(url, save, files)


def thread_ids(url: str) -> set[str]:
    async def ids(store: ThreadStore) -> set[str]:
        return {thread.id for thread in await store.list_threads()}

    return with_store(url, ids)


def make_older(url: str, id: str, age: timedelta) -> None:
    """As if the thread had been saved `age` ago."""

    async def change(connection: AsyncConnection) -> None:
        from narrator._schema import threads

        then = datetime.now(UTC) - age
        await connection.execute(threads.update().where(threads.c.id == id).values(updated_at=then))

    with_connection(url, change)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/conversations.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database, on SQLite and on PostgreSQL."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return str(request.getfixturevalue(name))


def test_init_makes_the_tables_and_a_second_one_finds_them(url: str) -> None:
    assert succeeds("init", NARRATOR_DATABASE_URL=url) == f"Made the tables (schema {NEWEST})\n"
    assert succeeds("--database-url", url, "init") == f"The tables are up to date (schema {NEWEST})\n"


def test_init_upgrades_older_tables_and_says_where_the_old_file_is(sqlite_url: str, tmp_path: Path) -> None:
    with_connection(sqlite_url, lambda c: c.run_sync(upgrade, "test", "0001"))
    assert "narrator init" in refused("status", NARRATOR_DATABASE_URL=sqlite_url)
    said = succeeds("init", NARRATOR_DATABASE_URL=sqlite_url)
    assert f"Upgraded the tables from schema 0001 to {NEWEST}" in said
    backups = list(tmp_path.glob("*.backup"))
    assert len(backups) == 1
    assert str(backups[0]) in said
    succeeds("status", NARRATOR_DATABASE_URL=sqlite_url)


@pytest.mark.parametrize("command", [["init"], ["status"], ["purge", "--older-than", "1d", "--yes"]])
def test_tables_of_a_newer_version_are_left_alone(command: list[str], url: str) -> None:
    succeeds("init", NARRATOR_DATABASE_URL=url)
    execute(url, "UPDATE narrator_version SET version_num = '9999'")
    assert "9999" in refused(*command, NARRATOR_DATABASE_URL=url)


def test_status_counts_what_is_stored(url: str) -> None:
    save_threads(url, "a", "b")
    facts = json.loads(succeeds("status", "--json", NARRATOR_DATABASE_URL=url))
    assert facts.pop("latency_ms") > 0
    assert facts == {
        "backend": parse_url(url).backend,
        "url": parse_url(url).safe,
        "schema_version": NEWEST,
        "threads": 2,
        "messages": 2,
        "files": 0,
    }


def test_status_is_text_for_people(url: str) -> None:
    save_threads(url, "a")
    lines = dict(line.split(None, 1) for line in succeeds("status", "--database-url", url).splitlines())
    assert lines["threads"] == "1"
    assert lines["url"] == parse_url(url).safe


def test_status_does_not_show_the_password(postgres_url: str) -> None:
    password = str(parse_url(postgres_url).engine_url().password)
    assert len(password) > 8
    save_threads(postgres_url, "a")
    done = narrator("--database-url", postgres_url, "status")
    assert password not in done.stdout + done.stderr
    assert ":***@" in done.stdout


@pytest.mark.parametrize("command", [["status"], ["purge", "--older-than", "1d"], ["gc", "--files", "."]])
def test_looking_never_makes_a_missing_file(command: list[str], tmp_path: Path) -> None:
    missing = tmp_path / "typo.db"
    line = refused(*command, "--database-url", f"sqlite:///{missing}")
    assert "narrator init" in line
    assert not missing.exists()


@pytest.mark.parametrize("command", [["status"], ["purge", "--older-than", "1d"], ["gc", "--files", "."]])
def test_looking_never_makes_tables(command: list[str], postgres_url: str) -> None:
    assert "narrator init" in refused(*command, "--database-url", postgres_url)
    tables: list[str] = []

    async def look(connection: AsyncConnection) -> None:
        found = await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        tables.extend(found.scalars())

    with_connection(postgres_url, look)
    assert tables == []


@pytest.mark.parametrize("command", [["init"], ["status"], ["purge", "--older-than", "1d"], ["gc", "--files", "."]])
def test_no_database_named_is_one_line(command: list[str]) -> None:
    assert "NARRATOR_DATABASE_URL is not set" in refused(*command)


@pytest.mark.parametrize("command", ["init", "status"])
@pytest.mark.parametrize("bad", ["mysql://me:hunter2@h/db", "postgresql://me:hunter2@h", "junk", "sqlite://"])
def test_url_that_cannot_work_is_one_line(command: str, bad: str) -> None:
    refused(command, NARRATOR_DATABASE_URL=bad)
    refused("--database-url", bad, command)


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
        yield listener.getsockname()[1]


@pytest.mark.parametrize("command", ["init", "status"])
def test_server_that_does_not_answer_is_one_line(command: str, closed_port: int) -> None:
    url = f"postgresql+asyncpg://me:hunter2@127.0.0.1:{closed_port}/db"
    line = refused(command, NARRATOR_DATABASE_URL=url)
    assert f"me:***@127.0.0.1:{closed_port}/db" in line


@pytest.mark.parametrize("change", [{"password": "hunter2"}, {"database": "no_such_db"}, {"username": "nobody"}])
def test_server_that_refuses_is_one_line(change: dict[str, str], postgres_url: str) -> None:
    wrong = parse_url(postgres_url).engine_url().set(**change).render_as_string(hide_password=False)
    refused("status", NARRATOR_DATABASE_URL=wrong)


def test_file_that_is_no_database_is_one_line_and_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("my notes\n" * 200)
    for command in ("init", "status"):
        refused(command, "--database-url", f"sqlite:///{file}")
    assert file.read_text() == "my notes\n" * 200


def test_folder_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    assert "missing" in refused("init", "--database-url", f"sqlite:///{tmp_path}/missing/x.db")


def test_nonsense_pool_variable_is_one_line(sqlite_url: str) -> None:
    line = refused("init", NARRATOR_DATABASE_URL=sqlite_url, NARRATOR_DB_POOL_SIZE="five")
    assert "NARRATOR_DB_POOL_SIZE='five'" in line


def test_purge_deletes_only_what_is_older(url: str) -> None:
    save_threads(url, "old", "young")
    make_older(url, "old", timedelta(days=31))
    make_older(url, "young", timedelta(days=29))
    said = succeeds("purge", "--older-than", "30d", "--dry-run", NARRATOR_DATABASE_URL=url)
    assert said == "1 thread older than 30d; nothing was deleted\n"
    assert thread_ids(url) == {"old", "young"}
    said = succeeds("purge", "--older-than", "30d", "--yes", NARRATOR_DATABASE_URL=url)
    assert said == "Deleted 1 thread older than 30d\n"
    assert thread_ids(url) == {"young"}


@pytest.mark.parametrize(("age", "deleted"), [("90m", 1), ("3h", 0), ("1w", 0), ("1H", 1)])
def test_purge_understands_minutes_hours_and_weeks(age: str, deleted: int, sqlite_url: str) -> None:
    save_threads(sqlite_url, "t")
    make_older(sqlite_url, "t", timedelta(hours=2))
    succeeds("purge", "--older-than", age, "--yes", NARRATOR_DATABASE_URL=sqlite_url)
    assert len(thread_ids(sqlite_url)) == 1 - deleted


@pytest.mark.parametrize("age", ["", "0d", "30", "-1d", "d", "1.5d", "1y", "999999d", "٣d"])
def test_age_that_makes_no_sense_is_wrong_usage(age: str, sqlite_url: str) -> None:
    line = refused("purge", f"--older-than={age}", NARRATOR_DATABASE_URL=sqlite_url, code=2)
    assert "30d, 12h, 90m or 2w" in line


def test_purge_without_a_terminal_needs_yes(sqlite_url: str) -> None:
    save_threads(sqlite_url, "old")
    make_older(sqlite_url, "old", timedelta(days=31))
    line = refused("purge", "--older-than", "30d", NARRATOR_DATABASE_URL=sqlite_url)
    assert "--yes" in line
    assert thread_ids(sqlite_url) == {"old"}


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 1), ("\n", 1, 1)])
def test_purge_on_a_terminal_asks_first(answer: str, code: int, left: int, sqlite_url: str) -> None:
    save_threads(sqlite_url, "old")
    make_older(sqlite_url, "old", timedelta(days=31))
    done = answering(answer, "--database-url", sqlite_url, "purge", "--older-than", "30d")
    assert done.returncode == code
    assert "Delete 1 thread older than 30d" in done.stderr
    assert len(thread_ids(sqlite_url)) == left


def save_with_orphan(url: str, folder: Path) -> tuple[str, str]:
    """Ids of a file that a thread refers to, and of one that nothing does; both two hours old."""
    kept, orphan = (
        Attachment(filename="kept.txt", content=b"kept"),
        Attachment(filename="o.txt", content=b"orphan"),
    )

    async def save(store: ThreadStore) -> None:
        message = Message(role="user", content="see the file")
        message.add_attachment(kept)
        await store.save_thread(Thread(id="t", messages=[message]))
        await (await FileStore.create(folder)).save(orphan)

    with_store(url, save, folder)
    two_hours_ago = time.time() - 7200
    for file in folder.rglob("*"):
        os.utime(file, (two_hours_ago, two_hours_ago))
    return kept.file_id, orphan.file_id


def stored_files(folder: Path) -> set[str]:
    names = {file.name for file in folder.rglob("*") if file.is_file()}
    return {name for name in names if len(name) == 64}


def test_gc_removes_what_nothing_refers_to_and_nothing_else(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    kept, orphan = save_with_orphan(url, folder)
    assert stored_files(folder) == {kept, orphan}
    arguments = ("--database-url", url, "gc", "--files", str(folder))
    assert succeeds(*arguments, "--dry-run") == "1 file (6 bytes) that nothing refers to; nothing was removed\n"
    assert stored_files(folder) == {kept, orphan}
    assert succeeds(*arguments) == "Removed 1 file (6 bytes)\n"
    assert stored_files(folder) == {kept}
    assert succeeds(*arguments) == "0 files (0 bytes) that nothing refers to; nothing was removed\n"


def test_gc_with_a_database_without_threads_asks_first(sqlite_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    kept, orphan = save_with_orphan(sqlite_url, folder)
    other = f"sqlite:///{tmp_path}/other.db"
    succeeds("init", "--database-url", other)
    assert "holds no thread" in refused("gc", "--files", str(folder), "--database-url", other)
    assert stored_files(folder) == {kept, orphan}
    succeeds("gc", "--files", str(folder), "--database-url", other, "--yes")
    assert stored_files(folder) == set()


def test_gc_does_not_make_a_mistyped_folder(sqlite_url: str, tmp_path: Path) -> None:
    succeeds("init", "--database-url", sqlite_url)
    refused("gc", "--files", str(tmp_path / "typo"), "--database-url", sqlite_url, code=2)
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["status", "--nonsense"],
        ["status", "postgresql://me:hunter2@h/db"],
        ["purge"],
        ["docker-setup", "--port", "99999"],
        ["docker-setup", "--port", "five"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments: list[str]) -> None:
    assert "narrator --help" in refused(*arguments, code=2)


def test_the_option_behind_the_command_wins(sqlite_url: str) -> None:
    succeeds("--database-url", "mysql://h/db", "init", "--database-url", sqlite_url, NARRATOR_DATABASE_URL="junk")


def test_a_process_of_its_own_makes_checks_and_refuses(url: str) -> None:
    made = process("init", NARRATOR_DATABASE_URL=url)
    assert (made.returncode, made.stdout, made.stderr) == (0, f"Made the tables (schema {NEWEST})\n", "")
    assert process("status", NARRATOR_DATABASE_URL=url).returncode == 0
    down = process("status", NARRATOR_DATABASE_URL="postgresql://me:hunter2@127.0.0.1:1/db")
    assert (down.returncode, down.stdout, down.stderr.count("\n")) == (1, "", 1)


def test_without_a_command_it_shows_the_help() -> None:
    assert succeeds() == succeeds("--help")


def test_help_does_not_import_the_database_libraries() -> None:
    code = "import sys; from narrator.cli import app; app(['--help'], standalone_mode=False)"
    check = "assert not {'sqlalchemy', 'asyncpg', 'alembic'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {check}"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_reader_that_goes_away_is_no_error() -> None:
    command = subprocess.Popen(
        [*COMMAND, "--help"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert command.stdout is not None
    command.stdout.close()
    _, said = command.communicate(timeout=60)
    assert said == b""


def test_interrupt_ends_with_130_and_quietly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts and never answers
        url = f"postgresql://me:hunter2@127.0.0.1:{silent.getsockname()[1]}/db"
        command = subprocess.Popen(
            [*COMMAND, "--database-url", url, "status"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        with silent.accept()[0]:
            command.send_signal(signal.SIGINT)
            out, said = command.communicate(timeout=60)
    assert command.returncode == 130
    assert (out, said) == ("", "")
