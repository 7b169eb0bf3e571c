"""The disk fails a SQLite store and its files: an error says so, what was stored stays, the next `go` completes it."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from time import monotonic

import pytest

from narrator import Message, StoreUnavailable, Thread, ThreadStore
from narrator._write_queue import StillLocked, WriteQueue
from tests.faults.conversation import Journal, assert_answered, assert_sound, opened
from tests.faults.processes import Worker
from tests.faults.workers import (
    answer_on_a_full_disk,
    answer_within,
    open_without_descriptors,
    read_and_close,
    save_with_a_connection_that_was_read_only,
    try_to_take_a_turn,
)

DONE = "done: order thread"
TOLD = {
    "bytes in a file": "File too large; check its disk space|the disk fails, or is full",
    "descriptors": r"Too many open files; check .*`ulimit -n`|file cannot be opened; .*`ulimit -n`",
    "pages": "the disk is full; free some space",
}


async def answered_within(folder: Path, name: str, amounts: Iterable[int]) -> list[str]:
    """For each amount of the resource: what the first `go` said. What it left is completed by the next one."""
    said = []
    for amount in amounts:
        here = folder / str(amount)
        here.mkdir()
        url = f"sqlite+aiosqlite:///{here}/store.db"
        with Worker(answer_within, url, here, name, amount) as worker:
            said.append(worker.heard())
            assert said[-1] == DONE or re.search(TOLD[name], said[-1]), said[-1]
            assert worker.heard() == DONE
            assert worker.heard() == [], "a background task failed"
            assert worker.ended() == 0
        async with opened(url, here / "files") as store:
            thread = await store.get_thread("thread")
            assert_answered(thread, "thread")
            assert len(thread.messages) == 7
            await assert_sound(store, thread, Journal(here / "journal"))
    return said


async def test_file_that_cannot_grow_ends_the_run_and_the_next_completes_it(tmp_path: Path) -> None:
    sizes = [16_000, 50_000, 120_000, 200_000, 5_000_000]
    said = await answered_within(tmp_path, "bytes in a file", sizes)
    assert said.count(DONE) < len(sizes) - 3
    assert said[-1] == DONE


@pytest.mark.parametrize(("more_pages", "said"), [(0, "the disk is full; free some space"), (100, "long ")])
async def test_full_disk_ends_the_run_and_the_next_completes_it(tmp_path: Path, more_pages: int, said: str) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/store.db"
    with Worker(answer_on_a_full_disk, url, more_pages) as worker:
        assert said in worker.heard()
        assert worker.heard() == "long "
        assert worker.ended() == 0
    async with await ThreadStore.create(url) as store:
        assert [m.role for m in (await store.get_thread("thread")).messages] == ["user", "assistant"]


async def test_no_descriptor_left_ends_the_run_and_the_next_completes_it(tmp_path: Path) -> None:
    said = await answered_within(tmp_path, "descriptors", [0, 1])
    assert "Too many open files" in said[0]


async def test_store_that_finds_no_descriptor_says_so(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/store.db"
    with Worker(open_without_descriptors, url) as worker:
        assert "Too many open files" in worker.heard()


async def test_run_without_descriptors_leaves_a_living_run_its_turn(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/store.db"
    async with await ThreadStore.create(url) as store:
        thread = Thread(id="thread", messages=[Message(id="a", role="user", content="hello")])
        await store.save_thread(thread)
        async with store.turn(thread) as turn:
            with Worker(try_to_take_a_turn, url) as worker:
                assert worker.heard() == "busy"
            await turn.append(Message(id="b", role="assistant", content="hello"), behind="a")


async def test_second_store_of_a_process_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/store.db"
    async with await ThreadStore.create(url) as first:
        thread = Thread(id="thread", messages=[Message(id="a", role="user", content="hello")])
        await first.save_thread(thread)
        async with await ThreadStore.create(url):
            for ids in (["a"], ["a", "b"]):  # whoever closes last, as SQLite sees it, takes the -wal file away
                with Worker(read_and_close, url) as other:
                    assert other.heard() == ids
                    assert other.ended() == 0
                if len(ids) == 1:
                    thread.add_message(Message(id="b", role="user", content="and?"))
                    await first.save_thread(thread)


@pytest.mark.parametrize("name", ["store.db", "store.db-wal", "store.db-shm"])
@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
async def test_nothing_is_acknowledged_once_the_file_is_gone(tmp_path: Path, name: str, replaced: bool) -> None:
    file, aside = tmp_path / name, tmp_path / "aside"
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{tmp_path}/store.db") as store:
        thread = Thread(id="thread", messages=[Message(id="a", role="user", content="hello")])
        await store.save_thread(thread)
        file.rename(aside)
        if replaced:
            shutil.copy(aside, file)
        thread.add_message(Message(id="b", role="user", content="and?"))
        refused = f"the file '{name}' was removed or replaced"
        with pytest.raises(StoreUnavailable, match=refused):
            await store.save_thread(thread)
        # More readers than there are connections open: a new one makes no empty database where the file was.
        for read in await asyncio.gather(*(store.get_thread("thread") for _ in range(7)), return_exceptions=True):
            assert isinstance(read, StoreUnavailable), read
        assert file.exists() == replaced
        aside.rename(file)
        await store.save_thread(thread)
        assert [m.id for m in (await store.get_thread("thread")).messages] == ["a", "b"]


async def test_connection_that_was_read_only_is_not_kept(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/store.db"
    with Worker(save_with_a_connection_that_was_read_only, url, tmp_path / "store.db") as worker:
        refused = worker.heard()
    assert len(refused) == 1
    assert "the file is read-only for this user" in refused[0]


async def enter(queue: WriteQueue, patience_s: float, locked: asyncio.Event) -> str:
    """A writer of the queue, before a database that is locked until the event is set."""
    try:
        async with queue.turn(patience_s) as entered:
            try:
                await asyncio.wait_for(locked.wait(), patience_s)
            except TimeoutError:
                return "locked"
            entered()
            return "stored"
    except StillLocked:
        return "still locked"


async def test_writers_behind_a_locked_database_wait_together_not_in_turn() -> None:
    queue, unlocked, started = WriteQueue(), asyncio.Event(), monotonic()
    outcomes = await asyncio.gather(*(enter(queue, 0.2, unlocked) for _ in range(50)))
    assert monotonic() - started < 2
    assert outcomes == ["locked"] + ["still locked"] * 49
    unlocked.set()
    assert await enter(queue, 0.2, unlocked) == "stored", "nobody looks whether it is still locked"


async def test_long_queue_in_which_writers_get_in_refuses_none() -> None:
    queue, unlocked = WriteQueue(), asyncio.Event()
    assert await enter(queue, 0.01, unlocked) == "locked"
    unlocked.set()

    async def slow(number: int) -> None:
        async with queue.turn(0.1) as entered:
            entered()
            await asyncio.sleep(0.01)

    await asyncio.gather(*(slow(number) for number in range(40)))  # four times the patience in all


@pytest.mark.deep  # 30 s of waiting
async def test_many_saves_into_a_locked_database_are_refused_together(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{path}") as store:
        other_program = sqlite3.connect(path, isolation_level=None)
        other_program.execute("BEGIN IMMEDIATE")
        started = monotonic()
        threads = [Thread(messages=[Message(role="user", content="hello")]) for _ in range(20)]
        saved = await asyncio.gather(*map(store.save_thread, threads), return_exceptions=True)
        assert all(isinstance(outcome, StoreUnavailable) for outcome in saved)
        assert {str(outcome).partition(": ")[2][:33] for outcome in saved} == {"another program keeps it locked; "}
        assert 29 < monotonic() - started < 40
        other_program.execute("ROLLBACK")
        other_program.close()
        await asyncio.gather(*map(store.save_thread, threads))
        assert len(await store.list_threads(limit=100)) == 20
