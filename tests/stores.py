"""A store on each backend: `store_url` (None: in memory) and `store`; for the tests of narrator's promises.

Their databases have tables (tests/tables.py). Who tests how these are made asks for
`bare_url` or `postgres_url`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from narrator import ThreadStore

BACKENDS = ("memory", "sqlite", "postgresql")


def url_of(backend: str, request: pytest.FixtureRequest) -> str | None:
    """The URL of this test's database, with tables and nothing in them."""
    if backend == "memory":
        return None
    if backend == "postgresql":
        return request.getfixturevalue("postgres_tables_url")
    tmp_path: Path = request.getfixturevalue("tmp_path")
    return request.getfixturevalue("sqlite_tables").copy(tmp_path / "conversations.db")


@pytest.fixture(params=BACKENDS)
def store_url(request: pytest.FixtureRequest) -> str | None:
    return url_of(request.param, request)


@pytest.fixture(params=BACKENDS[1:])
def sql_url(request: pytest.FixtureRequest) -> str:
    """Only the backends with a database outside this process."""
    url = url_of(request.param, request)
    assert url is not None
    return url


@pytest.fixture(params=BACKENDS[1:])
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite+aiosqlite:///{tmp_path}/bare.db"


@pytest.fixture
async def store(store_url: str | None) -> AsyncIterator[ThreadStore]:
    async with await ThreadStore.create(store_url) as store:
        yield store
