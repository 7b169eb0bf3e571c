"""Many writers at once: tasks, objects and processes; cancelled, stopped and killed ones too."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest

from narrator import (
    Attachment,
    FileStore,
    Message,
    Thread,
    ThreadBusy,
    ThreadConflict,
    ThreadNotFound,
    ThreadStore,
)
from tests.connections import checked_out
from tests.garbage import collected
from tests.warm_python import PipedProgram, WarmPython

REPOSITORY = Path(__file__).parents[2]
NO_GRACE = timedelta(0)


def said(id: str, content: str | None = None) -> Message:
    return Message(id=id, role="user", content=content or f"text of {id}")


def ids(thread: Thread) -> list[str]:
    return [message.id for message in thread.messages]


async def stored(store: ThreadStore, *message_ids: str) -> Thread:
    thread = Thread(messages=[said(id) for id in message_ids])
    await store.save_thread(thread)
    return thread


class Start(Protocol):
    """Starts a program of the folder workers."""

    def __call__(self, worker: str, *arguments: object) -> PipedProgram: ...


@pytest.fixture
def start(warm_python: WarmPython) -> Start:
    def start(worker: str, *arguments: object) -> PipedProgram:
        command = ["-m", f"tests.narrator.workers.{worker}", *map(str, arguments)]
        return warm_python.start_piped(command, {**os.environ, "PYTHONPATH": str(REPOSITORY)})

    return start


async def end(*workers: PipedProgram) -> None:
    """All of them ended well."""
    for worker in workers:
        code, text = await asyncio.to_thread(worker.finish)
        assert code == 0, text


@asynccontextmanager
async def holding(start: Start, url: str, thread: Thread, lease_s: float) -> AsyncIterator[PipedProgram]:
    """Another process that has the thread's turn."""
    with start("turns", url, thread.id, "hold", lease_s) as worker:
        assert await asyncio.to_thread(worker.stdout.readline) == "taken\n"
        yield worker


@contextmanager
def nothing_unretrieved() -> Iterator[None]:
    """No task or future may end with an exception that nobody saw."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    try:
        with collected():
            yield
        assert not complaints
    finally:
        loop.set_exception_handler(None)


async def test_two_hundred_threads_saved_at_once(store: ThreadStore) -> None:
    threads = [Thread(messages=[said("a"), said("b")]) for _ in range(200)]
    await asyncio.gather(*(store.save_thread(thread) for thread in threads))
    counts = {summary.id: summary.message_count for summary in await store.list_threads()}
    assert counts == {thread.id: 2 for thread in threads}


async def test_two_hundred_objects_of_one_thread_saved_at_once(store: ThreadStore) -> None:
    objects = [Thread(id="t", messages=[said(f"m{n}")]) for n in range(200)]
    await asyncio.gather(*(store.save_thread(thread) for thread in objects))
    thread = await store.get_thread("t")
    assert sorted(ids(thread)) == sorted(f"m{n}" for n in range(200))
    assert [summary.message_count for summary in await store.list_threads()] == [200]


async def test_one_object_saved_two_hundred_times_at_once(store: ThreadStore) -> None:
    thread = await stored(store, "first")

    async def add(number: int) -> None:
        thread.add_message(said(f"m{number}"))
        thread.messages[0].content = f"edit {number}"
        thread.metadata["last"] = number
        await store.save_thread(thread)

    await asyncio.gather(*(add(number) for number in range(200)))
    again = await store.get_thread(thread.id)
    assert again == thread
    assert (again.messages[0].content, again.metadata["last"], len(again.messages)) == ("edit 199", 199, 201)


async def test_eight_writers_in_two_processes_keep_all_messages_in_their_order(start: Start, sql_url: str) -> None:
    names = [[f"{process}{task}" for task in "abcd"] for process in (1, 2)]
    await end(*[start("writer", sql_url, "t", 25, *four) for four in names])
    async with await ThreadStore.create(sql_url) as store:
        thread = await store.get_thread("t")
    assert len(thread.messages) == 200
    for writer in (name for four in names for name in four):
        assert [id for id in ids(thread) if id.startswith(writer)] == [f"{writer}-{n:04}" for n in range(25)]


async def append_from_four_processes(start: Start, url: str, each: int) -> None:
    await end(*[start("writer", url, "t", each, f"w{process}") for process in range(4)])
    async with await ThreadStore.create(url) as store:
        thread = await store.get_thread("t")
        assert [summary.message_count for summary in await store.list_threads()] == [4 * each]
    for process in range(4):
        assert [id for id in ids(thread) if id.startswith(f"w{process}")] == [f"w{process}-{n:04}" for n in range(each)]


async def test_four_processes_fill_one_sqlite_file_that_none_of_them_found(start: Start, tmp_path: Path) -> None:
    await append_from_four_processes(start, f"sqlite:///{tmp_path}/a.db", 100)


@pytest.mark.deep
async def test_four_processes_append_a_thousand_messages_each_to_one_sqlite_file(start: Start, tmp_path: Path) -> None:
    await append_from_four_processes(start, f"sqlite:///{tmp_path}/a.db", 1000)


async def test_an_edit_and_an_append_at_once_never_mix(store: ThreadStore) -> None:
    for _ in range(25):
        thread = await stored(store, "a", "b")
        editor, writer = await store.get_thread(thread.id), await store.get_thread(thread.id)
        editor.messages[0].content = "edited"
        del editor.messages[1]
        writer.add_message(said("c"))
        edit, append = await asyncio.gather(
            store.save_thread(editor), store.save_thread(writer), return_exceptions=True
        )
        assert append is None
        now = await store.get_thread(thread.id)
        if edit is None:
            assert (now.messages[0].content, ids(now)) == ("edited", ["a", "c"])
        else:
            assert isinstance(edit, ThreadConflict)
            assert (now.messages[0].content, ids(now)) == ("text of a", ["a", "b", "c"])


async def test_a_delete_and_a_save_at_once_leave_all_or_nothing(store: ThreadStore) -> None:
    for _ in range(25):
        thread = await stored(store, "a", "b")
        known, made = await store.get_thread(thread.id), Thread(id=thread.id, messages=[said("d"), said("e")])
        known.add_message(said("c"))
        deleted, save, fresh = await asyncio.gather(
            store.delete_thread(thread.id), store.save_thread(known), store.save_thread(made), return_exceptions=True
        )
        assert deleted is True
        assert save is None or isinstance(save, ThreadConflict)
        assert fresh is None
        try:
            assert ids(await store.get_thread(thread.id)) == ["d", "e"]
        except ThreadNotFound:
            assert ids(made)[-2:] == ["d", "e"]


async def test_two_processes_never_have_one_turn(start: Start, sql_url: str, tmp_path: Path) -> None:
    async with await ThreadStore.create(sql_url) as store:
        thread = await stored(store, "first")
        await end(*[start("turns", sql_url, thread.id, "many", tmp_path / "lock", 10) for _ in range(2)])
        assert len((await store.get_thread(thread.id)).messages) == 21


async def test_the_turn_of_a_killed_process_is_taken_over_at_once(start: Start, sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as store:
        thread = await stored(store, "first")
        async with holding(start, sql_url, thread, lease_s=600) as worker:
            worker.send_signal(signal.SIGKILL)
            await asyncio.to_thread(worker.wait)
            async with store.turn(thread, wait_s=0) as turn:
                await turn.append(said("second"), behind="first")
        assert ids(thread) == ["first", "second"]


async def test_who_waited_in_vain_is_told_who_has_the_turn(start: Start, sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as store:
        thread, other = await stored(store, "first"), await stored(store, "first")
        async with holding(start, sql_url, thread, lease_s=600) as worker:
            with pytest.raises(ThreadBusy, match=rf"process {worker.pid} on .* since 20"):
                async with store.turn(thread, wait_s=0.05):
                    pass
            thread.add_message(said("second"))
            await store.save_thread(thread)  # a plain save never waits for a run
            async with store.turn(other, wait_s=0):
                pass


async def test_a_stopped_process_loses_its_turn_and_cannot_write(start: Start, sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as store:
        thread = await stored(store, "first")
        async with holding(start, sql_url, thread, lease_s=0.5) as worker:
            worker.send_signal(signal.SIGSTOP)
            async with store.turn(thread, wait_s=60) as turn:
                await turn.append(said("second"), behind="first")
                worker.send_signal(signal.SIGCONT)
                code, text = await asyncio.to_thread(worker.finish, "\n")
                assert "LeaseLost" in text
                assert "call go() again" in text
            assert code == 0
        assert ids(await store.get_thread(thread.id)) == ["first", "second"]


async def test_a_lease_is_renewed_while_its_process_lives(store: ThreadStore) -> None:
    thread = await stored(store, "first")
    other = await store.get_thread(thread.id)
    async with store.turn(thread, lease=timedelta(seconds=1)):  # shorter, and a busy machine lets it run out
        with pytest.raises(ThreadBusy):
            async with store.turn(other, wait_s=2.2):
                pass
    async with store.turn(other, wait_s=0):
        pass


async def cancelled_somewhere(coroutine: Any, within_s: float) -> bool:
    """Run it and cancel it at a random instant, perhaps twice; whether it was cancelled before its end."""
    task = asyncio.create_task(coroutine)
    for _ in range(random.choice([1, 2])):
        await asyncio.wait([task], timeout=random.uniform(0, within_s))
        task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


async def test_a_save_cancelled_anywhere_is_whole_or_not_at_all(store: ThreadStore) -> None:
    cancelled = 0
    thread = await stored(store, "a", "b")
    with nothing_unretrieved():
        for number in count():
            if number >= 60 and cancelled:  # in memory a save is seldom met
                break
            thread.add_message(said(f"m{number}"))
            thread.messages[0].content = f"edit {number}"
            thread.metadata["n"] = number
            before, wanted = await store.get_thread(thread.id), thread.model_dump(exclude={"metadata", "updated_at"})
            cancelled += await cancelled_somewhere(store.save_thread(thread), 0.0005 if number % 2 else 0.02)
            now = await store.get_thread(thread.id)
            assert thread.model_dump(exclude={"metadata", "updated_at"}) == wanted
            assert now in (before, thread)
            # The object knows which of the two it is: a second save is no conflict with the first.
            await store.save_thread(thread)
            assert await store.get_thread(thread.id) == thread
            assert checked_out(store) == 0


async def test_a_turn_cancelled_anywhere_is_given_back(store: ThreadStore) -> None:
    thread = await stored(store, "a")

    async def take() -> None:
        async with store.turn(thread, wait_s=5) as turn:
            await turn.append(Message(role="user", content="x"), behind="a")

    with nothing_unretrieved():
        for _ in range(40):
            await cancelled_somewhere(take(), 0.02)
            async with store.turn(thread, wait_s=0):
                assert checked_out(store) == 0
    assert await store.get_thread(thread.id) == thread


async def test_a_read_cancelled_anywhere_gives_its_connection_back(store: ThreadStore) -> None:
    thread = await stored(store, *(f"m{n}" for n in range(300)))
    with nothing_unretrieved():
        for _ in range(40):
            await asyncio.gather(
                cancelled_somewhere(store.get_thread(thread.id), 0.01),
                cancelled_somewhere(store.list_threads(), 0.01),
                cancelled_somewhere(store.delete_thread("none"), 0.01),
            )
            assert len((await store.get_thread(thread.id)).messages) == 300
            assert checked_out(store) == 0


@asynccontextmanager
async def two_stores(url: str | None, tmp_path: Path) -> AsyncIterator[tuple[ThreadStore, ThreadStore]]:
    """Two programs on one database and one file folder (in memory: one)."""
    files = [await FileStore.create(tmp_path / "files") for _ in range(2)]
    async with await ThreadStore.create(url, file_store=files[0]) as one:
        if url is None:
            yield one, one
            return
        async with await ThreadStore.create(url, file_store=files[1]) as two:
            yield one, two


def with_file(content: bytes, owner: str | None = None) -> Thread:
    thread = Thread(owner=owner)
    message = thread.add_message(said("a"))
    message.add_attachment(Attachment(filename="f.bin", content=content))
    return thread


async def assert_all_files_there(store: ThreadStore) -> None:
    """No stored message refers to bytes that are gone."""
    files = store.file_store
    assert files is not None
    for summary in await store.list_threads():
        thread = await store.get_thread(summary.id)
        for attachment in (a for message in thread.messages for a in message.attachments):
            owned = files.for_owner(thread.owner) if thread.owner else files
            assert len(await owned.get(attachment.file_id)) == attachment.size_bytes


async def share_one_file(one: ThreadStore, two: ThreadStore, rounds: int) -> None:
    last = with_file(b"shared")
    await one.save_thread(last)
    for number in range(rounds):
        fresh, edited = with_file(b"shared"), await stored(two, "a")
        edited.messages[0].add_attachment(Attachment(filename="g.bin", content=b"shared"))
        forwarded = Thread(messages=[Message(role="user", attachments=[await known_file(last)])])
        saves = [one.save_thread(fresh), two.save_thread(edited), two.save_thread(forwarded)]
        outcome = await asyncio.gather(two.delete_thread(last.id), *saves, return_exceptions=True)
        assert outcome[:3] == [True, None, None]
        # Without the bytes at hand, a save may come too late; then it stores nothing.
        assert outcome[3] is None or type(outcome[3]).__name__ == "FileNotFound"
        await assert_all_files_there(one)
        if number % 2:
            edited.messages[0].attachments.clear()
            await asyncio.gather(two.save_thread(edited), one.delete_thread(forwarded.id), one.delete_thread(fresh.id))
            last = with_file(b"shared")
            await one.save_thread(last)
        else:
            await asyncio.gather(one.delete_thread(edited.id), one.delete_thread(forwarded.id))
            last = fresh
        await assert_all_files_there(two)
    for summary in await one.list_threads():
        await two.delete_thread(summary.id)
    assert one.file_store is not None
    assert [file async for file in one.file_store.list()] == []


async def known_file(thread: Thread) -> Attachment:
    """A reference without the bytes, as a message that was loaded has."""
    return thread.messages[0].attachments[0].model_copy(update={"content": None, "path": None})


async def test_a_file_that_threads_share_stays_until_the_last_of_them_goes(
    store_url: str | None, tmp_path: Path
) -> None:
    async with two_stores(store_url, tmp_path) as (one, two):
        await share_one_file(one, two, 12)


@pytest.mark.deep
async def test_a_file_that_threads_share_stays_hundreds_of_times(store_url: str | None, tmp_path: Path) -> None:
    async with two_stores(store_url, tmp_path) as (one, two):
        await share_one_file(one, two, 500)


@pytest.mark.parametrize("owner", [None, "cust-1"])
async def test_garbage_collection_during_saves_takes_no_file_of_theirs(
    store_url: str | None, tmp_path: Path, owner: str | None
) -> None:
    async with two_stores(store_url, tmp_path) as (one, two):
        saving = asyncio.create_task(save_files(one, owner, 25))
        while not saving.done():
            await two.collect_garbage(grace=NO_GRACE)
        await saving
        await assert_all_files_there(one)
        assert (await one.status()).files == 25
        assert two.file_store is not None
        await (two.file_store.for_owner(owner) if owner else two.file_store).save(
            Attachment(filename="x", content=b"nobody's")
        )
        assert (await two.collect_garbage(grace=NO_GRACE)).removed == 1


async def save_files(store: ThreadStore, owner: str | None, count: int) -> None:
    for number in range(count):
        await store.save_thread(with_file(os.urandom(64) + bytes([number]), owner))


async def test_connections_go_to_who_asked_first(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or of many conversations some would have turn after turn, and the others would wait."""
    monkeypatch.setenv("NARRATOR_DB_POOL_SIZE", "1")
    monkeypatch.setenv("NARRATOR_DB_MAX_OVERFLOW", "3")
    served = [0] * 16
    ahead = []
    async with await ThreadStore.create(postgres_url) as store:

        async def conversation(number: int) -> None:
            for _ in range(8):
                await store.save_thread(Thread(id=f"t{number}"))
                served[number] += 1
                ahead.append(max(served) - min(served))

        await asyncio.gather(*(conversation(number) for number in range(16)))
    assert max(ahead) <= 3  # 5 to 7 where whoever asks next gets one
