"""What every test may ask for: a PostgreSQL server, databases on it, a strict model server, a warm Python."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.model_server.fixtures import model_server
from tests.postgres_server import PostgresServer
from tests.tables import PostgresTables, SqliteTables
from tests.warm_python import WarmPython

__all__ = ["model_server"]

# A test run in the background inherits an ignored Ctrl-C, and would hand it on to the programs that it interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test process's own; a test that stops it starts it again."""
    server = PostgresServer.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmPython]:
    """Starts programs without the seconds that litellm's import takes; one for all processes of the test run."""
    folder = tmp_path_factory.getbasetemp()
    with WarmPython(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) as python:
        yield python


@pytest.fixture(scope="session")
def _postgres_database(postgres_server: PostgresServer) -> str:
    name = "test"
    postgres_server.create_database(name)
    return name


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, _postgres_database: str) -> Iterator[str]:
    """The URL of an empty database. The test fails if it leaves a connection open."""
    yield postgres_server.url_of(_postgres_database)
    left_open = postgres_server.empty_database(_postgres_database)
    assert not left_open, f"connections left open, after these statements: {left_open}"


@pytest.fixture(scope="session")
def sqlite_tables(tmp_path_factory: pytest.TempPathFactory) -> SqliteTables:
    """A SQLite file with tables, to be copied."""
    return SqliteTables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="session")
def postgres_tables(postgres_server: PostgresServer) -> PostgresTables:
    """A database with tables on the server."""
    return PostgresTables(postgres_server)


@pytest.fixture
def postgres_tables_url(postgres_tables: PostgresTables) -> Iterator[str]:
    """The URL of a database with its tables. The test fails if it leaves a connection open."""
    yield postgres_tables.url
    left_open = postgres_tables.empty()
    assert not left_open, f"connections left open, after these statements: {left_open}"
