"""P9: a committed message never refers to missing or partial bytes; what nothing refers to is removed.

How bytes reach the disk (temporary file, fsync, rename) is attacked in tests/narrator/test_disk_files.py, kills in
between in tests/faults/test_kill.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from narrator import Attachment, FileNotFound, FileStore, FileStoreMissing, FileTooLarge, Message, Thread, ThreadStore

NOW = timedelta(0)


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[FileStore]:
    async with await FileStore.create(tmp_path / "files", max_file_bytes=100) as files:
        yield files


@pytest.fixture
async def store(store_url: str | None, files: FileStore) -> AsyncIterator[ThreadStore]:
    async with await ThreadStore.create(store_url, file_store=files) as store:
        yield store


def with_file(content: bytes, filename: str = "a.txt") -> Message:
    return Message(role="user", content="see", attachments=[Attachment(filename=filename, content=content)])


def file_id(thread: Thread) -> str:
    return thread.messages[0].attachments[0].file_id


async def kept(files: FileStore) -> set[str]:
    return {stored.file_id async for stored in files.list()}


async def test_a_saved_message_has_its_bytes(store: ThreadStore, files: FileStore) -> None:
    await store.save_thread(Thread(id="t", messages=[with_file(b"bytes")]))
    loaded = await store.get_thread("t")
    assert loaded.messages[0].attachments[0].content is None
    assert await files.get(file_id(loaded)) == b"bytes"


async def test_a_reference_to_missing_bytes_is_refused_and_nothing_written(store: ThreadStore) -> None:
    missing = Attachment(filename="a.txt", file_id="0" * 64)
    with pytest.raises(FileNotFound, match=r"a\.txt|000000"):
        await store.save_thread(Thread(id="t", messages=[Message(role="user", attachments=[missing])]))
    assert await store.list_threads() == []


async def test_a_file_over_the_limit_is_refused_and_nothing_written(store: ThreadStore, files: FileStore) -> None:
    with pytest.raises(FileTooLarge, match="100"):
        await store.save_thread(Thread(id="t", messages=[with_file(b"x" * 101)]))
    assert await store.list_threads() == []
    assert await kept(files) == set()


async def test_without_a_file_store_the_message_is_refused(sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as bare:
        with pytest.raises(FileStoreMissing, match=r"a\.txt"):
            await bare.save_thread(Thread(id="t", messages=[with_file(b"bytes")]))
        assert await bare.list_threads() == []


async def test_names_never_become_paths(store: ThreadStore, files: FileStore, tmp_path: Path) -> None:
    before = outside(tmp_path)
    for number, name in enumerate(["../../etc/passwd", "/etc/passwd", "a/../b", "..", "con\x00.txt"]):
        thread = Thread(messages=[with_file(f"{number}".encode(), name)])
        await store.save_thread(thread)
        assert await files.get(file_id(thread)) == f"{number}".encode()
    assert outside(tmp_path) == before


def outside(folder: Path) -> set[Path]:
    """What lies beside the file store, but for the database."""
    paths = [*folder.iterdir(), *folder.parent.iterdir()]
    return {path for path in paths if path.name != "files" and ".db" not in path.name}


async def test_bytes_go_with_the_last_thread_that_refers_to_them(store: ThreadStore, files: FileStore) -> None:
    first, second = (
        Thread(id="1", messages=[with_file(b"same")]),
        Thread(id="2", messages=[with_file(b"same", "b.txt")]),
    )
    await store.save_thread(first)
    await store.save_thread(second)
    await store.delete_thread("1")
    assert await files.get(file_id(second)) == b"same"
    await store.delete_thread("2")
    assert await kept(files) == set()


async def test_bytes_go_with_the_message_or_attachment_that_is_removed(store: ThreadStore, files: FileStore) -> None:
    thread = Thread(id="t", messages=[with_file(b"one"), with_file(b"two")])
    await store.save_thread(thread)
    thread.messages[1].attachments.clear()
    await store.save_thread(thread)
    assert await kept(files) == {file_id(thread)}
    del thread.messages[0]
    await store.save_thread(thread)
    assert await kept(files) == set()


async def test_garbage_is_what_no_message_refers_to(store: ThreadStore, files: FileStore) -> None:
    """An attachment that was added to a stored message is no garbage."""
    thread = Thread(id="t", messages=[Message(role="user", content="see")])
    await store.save_thread(thread)
    thread.messages[0].add_attachment(Attachment(filename="late.txt", content=b"late"))
    await store.save_thread(thread)
    await files.save(Attachment(filename="loose.txt", content=b"loose"))
    assert (await store.collect_garbage(grace=timedelta(hours=1))).removed == 0
    assert (await store.collect_garbage(grace=NOW, dry_run=True)).removed == 1
    report = await store.collect_garbage(grace=NOW)
    assert (report.removed, report.freed_bytes) == (1, 5)
    assert await kept(files) == {file_id(thread)}


async def test_bytes_that_vanished_are_written_again_by_the_next_save(store: ThreadStore, files: FileStore) -> None:
    thread = Thread(id="1", messages=[with_file(b"bytes")])
    await store.save_thread(thread)
    await files.delete(file_id(thread))
    await store.save_thread(Thread(id="2", messages=[with_file(b"bytes")]))
    assert await files.get(file_id(thread)) == b"bytes"
