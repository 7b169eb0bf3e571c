"""A worker is killed (SIGKILL) at every instant that matters, and the next `go` leaves one correct conversation."""

from __future__ import annotations

import signal
from itertools import count
from pathlib import Path

import pytest

from narrator import Attachment, Message, Thread, ThreadNotFound, ThreadStore
from tests.faults.conversation import Journal, assert_answered, assert_sound, opened
from tests.faults.processes import Worker
from tests.faults.workers import die_while_writing_a_file, make_tables, one_conversation, resume

WAYS = ["plain go", "redelivery"]


async def kill_at_every_instant(url: str, folder: Path, ways_at: dict[int, list[list[str]]]) -> int:
    """Play, kill and resume, for one instant after the other; how many there are. ways_at: by parity."""
    for fatal in count(1):
        for variant, ways in enumerate(ways_at[fatal % 2]):
            here = folder / f"{fatal}-{variant}"
            here.mkdir()
            thread_id = f"thread-{fatal}-{variant}"
            with Worker(one_conversation, url, here, thread_id, fatal) as worker:
                if worker.ended() == 0:
                    return fatal - 1
                assert worker.ended() == -signal.SIGKILL, worker.heard()
            instant = (here / "instants").read_text().splitlines()[-1]
            try:
                with Worker(resume, url, here, thread_id, ways) as worker:
                    assert worker.heard() == "done"
                await check(url, here, thread_id)
            except Exception as error:
                error.add_note(f"killed at instant {instant}, resumed by {ways}")
                raise
    raise AssertionError("unreachable")


async def check(url: str, folder: Path, thread_id: str) -> None:
    """Nothing lost, nothing twice, all in order."""
    journal = Journal(folder / "journal")
    async with opened(url, folder / "files") as store:
        thread = await store.get_thread(thread_id)
        await assert_sound(store, thread, journal)
    ids = [message.id for message in thread.messages]
    assert set(journal.all("acknowledged")) <= set(ids)
    assert assert_answered(thread, thread_id) == 0
    assert [message.role for message in thread.messages[7:8]] == ["user"]
    assert thread.messages[-1].text == "done: order later"
    assert len(set(journal.all("charge"))) <= 2
    for kind in ("look_up", "ship"):
        keys = journal.all(kind)
        assert len(set(keys)) == 2, f"{kind} ran under {set(keys)}: one key for each of the two turns"


async def test_killed_at_any_instant_resumes_to_one_correct_conversation(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path / "files"):
        pass  # the tables
    instants = await kill_at_every_instant(database, tmp_path, {1: [WAYS], 0: [WAYS[::-1]]})
    assert instants >= 30


async def test_killed_while_the_tables_are_made(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for fatal in count(1):
        url = f"{database}-{fatal}"
        if database.startswith("postgresql"):
            url = request.getfixturevalue("postgres_server").create_database(f"kill-{fatal}")
        with Worker(make_tables, url, tmp_path, fatal) as worker:
            if worker.ended() == 0:
                break
            assert worker.ended() == -signal.SIGKILL, worker.heard()
        with Worker(make_tables, url, tmp_path, 0) as worker:
            assert worker.heard() == "done"
        async with await ThreadStore.create(url) as store:
            assert [m.id for m in (await store.get_thread("thread")).messages] == ["m"]
    assert fatal > 6


async def test_killed_in_the_middle_of_a_file_leaves_no_half_file(tmp_path: Path) -> None:
    url, content = f"sqlite+aiosqlite:///{tmp_path}/store.db", bytes(range(256)) * 8_000
    async with opened(url, tmp_path / "files") as store:
        with Worker(die_while_writing_a_file, url, tmp_path, content) as worker:
            assert worker.ended() == -signal.SIGXFSZ
        assert store.file_store is not None
        written = [path for path in (tmp_path / "files").rglob("*") if path.is_file() and path.stat().st_size]
        assert len(written) == 1, "the process was not killed while it wrote"
        assert [stored async for stored in store.file_store.list()] == []
        with pytest.raises(ThreadNotFound):
            await store.get_thread("thread")
        message = Message(id="m", role="user", content="hello")
        message.add_attachment(Attachment(filename="large.bin", content=content))
        await store.save_thread(Thread(id="thread", messages=[message]))
        stored = (await store.get_thread("thread")).messages[0].attachments[0]
        assert await store.file_store.get(stored.file_id) == content


@pytest.mark.deep
async def test_killed_at_any_instant_resumes_either_way(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path / "files"):
        pass
    both = [["plain go"], ["redelivery"], ["plain go", "plain go"], ["redelivery", "redelivery"]]
    assert await kill_at_every_instant(database, tmp_path, {1: both, 0: both}) >= 30
