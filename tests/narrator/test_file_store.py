"""FileStore's rules, one body over the folder and the memory; the folder's own part is test_disk_files.py."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from narrator.attachment import Attachment
from narrator.errors import ConfigurationError, FileNotFound, FileTooLarge, StoreUnavailable
from narrator.file_store import FileStore, owner_digest

HOUR = timedelta(hours=1)
ABSENT = "0" * 64
HOSTILE = [
    "",
    ".",
    "../secret",
    "/etc/passwd",
    "..",
    "a\x00b",
    ".lock",
    "A" * 64,
    "0" * 63,
    "0" * 65,
    "0" * 64 + "\n",
    "0" * 64 + "@" + "0" * 32,
    "../" + "0" * 61,
    "٠" * 64,
    "x" * 100_000,
    "\ud800" * 64,
]


@pytest.fixture(params=["memory", "disk"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FileStore]:
    base = tmp_path / "files" if request.param == "disk" else None
    async with await FileStore.create(base, max_file_bytes=5_000_000) as store:
        yield store


def attach(content: bytes | str = b"hello", filename: str = "a.bin") -> Attachment:
    return Attachment(filename=filename, content=content)  # type: ignore[arg-type]


def tree(base: Path) -> list[Path]:
    return sorted(base.rglob("*"))


async def ids(store: FileStore) -> list[tuple[str, str]]:
    return [(f.file_id, f.owner_digest) async for f in store.list()]


async def test_save_returns_a_reference_and_get_the_bytes(store: FileStore) -> None:
    original = attach("Grüße", "note.txt")
    saved = await store.save(original)
    assert saved == original
    assert (saved.content, saved.path) == (None, None)
    assert await store.get(saved.file_id) == "Grüße".encode()
    assert await store.exists(saved.file_id)


async def test_an_empty_file_is_a_file(store: FileStore) -> None:
    saved = await store.save(attach(b""))
    assert saved.size_bytes == 0
    assert await store.get(saved.file_id) == b""
    async with store.open(saved.file_id) as file:
        assert [piece async for piece in file] == []


async def test_save_streams_from_a_path(store: FileStore, tmp_path: Path) -> None:
    source = tmp_path / "report.pdf"
    source.write_bytes(os.urandom(3_000_001))
    saved = await store.save(Attachment.from_path(source))
    source.unlink()
    assert hashlib.sha256(await store.get(saved.file_id)).hexdigest() == saved.file_id


async def test_the_same_bytes_are_one_file_whatever_their_names(store: FileStore) -> None:
    first = await store.save(attach(filename="a.txt"))
    second = await store.save(attach(filename="b.txt"))
    assert first.file_id == second.file_id
    assert len(await ids(store)) == 1


async def test_a_file_name_never_becomes_a_path(store: FileStore, tmp_path: Path) -> None:
    saved = await store.save(attach(filename="../../etc/passwd"))
    assert saved.filename == "../../etc/passwd"
    assert not [p for p in tree(tmp_path) if "passwd" in p.name]


async def test_a_reference_must_be_there_already(store: FileStore) -> None:
    saved = await store.save(attach(b"12345"))
    assert await store.save(saved) == saved
    bare = Attachment(filename="a.bin", file_id=saved.file_id)
    assert (await store.save(bare)).size_bytes == 5
    with pytest.raises(FileNotFound, match=ABSENT):
        await store.save(Attachment(filename="a.bin", file_id=ABSENT))


async def test_a_reference_of_another_size_is_refused(store: FileStore) -> None:
    saved = await store.save(attach(b"12345"))
    with pytest.raises(StoreUnavailable, match=r"5 bytes .* says 9"):
        await store.save(Attachment(filename="a.bin", file_id=saved.file_id, size_bytes=9))


async def test_over_the_limit_names_file_size_and_limit_and_stores_nothing(store: FileStore, tmp_path: Path) -> None:
    await store.save(attach(b"x" * 5_000_000))
    source = tmp_path / "big.iso"
    source.write_bytes(b"y" * 5_000_001)
    for too_large in (attach(b"y" * 5_000_001, "big.iso"), Attachment.from_path(source)):
        with pytest.raises(FileTooLarge, match=r"'big.iso' has 5000001 bytes, the limit is 5000000"):
            await store.save(too_large)
    assert len(await ids(store)) == 1


async def test_a_path_that_outgrew_the_limit_stores_nothing(store: FileStore, tmp_path: Path) -> None:
    source = tmp_path / "log.txt"
    source.write_bytes(b"short")
    attachment = Attachment.from_path(source)
    source.write_bytes(b"y" * 5_000_001)
    with pytest.raises(FileTooLarge, match=r"log\.txt.*5000001"):
        await store.save(attachment)
    assert await ids(store) == []


def change(path: Path) -> None:
    path.write_bytes(b"other")


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (change, "have changed since"),
        (lambda path: path.write_bytes(b"short and more"), "have changed since"),
        (Path.unlink, "No such file"),
        (replace_by_fifo, "no regular file"),
        (replace_by_folder, "no regular file"),
    ],
)
async def test_a_path_whose_bytes_are_gone_stores_nothing(
    store: FileStore, tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    source = tmp_path / "data.csv"
    source.write_bytes(b"short")
    attachment = Attachment.from_path(source)
    spoil(source)
    with pytest.raises(FileNotFound, match=says) as caught:
        await store.save(attachment)
    assert "data.csv" in str(caught.value)
    assert "other" not in str(caught.value)
    assert await ids(store) == []


async def test_content_that_is_not_its_file_id_stores_nothing(store: FileStore) -> None:
    with pytest.raises(FileNotFound, match="have changed since"):
        await store.save(attach(b"one").model_copy(update={"content": b"two"}))
    assert await ids(store) == []


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
async def test_what_is_no_file_id_finds_nothing_and_touches_nothing(
    store: FileStore, tmp_path: Path, name: str
) -> None:
    (tmp_path / "secret").write_text("s")
    await store.save(attach())
    before = tree(tmp_path)
    with pytest.raises(FileNotFound) as caught:
        await store.get(name)
    assert len(str(caught.value)) < 800
    with pytest.raises(FileNotFound):
        async with store.open(name):
            pass
    with pytest.raises(FileNotFound):
        await store.save(Attachment.model_construct(filename="a", file_id=name, content=b"x", path=None))
    assert not await store.exists(name)
    assert not await store.delete(name)
    assert tree(tmp_path) == before


async def test_an_absent_file_is_file_not_found(store: FileStore) -> None:
    with pytest.raises(FileNotFound, match=ABSENT):
        await store.get(ABSENT)
    with pytest.raises(LookupError):
        async with store.open(ABSENT):
            pass
    assert not await store.exists(ABSENT)


async def test_open_reads_any_amount_and_iterates_the_rest(store: FileStore) -> None:
    content = os.urandom(3_500_000)
    saved = await store.save(attach(content))
    async with store.open(saved.file_id) as file:
        assert (file.file_id, file.size_bytes) == (saved.file_id, len(content))
        head = await file.read(10)
        assert await file.read(0) == b""
        pieces = [piece async for piece in file]
        assert await file.read(10) == b""
    assert head + b"".join(pieces) == content
    assert max(map(len, pieces)) == 1 << 20
    with pytest.raises(ValueError, match="closed"):
        await file.read()


async def test_a_file_being_read_survives_its_deletion(store: FileStore) -> None:
    saved = await store.save(attach(b"abc"))
    async with store.open(saved.file_id) as file:
        assert await file.read(1) == b"a"
        assert await store.delete(saved.file_id)
        assert await file.read() == b"bc"


async def test_delete_says_whether_it_removed_something(store: FileStore) -> None:
    saved = await store.save(attach())
    assert await store.delete(saved.file_id)
    assert not await store.delete(saved.file_id)
    assert not await store.exists(saved.file_id)


async def test_list_gives_size_owner_and_time(store: FileStore) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    small, large = await store.save(attach(b"1")), await store.for_owner("ann").save(attach(b"22"))
    found = {f.file_id: f async for f in store.list()}
    assert found[small.file_id].owner_digest == ""
    assert found[large.file_id].owner_digest == owner_digest("ann")
    assert [found[a.file_id].size_bytes for a in (small, large)] == [1, 2]
    assert all(before < f.modified_at <= datetime.now(UTC) for f in found.values())
    assert all(f.modified_at.utcoffset() == timedelta(0) for f in found.values())


async def test_delete_older_than_spares_what_was_saved_lately(store: FileStore) -> None:
    saved = await store.save(attach())
    assert not await store.delete(saved.file_id, older_than=HOUR)
    assert await store.delete(saved.file_id, older_than=timedelta(0))


async def test_saving_again_renews_the_time(store: FileStore) -> None:
    saved = await store.save(attach())
    (first,) = [f async for f in store.list()]
    for again in (attach(), saved):
        await asyncio.to_thread(wait_for_the_clock, first.modified_at)
        await store.save(again)
        (renewed,) = [f async for f in store.list()]
        assert renewed.modified_at > first.modified_at
        first = renewed


def wait_for_the_clock(past: datetime) -> None:
    """Until file systems too, whose clock ticks every few milliseconds, tell now from then."""
    while datetime.now(UTC) - past < timedelta(milliseconds=20):
        pass


async def test_an_owner_sees_only_own_files(store: FileStore) -> None:
    ann, bob = store.for_owner("ann"), store.for_owner("bob")
    saved = await ann.save(attach(b"salary"))
    assert await ann.get(saved.file_id) == b"salary"
    assert not await bob.exists(saved.file_id)
    with pytest.raises(FileNotFound):
        await bob.get(saved.file_id)
    with pytest.raises(FileNotFound):
        async with bob.open(saved.file_id):
            pass
    with pytest.raises(FileNotFound):  # a hash that leaks grants nothing
        await bob.save(saved)
    assert not await bob.delete(saved.file_id)
    assert await ids(bob) == []
    assert await ids(ann) == [(saved.file_id, owner_digest("ann"))]


async def test_an_owner_does_not_see_files_without_owner(store: FileStore) -> None:
    saved = await store.save(attach())
    assert not await store.for_owner("ann").exists(saved.file_id)


async def test_the_same_bytes_under_two_owners_are_two_files(store: FileStore) -> None:
    saved = [await view.save(attach()) for view in (store, store.for_owner("ann"), store.for_owner("bob"))]
    assert len(set(saved)) == 1
    assert sorted(await ids(store)) == sorted(
        (saved[0].file_id, digest) for digest in ("", owner_digest("ann"), owner_digest("bob"))
    )
    assert await store.for_owner("ann").delete(saved[0].file_id)
    assert await store.for_owner("bob").exists(saved[0].file_id)


async def test_the_operator_reads_every_owner_s_files_and_deletes_them_one_by_one(store: FileStore) -> None:
    saved = await store.for_owner("ann").save(attach(b"hers"))
    assert await store.exists(saved.file_id)
    assert await store.get(saved.file_id) == b"hers"
    async with store.open(saved.file_id) as file:
        assert await file.read() == b"hers"
    assert not await store.delete(saved.file_id)  # the unowned copy: there is none
    (stored,) = [f async for f in store.list()]
    assert not await store.for_owner("bob").delete(stored)
    assert not await store.delete(stored, older_than=HOUR)
    assert await store.delete(stored)
    assert not await store.exists(saved.file_id)


async def test_a_view_leads_to_no_other_owner(store: FileStore) -> None:
    ann = store.for_owner("ann")
    saved = await ann.save(attach())
    assert await ann.for_owner("ann").exists(saved.file_id)
    with pytest.raises(ConfigurationError, match="whole store"):
        ann.for_owner("bob")


@pytest.mark.parametrize("owner", ["", "a\x00b", "x" * 256, "\ud800"])
async def test_an_owner_is_an_id(store: FileStore, owner: str) -> None:
    with pytest.raises(ValueError, match="owner"):
        store.for_owner(owner)


async def test_owners_of_any_unicode_are_distinct(store: FileStore) -> None:
    names = ["é", "e\u0301", "É", "../é", "a/b", "客", "x" * 255]
    for name in names:
        await store.for_owner(name).save(attach())
    assert len(await ids(store)) == len(names)


async def test_many_savers_and_readers_at_once(store: FileStore) -> None:
    async def one(number: int) -> None:
        saved = await store.save(attach(b"%d" % (number % 20)))
        assert await store.get(saved.file_id) == b"%d" % (number % 20)

    await asyncio.gather(*(one(number) for number in range(200)))
    assert len(await ids(store)) == 20


async def test_one_store_serves_successive_and_parallel_event_loops(store: FileStore) -> None:
    def in_own_loop(number: int) -> bytes:
        async def turn() -> bytes:
            saved = await store.save(attach(b"%d" % (number % 3)))
            return await store.get(saved.file_id)

        return asyncio.run(turn())

    def in_threads() -> list[bytes]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(in_own_loop, range(40)))

    assert await asyncio.to_thread(in_threads) == [b"%d" % (number % 3) for number in range(40)]


async def test_reprs_and_errors_show_no_owner_and_no_content(store: FileStore) -> None:
    ann = store.for_owner("ann-the-customer")
    saved = await ann.save(attach(b"secret words"))
    with pytest.raises(FileNotFound) as caught:
        await ann.get(ABSENT)
    for text in (repr(store), repr(ann), str(caught.value), repr(saved)):
        assert "customer" not in text
        assert "secret" not in text


async def test_a_closed_store_says_so(store: FileStore) -> None:
    ann = store.for_owner("ann")
    saved = await store.save(attach())
    await ann.close()
    assert await store.exists(saved.file_id)  # closing a view ends nothing
    await store.close()
    await store.close()
    for closed in (store, ann):
        with pytest.raises(StoreUnavailable, match="closed"):
            await closed.save(attach())
        with pytest.raises(StoreUnavailable, match="closed"):
            await closed.get(saved.file_id)


async def test_a_reader_cancelled_while_it_opens_leaves_no_open_file(store: FileStore) -> None:
    saved = await store.save(attach())

    async def read() -> None:
        async with store.open(saved.file_id) as file:
            await file.read()

    for _ in range(20):
        task = asyncio.create_task(read())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    gc.collect()  # an unclosed file warns here, and warnings are errors


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "5"])
async def test_a_limit_that_is_no_size_is_refused(limit: int) -> None:
    with pytest.raises(ConfigurationError, match="max_file_bytes"):
        await FileStore.create(max_file_bytes=limit)
