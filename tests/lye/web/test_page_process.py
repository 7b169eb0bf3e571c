"""Large pages are read in a process that can be stopped."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from lye._web.page import read_page
from lye._web.page_process import read_page_aside
from lye.errors import FetchFailed
from tests.lye.children import children_of, environment_of
from tests.lye.descriptors import no_descriptors

URL = "https://site.example/"
LARGE = b"<title>T\xc3\xa9</title>" + b"".join(
    b"<p>Paragraph %d tells something about this and that.</p>" % i for i in range(5_000)
)
# Distinct attributes cost libxml2 the square of their number: minutes for this one.
POISON = b"<html><body><p " + b" ".join(b"a%d=1" % i for i in range(400_000)) + b">hi"


async def test_a_large_page_reads_like_a_small_one() -> None:
    page = await read_page_aside(LARGE, "text/html", URL)
    assert page == read_page(LARGE, "text/html", URL)
    assert page.title == "Té"
    assert "Paragraph 4999" in page.text


async def test_a_page_that_would_take_minutes_is_stopped_and_the_loop_stays_free() -> None:
    loop, lags = asyncio.get_running_loop(), []

    async def watch() -> None:
        while True:
            due = loop.time() + 0.02
            await asyncio.sleep(0.02)
            lags.append(loop.time() - due)

    watcher = asyncio.create_task(watch())
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await read_page_aside(POISON, "text/html", URL)
    assert time.monotonic() - began < 5
    watcher.cancel()
    assert len(lags) > 10
    assert sorted(lags)[len(lags) // 2] < 0.1
    assert children_of("lye._web.page_process") == []


async def test_the_process_sees_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "hunter2")
    task = asyncio.create_task(read_page_aside(POISON, "text/html", URL))
    try:
        async with asyncio.timeout(30):
            while not (children := children_of("lye._web.page_process")):
                await asyncio.sleep(0.01)
        assert "hunter2" not in environment_of(children[0]).values()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_page_over_the_memory_limit_is_a_failure() -> None:
    with pytest.raises(FetchFailed, match="within 50,000,000 bytes of memory"):
        await read_page_aside(LARGE, "text/html", URL, max_memory_bytes=50_000_000)


async def test_a_process_that_cannot_be_started_is_a_failure_in_words() -> None:
    failures = []
    with no_descriptors() as held:
        for _ in range(9):
            try:
                await read_page_aside(LARGE, "text/html", URL + "?token=hunter2")
                break
            except FetchFailed as error:
                failures.append(str(error))
            os.close(held.pop())
    assert set(failures) == {
        "'https://site.example/?...' could not be read (Too many open files): no process for it could be started;"
        " try again later, with fewer pages at once"
    }
