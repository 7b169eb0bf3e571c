"""P15: a view of one owner sees and writes only that owner's threads, messages and files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from narrator import (
    Attachment,
    FileNotFound,
    FileStore,
    Message,
    OwnerMismatch,
    Thread,
    ThreadConflict,
    ThreadNotFound,
    ThreadStore,
)

LATER = datetime(2100, 1, 1, tzinfo=UTC)


def said(content: str, **fields: object) -> Message:
    return Message(id="m", role="user", content=content, **fields)


async def two_owners(store: ThreadStore) -> tuple[ThreadStore, ThreadStore]:
    ann, bob = store.for_owner("ann"), store.for_owner("bob")
    await ann.save_thread(Thread(id="t", messages=[said("ann's")], metadata={"k": 1}))
    await bob.save_thread(Thread(id="t", messages=[said("bob's")], metadata={"k": 1}))
    return ann, bob


async def test_two_owners_have_threads_of_one_id(store: ThreadStore) -> None:
    ann, bob = await two_owners(store)
    for view, whose in ((ann, "ann"), (bob, "bob")):
        found = await view.get_thread("t")
        assert (found.owner, found.messages[0].text) == (whose, f"{whose}'s")
        assert [s.owner for s in await view.list_threads()] == [whose]
        assert [s.owner for s in await view.list_threads(metadata={"k": 1})] == [whose]
        assert [s.owner for s in await view.list_threads(updated_before=LATER)] == [whose]
    assert sorted(s.owner or "" for s in await store.list_threads()) == ["ann", "bob"]
    with pytest.raises(ThreadNotFound, match="several owners"):
        await store.get_thread("t")


async def test_a_search_finds_ones_own_only(store: ThreadStore) -> None:
    """Through whatever door: pages, places of others' searches, ids of others' threads, long and many messages."""
    ann, bob = await two_owners(store)
    await store.save_thread(Thread(id="nobody's", messages=[said("nobody's")]))
    await bob.save_thread(Thread(id="long", messages=[said("bob's " + "x" * 20_000)]))
    many = [Message(role="user", content=f"bob's {n}") for n in range(600)]
    await bob.save_thread(Thread(id="many", messages=many))
    page = await ann.search("'s")
    assert ([(hit.owner, hit.thread_id, hit.snippet) for hit in page.hits], page.searched, page.more) == (
        [("ann", "t", "ann's")],
        1,
        None,
    )
    assert (await ann.search("bob's")).hits == []
    for view in (bob, store):  # where their searches stop, for hers
        page_of, places = await view.search("'s", limit=50), []
        while page_of.more is not None:
            places.append(page_of.more)
            page_of = await view.search("'s", limit=50, before=page_of.more)
        assert len(places) == 12
        for place in places:
            found = await ann.search("'s", before=place)
            assert {hit.owner for hit in found.hits} <= {"ann"}
            assert found.searched <= 1
    for id in ("many", "long", "nobody's", "made up"):
        assert await ann.search("'s", except_thread=id) == page
    whole = await store.search("'s", limit=1_000)
    assert {hit.owner for hit in whole.hits} == {"ann", "bob", None}
    assert len(whole.hits) == 604


async def test_a_view_does_not_see_unowned_or_other_threads(store: ThreadStore) -> None:
    ann, bob = store.for_owner("ann"), store.for_owner("bob")
    await store.save_thread(Thread(id="nobody's"))
    await ann.save_thread(Thread(id="ann's"))
    for id in ("nobody's", "ann's"):
        with pytest.raises(ThreadNotFound):
            await bob.get_thread(id)
        with pytest.raises(ThreadNotFound):
            await bob.list_threads(before=id)
        assert not await bob.delete_thread(id)
    assert await bob.list_threads() == []
    assert len(await store.list_threads()) == 2
    counts = await bob.status()
    assert (counts.threads, counts.messages, counts.files) == (0, 0, 0)
    assert (await store.get_thread("ann's")).owner == "ann"


async def test_deleting_and_purging_touch_ones_own_only(store: ThreadStore) -> None:
    ann, bob = await two_owners(store)
    assert await bob.purge(older_than=timedelta(0), dry_run=True) == 1
    assert await bob.purge(older_than=timedelta(0)) == 1
    assert [s.owner for s in await store.list_threads()] == ["ann"]
    assert not await bob.delete_thread("t")
    assert await ann.delete_thread("t")


async def test_a_thread_of_another_owner_is_neither_saved_nor_run(store: ThreadStore) -> None:
    ann, bob = await two_owners(store)
    anns = await ann.get_thread("t")
    before = anns.model_dump()
    anns.add_message(Message(role="user", content="from bob"))
    for thread in (anns, Thread(id="t", owner="ann", messages=[said("forged")])):
        with pytest.raises(OwnerMismatch, match="ann"):
            await bob.save_thread(thread)
        with pytest.raises((OwnerMismatch, ThreadNotFound)):
            async with bob.turn(thread, wait_s=0):
                pass
    assert (await ann.get_thread("t")).model_dump() == before
    assert (await bob.get_thread("t")).messages[0].text == "bob's"


async def test_an_object_with_a_changed_owner_does_not_reach_the_other_thread(store: ThreadStore) -> None:
    ann, bob = await two_owners(store)
    forged = await ann.get_thread("t")
    forged.owner = "bob"
    forged.add_message(Message(role="user", content="x"))
    with pytest.raises((OwnerMismatch, ThreadConflict)):
        await bob.save_thread(forged)
    for view, whose in ((ann, "ann"), (bob, "bob")):
        assert [m.text for m in (await view.get_thread("t")).messages] == [f"{whose}'s"]


async def test_an_unowned_stored_thread_is_not_taken_over(store: ThreadStore) -> None:
    thread = Thread(id="t", messages=[said("nobody's")])
    await store.save_thread(thread)
    with pytest.raises(OwnerMismatch):
        await store.for_owner("bob").save_thread(thread)
    assert thread.owner is None
    assert [s.owner for s in await store.list_threads()] == [None]


async def test_a_view_gives_no_view_of_another_owner(store: ThreadStore) -> None:
    ann = store.for_owner("ann")
    with pytest.raises(OwnerMismatch):
        ann.for_owner("bob")
    assert ann.for_owner("ann")._owner == "ann"
    for wrong in ("", "a\x00", "x" * 256):
        with pytest.raises(ValueError, match="owner"):
            store.for_owner(wrong)


async def test_the_unscoped_view_sees_and_saves_all(store: ThreadStore) -> None:
    ann = store.for_owner("ann")
    await ann.save_thread(Thread(id="t", messages=[said("ann's")]))
    found = await store.get_thread("t")
    found.add_message(Message(id="n", role="user", content="the operator's"))
    await store.save_thread(found)
    assert [m.id for m in (await ann.get_thread("t")).messages] == ["m", "n"]


async def test_files_are_an_owners_own(store: ThreadStore, tmp_path: Path) -> None:
    store.use_files(await FileStore.create(tmp_path / "files"))
    ann, bob = store.for_owner("ann"), store.for_owner("bob")
    attachment = Attachment(filename="a.txt", content=b"ann's secret")
    await ann.save_thread(Thread(id="t", messages=[said("x", attachments=[attachment])]))
    guessed = Attachment(filename="g.txt", file_id=attachment.file_id)
    assert ann.file_store is not None
    assert bob.file_store is not None
    assert await ann.file_store.get(attachment.file_id) == b"ann's secret"
    with pytest.raises(FileNotFound):
        await bob.file_store.get(attachment.file_id)
    for view in (bob, store):
        with pytest.raises(FileNotFound):
            await view.save_thread(Thread(id="u", messages=[said("x", attachments=[guessed])]))
        with pytest.raises(ThreadNotFound):
            await view.get_thread("u")
    await bob.save_thread(Thread(id="t", messages=[said("x", attachments=[attachment])]))
    await ann.delete_thread("t")
    assert await bob.file_store.get(attachment.file_id) == b"ann's secret"
    with pytest.raises(FileNotFound):
        await ann.file_store.get(attachment.file_id)
    assert (await bob.collect_garbage(grace=timedelta(0))).removed == 0
    await bob.delete_thread("t")
    assert list((tmp_path / "files").rglob(attachment.file_id + "*")) == []
