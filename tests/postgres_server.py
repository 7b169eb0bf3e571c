"""A real PostgreSQL server for the tests: own data folder, free port on 127.0.0.1, a password that counts.

Each test process starts its own, so a test may stop, break and restart it without disturbing other workers.
What a client sees of the settings is PostgreSQL's default. Only fsync is off: it protects from an end of the whole
machine; what a killed server has written stays with the kernel. Finding the programs is postgres_binaries.py's job,
ending the server when the test run dies is postgres_watchdog.py's.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from tests.postgres_binaries import PostgresBinaries, PostgresUnavailable

T = TypeVar("T")
StopMode = Literal["fast", "immediate"]

USER = "postgres"
MAX_CONNECTIONS = 300
# Below the range that the kernel hands to outgoing connections, so that restart() finds its port still free.
PORTS = range(20_000, 32_000)
SETTINGS = (
    f"-c max_connections={MAX_CONNECTIONS} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
    " -c fsync=off -c autovacuum_naptime=1h -c log_timezone=UTC -c timezone=UTC"
)
EMPTY_DATABASE = """
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT nspname FROM pg_namespace WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'
    LOOP EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP;
    CREATE SCHEMA public AUTHORIZATION pg_database_owner;
    GRANT USAGE ON SCHEMA public TO PUBLIC;
    EXECUTE format('ALTER DATABASE %I RESET ALL', current_database());
END $$
"""


class PostgresServer:
    """A running server; `start()` makes one, `close()` ends it and deletes its data."""

    def __init__(self, binaries: PostgresBinaries, folder: Path, password: str, settings: str = "") -> None:
        self.binaries = binaries
        self._settings = f"{SETTINGS} {settings}"
        self.password = password
        self.port = 0
        self.folder = folder
        self._data = folder / "data"
        self._log = folder / "server.log"
        watchdog = Path(__file__).with_name("postgres_watchdog.py")
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", str(watchdog), str(folder)], stdin=subprocess.PIPE, start_new_session=True
        )

    @classmethod
    def start(cls, settings: str = "") -> PostgresServer:
        """A new server that answers, in about two seconds. It dies with this process, `kill -9` included.

        `settings`: more of them, as the program's own arguments; the last word on each counts.
        """
        found = PostgresBinaries.find()
        folder = Path(tempfile.mkdtemp(prefix="narrator-postgres-", dir=_folder_open_to_all()))
        if found.account is not None:
            shutil.chown(folder, found.account)
        server = cls(found, folder, secrets.token_hex(16), settings)
        try:
            server.binaries = found.reachable_from(folder)
            server._initialize()
            server._start_on_free_port()
        except BaseException:
            server.close()
            raise
        return server

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the maintenance database `postgres`."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The SQLAlchemy URL of a database of this server, whether it exists or not."""
        return f"postgresql+asyncpg://{USER}:{self.password}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def create_database(self, name: str) -> str:
        """The URL of a new, empty database. Takes 0.1 to 0.3 s."""
        self._execute(f"CREATE DATABASE {_quoted(name)} TEMPLATE template0")
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Drop it if it is there, closing the connections to it."""
        self._execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    def empty_database(self, name: str) -> list[str]:
        """Make it as good as new, in a tenth of the time of a drop and a create.

        Returns the last statement of each connection that is still open a second later. These are ended.
        """
        return self.run_connected(name, _empty)

    def run_connected(self, database: str, action: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """What the action returns, given a connection to the database."""

        async def connected() -> T:
            import asyncpg

            connection = await asyncpg.connect(
                host="127.0.0.1",
                port=self.port,
                user=USER,
                password=self.password,
                database=database,
                ssl=False,
            )
            try:
                return await action(connection)
            finally:
                await connection.close()

        return in_a_thread(connected())

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return int((self._data / "postmaster.pid").read_text(encoding="ascii").splitlines()[0])

    def is_running(self) -> bool:
        """Whether the server process is there."""
        return self.binaries.run("pg_ctl", "-D", str(self._data), "status").returncode == 0

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop, keeping port and data. "immediate" is a crash: the next start recovers from the log."""
        answer = self.binaries.run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "stop")
        if answer.returncode != 0 and self.is_running():
            raise PostgresUnavailable(f"pg_ctl stop failed: {answer.stdout.strip()}")

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop if running, and start on the same port with the same data."""
        self.stop(mode)
        self._start_on(self.port)

    def log_text(self) -> str:
        """What the server has logged so far."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def close(self) -> None:
        """End the server and delete its data."""
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.close()
        self._watchdog.wait()

    def _initialize(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(self.password, encoding="ascii")
        if self.binaries.account is not None:
            shutil.chown(password_file, self.binaries.account)
        answer = self.binaries.run(
            "initdb",
            *("-D", str(self._data), "--username", USER, "--pwfile", str(password_file)),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"),
        )
        password_file.unlink()
        if answer.returncode != 0:
            raise PostgresUnavailable(f"initdb failed in {self.folder}: {answer.stdout.strip()}")

    def _start_on_free_port(self) -> None:
        for _ in range(5):
            port = _free_port()
            try:
                return self._start_on(port)
            except PostgresUnavailable:
                if "could not bind" not in self.log_text():
                    raise
        raise PostgresUnavailable(f"no free port between {PORTS.start} and {PORTS.stop} on 127.0.0.1")

    def _start_on(self, port: int) -> None:
        options = ("-o", f"-p {port} {self._settings}", "-l", str(self._log))
        answer = self.binaries.run("pg_ctl", "-D", str(self._data), *options, "-w", "start")
        if answer.returncode != 0:
            raise PostgresUnavailable(f"PostgreSQL did not start: {answer.stdout.strip()}\n{self.log_text()}")
        self.port = port

    def _execute(self, statement: str) -> None:
        self.run_connected("postgres", lambda connection: connection.execute(statement))


def in_a_thread(work: Coroutine[Any, Any, T]) -> T:
    """What it returns, in an event loop of its own: the caller may be an async test, whose loop is running."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, work).result()


async def open_connections(connection: Any) -> list[str]:
    """The last statement of each other connection that is still open a second later. These are ended."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    deadline = asyncio.get_running_loop().time() + 1
    # A backend ends a moment after its client has closed.
    while left := await connection.fetch(f"SELECT query {others} AND backend_type = 'client backend'"):
        if asyncio.get_running_loop().time() > deadline:
            await connection.execute(f"SELECT pg_terminate_backend(pid) {others}")
            break
        await asyncio.sleep(0.01)
    return [row["query"] for row in left]


async def _empty(connection: Any) -> list[str]:
    left_open = await open_connections(connection)
    await connection.execute(EMPTY_DATABASE)
    return left_open


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _free_port() -> int:
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise PostgresUnavailable(f"no free port between {PORTS.start} and {PORTS.stop} on 127.0.0.1")


def _folder_open_to_all() -> str:
    """The folder for temporary files; not root's private one, for the server does not run as root."""
    chosen = Path(tempfile.gettempdir())
    if os.geteuid() == 0 and any(not path.stat().st_mode & 0o001 for path in (chosen, *chosen.parents)):
        return "/var/tmp"
    return str(chosen)
