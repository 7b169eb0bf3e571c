"""What lye's tests share: local servers, one with a certificate for site.example, a browser, a mark for processes."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator

import pytest
import trustme

from tests.lye.browsing import Browsing
from tests.lye.chromium import find
from tests.lye.local_server import LocalServer
from tests.lye.marked_processes import Marked


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority of this test run, which nobody else trusts."""
    return trustme.CA()


@pytest.fixture
def tls_server(authority: trustme.CA) -> Iterator[LocalServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("site.example").configure_cert(context)
    with LocalServer(tls=context) as running:
        yield running


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """A client's context that trusts the test's authority and nothing else."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def marked() -> Iterator[Marked]:
    """A mark for a test's commands. The test fails if it leaves a marked process behind."""
    mark = Marked()
    yield mark
    assert mark.alive() == []


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program of a Chromium that runs here; skips where there is none."""
    folder = tmp_path_factory.getbasetemp()
    return find(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)


@pytest.fixture(scope="session")
def browsing(chromium: str) -> Iterator[Browsing]:
    """The one browser that all tests of a process use that do not need one of their own."""
    running = Browsing(chromium)
    yield running
    asyncio.run(running.thread.close())
