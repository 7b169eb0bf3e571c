"""`store.search`: what matches, in which order, how far one search goes; alike on each backend."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Sequence
from functools import partial

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from narrator import (
    Attachment,
    FileStore,
    Message,
    SearchHit,
    SearchPage,
    StoreUnavailable,
    Thread,
    ThreadNotFound,
    ThreadStore,
    ToolCall,
)
from tests.promises.statements import recorded

LONG = "x" * 20_000


def said(text: str, role: str = "user", **fields: object) -> Message:
    return Message(role=role, content=text, **fields)


async def keep(store: ThreadStore, id: str, *texts: str, **fields: object) -> Thread:
    thread = Thread(id=id, messages=[said(text, id=f"{id}.{n}") for n, text in enumerate(texts)], **fields)
    await store.save_thread(thread)
    return thread


def ids(hits: Sequence[SearchHit]) -> list[str]:
    return [hit.message_id for hit in hits]


async def all_pages(store: ThreadStore, query: str, **options: object) -> list[SearchPage]:
    pages = [await store.search(query, **options)]
    while pages[-1].more is not None:
        assert len(pages) < 500, "the search does not end"
        pages.append(await store.search(query, before=pages[-1].more, **options))
    return pages


async def test_a_hit_says_where_it_is(store: ThreadStore) -> None:
    thread = await keep(store, "t", "hello", "my order\n is   no. 47-11", title="Orders", owner="ann")
    page = await store.search("ORDER")
    message = thread.messages[1]
    assert page == SearchPage(
        [SearchHit("t", "Orders", "ann", "t.1", "user", "my order is no. 47-11", message.created_at)], 2, None
    )
    assert "no. 47-11" not in repr(page)


MATCHES = [
    ("words in any order", "two one", "One, two", True),
    ("a word is missing", "one three", "one two", False),
    ("inside of a word", "rder", "reordered", True),
    ("sharp s", "STRASSE", "Die Straße", True),
    ("sharp s the other way", "straße", "DIE STRASSE", True),
    ("umlauts", "ÄRGER", "großer ärger", True),
    ("cyrillic", "ЗАКАЗ", "мой заказ", True),
    ("greek final sigma", "ΟΔΟΣ", "οδος", True),
    ("dotless i is no i", "ı", "i", False),
    ("accents count", "cafe", "café", False),
    ("two forms of one letter are two", "e\u0301", "\u00e9", False),
    ("no spaces in chinese", "订单", "我的订单到了", True),
    ("emoji", "\U0001f600", "a \U0001f600!", True),
    ("percent", "%", "nothing", False),
    ("percent itself", "100%", "it is 100% wool", True),
    ("underscore", "a_c", "abc", False),
    ("underscore itself", "a_c", "A_C", True),
    ("backslash", "\\", "c:\\temp", True),
    ("backslash before percent", "\\%", "100%", False),
    ("star", "o*er", "order", False),
    ("regex", "o.der", "order", False),
    ("regex itself", ".*(a+)+$", "try .*(a+)+$ once", True),
    ("quote", "it's", "and it's here", True),
    ("sql", "' or 1=1 --", "nothing here", False),
    ("nul is stored as U+FFFD", "a\x00b", "a\x00b", True),
    ("lone surrogate", "\ud800", "x\ud800y", True),
    ("right to left", "שלום", "he said שלום", True),
    ("zero width joins nothing", "or\u200bder", "order", False),
    ("unicode spaces part words", "two\u2003one", "one two", True),
]


async def test_what_matches(store: ThreadStore) -> None:
    for number, (_, _, text, _) in enumerate(MATCHES):
        await keep(store.for_owner(f"o{number}"), "t", text)
    wrong = []
    for number, (what, query, _, matches) in enumerate(MATCHES):
        found = (await store.for_owner(f"o{number}").search(query)).hits
        if bool(found) is not matches:
            wrong.append(what)
    assert wrong == []


REFUSED = [
    ("", "the query is ''"),
    (" \n\t", "give it a word"),
    ("x" * 201, "201 characters; at most 200"),
    ("x" * 1_000_000, "1,000,000 characters"),
    (" ".join(map(str, range(21))), "21 words"),
]


async def test_queries_that_are_refused(store: ThreadStore) -> None:
    for query, reason in REFUSED:
        with pytest.raises(ValueError, match=reason) as refusal:
            await store.search(query)
        assert len(str(refusal.value)) < 200


NO_PLACES = ["", "x", "1:2:0:", "1:2:3:t", "-1:2:0:t", "1:2:0", "9" * 30 + ":1:0:t", "1;DROP TABLE:1:0:t", "x" * 10_000]


async def test_places_that_no_search_stopped_at(store: ThreadStore) -> None:
    for before in NO_PLACES:
        with pytest.raises(ValueError, match="no search has stopped there") as refusal:
            await store.search("x", before=before)
        assert len(str(refusal.value)) < 250


async def test_limits_that_cannot_be(store: ThreadStore) -> None:
    for name in ("limit", "max_messages"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            await store.search("x", **{name: 0})


async def test_what_users_and_assistants_said_is_searched(store: ThreadStore) -> None:
    parts = [
        {"type": "text", "text": "a needle here"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,needle"}},
    ]
    picture = [{"type": "image_url", "image_url": {"url": "needle"}}]
    thread = Thread(
        id="t",
        title="needle",
        metadata={"needle": "needle"},
        messages=[
            said("needle", "system", id="system"),
            said("a needle", id="user", name="needle"),
            Message(id="parts", role="user", content=parts),
            Message(id="picture", role="user", content=picture),
            Message(id="calls", role="assistant", tool_calls=[ToolCall(id="c", name="needle", arguments='"needle"')]),
            said("needle", "tool", id="tool", tool_call_id="c"),
            said("here", "assistant", id="file", attachments=[Attachment(filename="needle", content=b"needle")]),
            said("the needle", "assistant", id="answer", metadata={"x": 1}),
            said('{"parts":[{"type":"text","text":"needle"}]}', id="looks like parts"),
        ],
    )
    store.use_files(await FileStore.create())
    await store.save_thread(thread)
    page = await store.search("needle")
    assert ids(page.hits) == ["looks like parts", "answer", "parts", "user"]
    assert page.searched == 9
    assert page.hits[2].snippet == "a needle here"


async def test_newest_first_and_paged(store: ThreadStore) -> None:
    for number in range(7):
        await keep(store, f"t{number}", "yes 0", "no", "yes 2")
    expected = [f"t{t}.{m}" for t in reversed(range(7)) for m in (2, 0)]
    assert ids((await store.search("yes")).hits) == expected
    for limit in (1, 2, 3, 13, 14, 15):
        pages = await all_pages(store, "yes", limit=limit)
        assert [id for page in pages for id in ids(page.hits)] == expected
        assert all(len(page.hits) <= limit for page in pages)
    for most in (1, 2, 4, 20, 21, 22):
        pages = await all_pages(store, "yes", max_messages=most)
        assert [id for page in pages for id in ids(page.hits)] == expected
        assert all(page.searched <= most for page in pages)
        assert sum(page.searched for page in pages) == 21


async def test_threads_of_every_size(store: ThreadStore) -> None:
    """Larger than what is read at once, exactly as large, small ones, empty ones."""
    sizes = [0, 3, 250, 0, 249, 1, 600, 0, 0, 251, 2, 0]
    for number, size in enumerate(sizes):
        await keep(store, f"t{number}", *(f"w{n}" for n in range(size)))
    expected = [f"t{t}.{m}" for t in reversed(range(len(sizes))) for m in reversed(range(sizes[t]))]
    page = await store.search("w", limit=10_000)
    assert (ids(page.hits), page.searched, page.more) == (expected, sum(sizes), None)
    for most in (100, 250, 333):
        pages = await all_pages(store, "w", limit=10_000, max_messages=most)
        assert [id for page in pages for id in ids(page.hits)] == expected
    for left_out in ("t6", "t7", "t11", "t9"):
        pages = await all_pages(store, "w", limit=10_000, max_messages=250, except_thread=left_out)
        found = [id for page in pages for id in ids(page.hits)]
        assert found == [id for id in expected if not id.startswith(f"{left_out}.")]


async def test_messages_in_front_of_the_first(store: ThreadStore) -> None:
    """Their positions are 0 and below."""
    thread = await keep(store, "t", "w")
    for number in range(3):
        thread.messages.insert(0, said("w", id=f"front{number}"))
        await store.save_thread(thread)
    for options in ({"limit": 1}, {"max_messages": 1}):
        pages = await all_pages(store, "w", **options)
        assert [id for page in pages for id in ids(page.hits)] == ["t.0", "front0", "front1", "front2"]


async def test_the_largest_places_are_bounded(store: ThreadStore) -> None:
    await keep(store, "t", "w")
    for position in ("9" * 19, "-" + "9" * 19, "0"):
        page = await store.search("w", before=f"{'9' * 17}:{position}:0:other")
        assert ids(page.hits) == ["t.0"]


async def test_many_empty_threads_do_not_stop_it(store: ThreadStore) -> None:
    await keep(store, "t", "needle")
    await asyncio.gather(*(keep(store, f"empty{n}") for n in range(300)))
    assert ids((await store.search("needle")).hits) == ["t.0"]
    assert ids((await store.search("needle", except_thread="empty299")).hits) == ["t.0"]


async def test_long_texts_are_searched_to_their_end(store: ThreadStore) -> None:
    parts = [{"type": "text", "text": LONG}, {"type": "text", "text": "and a needle"}]
    thread = Thread(id="t", messages=[said(f"{LONG} needle {LONG}", id="long"), said("needle", id="short")])
    thread.add_message(Message(id="parts", role="assistant", content=parts))
    thread.add_message(said(LONG, id="other"))
    await store.save_thread(thread)
    page = await store.search("needle")
    assert ids(page.hits) == ["parts", "short", "long"]
    assert page.hits[2].snippet == "..." + "x" * 59 + " needle " + "x" * 133 + "..."


@pytest.mark.parametrize("before", ["ß" * 500, "İ" * 500, "ﬃ" * 500, "x" * 500])
async def test_the_snippet_is_around_the_match(store: ThreadStore, before: str) -> None:
    await keep(store, "t", f"{before} the NEEDLE is here")
    (hit,) = (await store.search("needle")).hits
    assert "the NEEDLE is here" in hit.snippet
    assert hit.snippet.startswith("...")
    assert len(hit.snippet) <= 206


async def test_it_ends_after_so_much_text_too(store: ThreadStore) -> None:
    await keep(store, "t", "needle", *["y" * 4_000_000] * 6)
    pages = await all_pages(store, "needle")
    assert [page.searched for page in pages] == [5, 2]
    assert ids(pages[1].hits) == ["t.0"]


async def test_the_thread_where_it_stopped_may_be_saved_or_deleted(store: ThreadStore) -> None:
    for id in ("a", "b", "c"):
        await keep(store, id, "w0", "w1", "w2")
    first = await store.search("w", limit=2)
    assert ids(first.hits) == ["c.2", "c.1"]
    thread = await store.get_thread("c")
    thread.add_message(said("w3"))
    await store.save_thread(thread)
    rest = await store.search("w", before=first.more)
    assert ids(rest.hits) == ["c.0", "b.2", "b.1", "b.0", "a.2", "a.1", "a.0"]
    await store.delete_thread("c")
    rest = await store.search("w", before=first.more)
    assert ids(rest.hits) == ["b.2", "b.1", "b.0", "a.2", "a.1", "a.0"]


async def test_a_place_names_no_other_owners_thread(store: ThreadStore) -> None:
    ann, bob = store.for_owner("ann"), store.for_owner("bob:1")
    await keep(bob, "t:0", "w", "w", "w")
    await keep(ann, "t:0", "w", "w", "w")
    for view, whole in ((ann, False), (bob, False), (store, True)):
        page = await view.search("w", limit=1)
        assert page.more is not None
        assert ("bob" in page.more or "ann" in page.more) is whole
        assert len((await view.search("w", before=page.more)).hits) == (5 if whole else 2)
    bobs, both = await bob.search("w", limit=1), await store.search("w", limit=4)
    for stranger in (bobs.more, both.more):  # it is read as a place among Ann's own
        assert {hit.owner for hit in (await ann.search("w", before=stranger)).hits} <= {"ann"}


async def test_a_search_reads_in_few_statements(sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as store:
        for number in range(20):
            await keep(store, f"t{number}", *["text"] * 10)
        with recorded() as seen:
            await store.search("needle")
        queries = [statement for statement in seen if statement.startswith("SELECT")]
        assert len(queries) == 2
        assert seen.writes == []


async def test_the_query_is_in_no_statement(sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as store:
        await keep(store, "t", "text")
        with recorded() as seen:
            await store.search("needle", except_thread="except")
        assert "needle" not in str(seen)


async def test_a_connection_is_given_back_after_each_page(sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as store:
        await keep(store, "t", *["y"] * 600)
        seen: list[str] = []
        listeners = [(name, partial(_note, seen, name)) for name in ("checkout", "checkin")]
        for name, listener in listeners:
            event.listen(Pool, name, listener)
        try:
            await store.search("needle")
        finally:
            for name, listener in listeners:
                event.remove(Pool, name, listener)
        assert seen == ["checkout", "checkin"] * 3


def _note(seen: list[str], name: str, *_: object) -> None:
    seen.append(name)


def test_one_store_is_searched_from_several_loops(sql_url: str) -> None:
    async def make() -> ThreadStore:
        store = await ThreadStore.create(sql_url)
        await keep(store, "t", "a needle")
        await store.close()
        return store

    async def find(store: ThreadStore) -> list[str]:
        try:
            return ids((await store.search("needle")).hits)
        finally:
            await store.close()

    store = asyncio.run(make())
    assert [asyncio.run(find(store)) for _ in range(3)] == [["t.0"]] * 3


async def test_a_database_that_is_gone_is_no_empty_page(tmp_path) -> None:
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{tmp_path}/gone.db") as store:
        await keep(store, "t", "needle")
        (tmp_path / "gone.db").unlink()
        with pytest.raises(StoreUnavailable):
            await store.search("needle")


async def test_an_id_that_cannot_be_is_not_found(store: ThreadStore) -> None:
    """A database would choke on it."""
    for view in (store, store.for_owner("ann")):
        for id in ("a\x00", "\ud800"):
            with pytest.raises(ThreadNotFound):
                await view.get_thread(id)
            with pytest.raises(ThreadNotFound):
                await view.list_threads(before=id)
            assert not await view.delete_thread(id)
            assert (await view.search("x", before=f"1:1:0:{id}", except_thread=id)).hits == []


async def test_a_thread_deleted_in_mid_search_is_passed_over(store: ThreadStore) -> None:
    await keep(store, "old", "needle")
    for turns in range(0, 30, 3):
        await keep(store, "t", *[f"{LONG} needle"] * 5)
        task = asyncio.create_task(store.search("needle"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await store.delete_thread("t")
        found = ids((await task).hits)
        assert found[-1] == "old.0"
        assert found[:-1] == [f"t.{n}" for n in reversed(range(5))][: len(found) - 1]


async def test_a_cancelled_search_leaves_the_store_in_order(store: ThreadStore) -> None:
    await keep(store, "t", "needle", *["y" * 10_000] * 300)
    for turns in range(0, 40, 3):
        task = asyncio.create_task(store.search("needle"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert ids((await store.search("needle")).hits) == ["t.0"]


async def test_long_texts_are_in_memory_one_at_a_time(sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as store:
        await keep(store, "t", *["y" * 1_000_000] * 18)
        tracemalloc.start()
        try:
            assert (await store.search("needle")).searched == 18
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak_bytes < 10_000_000
