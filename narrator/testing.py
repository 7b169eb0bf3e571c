"""What every ThreadStore must do, as checks that any backend can run; written for authors of backends.

With pytest (and pytest-asyncio), for a backend of your own::

    import pytest
    from narrator.testing import checks

    @pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
    async def test_my_backend(check):
        async def make_store():
            return ThreadStore(MyBackend(...), await FileStore.create())  # on an empty database, made anew here

        await check(make_store)

A check makes its own store with `make_store()`, closes it, and raises AssertionError when the store breaks a
promise. It needs nothing but the public methods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from narrator.attachment import Attachment
from narrator.errors import (
    ApprovalNotFound,
    FileNotFound,
    MessageConflict,
    OwnerMismatch,
    ThreadBusy,
    ThreadConflict,
    ThreadNotFound,
)
from narrator.message import Message, ToolCall
from narrator.thread import Thread
from narrator.thread_store import ThreadStore

__all__ = ["Check", "MakeStore", "checks"]

MakeStore = Callable[[], Awaitable[ThreadStore]]
Check = Callable[[MakeStore], Awaitable[None]]


def checks() -> list[Check]:
    """All checks. Each wants an empty database; its `__name__` says what it is about."""
    return [_with_store(body) for body in _BODIES]


def _with_store(body: Callable[[ThreadStore], Awaitable[None]]) -> Check:
    async def check(make_store: MakeStore) -> None:
        async with await make_store() as store:
            await body(store)

    check.__name__ = body.__name__
    check.__doc__ = body.__doc__
    return check


def _said(id: str, **fields: Any) -> Message:
    return Message(id=id, role="user", content=f"text of {id}", **fields)


async def _stored(store: ThreadStore, *ids: str, **fields: Any) -> Thread:
    thread = Thread(id="t", messages=[_said(id) for id in ids], **fields)
    await store.save_thread(thread)
    return thread


async def _ids(store: ThreadStore) -> list[str]:
    return [message.id for message in (await store.get_thread("t")).messages]


async def _refuses(error: type[Exception], action: Awaitable[object]) -> None:
    try:
        await action
    except error:
        return
    raise AssertionError(f"{error.__name__} was not raised")


async def a_saved_thread_comes_back_equal(store: ThreadStore) -> None:
    """P4, P10: every field of a thread and its messages."""
    thread = Thread(id="t", title="Title", metadata={"deep": {"n": [1, 2.5, None, True, 2**80, "\U0001f600"]}})
    thread.add_message(Message(role="system", content="rules"))
    thread.add_message(
        Message(
            role="assistant",
            content=[{"type": "text", "text": "a"}],
            name="ann",
            tool_calls=[ToolCall(id="c", name="f", arguments='{"a": 1}')],
            attachments=[Attachment(filename="a.txt", content=b"bytes")],
            metadata={"m": {}},
            usage={"input_tokens": 3, "cost_usd": 0.5},
        )
    )
    thread.add_message(Message(role="tool", content="", tool_call_id="c"))
    await store.save_thread(thread)
    assert await store.get_thread("t") == thread
    assert "last_updated" in thread.metadata


async def a_missing_thread_is_thread_not_found(store: ThreadStore) -> None:
    await _refuses(ThreadNotFound, store.get_thread("t"))
    assert not await store.delete_thread("t")
    assert await store.list_threads() == []


async def order_is_by_position(store: ThreadStore) -> None:
    """P2: inserts, removals, moves; time does not matter."""
    thread = await _stored(store, "a", "b", "c")
    for i in range(40):
        thread.messages.insert(1, _said(f"m{i}", created_at="2001-01-01T00:00:00"))
        await store.save_thread(thread)
    expected = ["a", *(f"m{i}" for i in reversed(range(40))), "b", "c"]
    assert await _ids(store) == expected
    thread.messages.reverse()
    del thread.messages[:2]
    await store.save_thread(thread)
    assert await _ids(store) == expected[::-1][2:]
    assert await store.get_thread("t") == thread


async def an_append_repeated_is_stored_once(store: ThreadStore) -> None:
    """P3."""
    thread = await _stored(store, "a")
    before = await store.get_thread("t")
    await asyncio.gather(*(store.save_thread(Thread(id="t", messages=[_said("a")])) for _ in range(5)))
    thread.add_message(_said("a", metadata={"later": True}))
    await store.save_thread(thread)
    assert await store.get_thread("t") == before == thread
    clash = Thread(id="t", title="new", messages=[_said("b"), Message(id="a", role="user", content="other")])
    await _refuses(MessageConflict, store.save_thread(clash))
    assert await store.get_thread("t") == before


async def appends_of_two_writers_are_both_kept(store: ThreadStore) -> None:
    """P4: each writer's own order is kept."""
    await _stored(store)

    async def write(who: str) -> None:
        thread = await store.get_thread("t")
        for i in range(10):
            thread.add_message(_said(f"{who}{i}"))
            await store.save_thread(thread)

    await asyncio.gather(write("a"), write("b"), write("c"))
    found = await _ids(store)
    assert len(found) == 30
    for who in "abc":
        assert [id for id in found if id.startswith(who)] == [f"{who}{i}" for i in range(10)]


async def stale_edits_are_refused(store: ThreadStore) -> None:
    """P4: nothing of a refused save is written, and its object is as it was."""
    stale = await _stored(store, "a", "b")
    other = await store.get_thread("t")
    other.add_message(_said("c"))
    await store.save_thread(other)
    stale.messages[0].content = "edited"
    stale.metadata["key"] = 1
    held = stale.model_dump()
    await _refuses(ThreadConflict, store.save_thread(stale))
    assert stale.model_dump() == held
    assert await store.get_thread("t") == other


async def metadata_merges_by_key(store: ThreadStore) -> None:
    """P4."""
    first = await _stored(store, "a", metadata={"mine": 0, "theirs": 0, "gone": 0})
    second = await store.get_thread("t")
    first.metadata["mine"] = 1
    del first.metadata["gone"]
    second.metadata["theirs"] = 1
    await store.save_thread(first)
    await store.save_thread(second)
    found = (await store.get_thread("t")).metadata
    assert {key: found[key] for key in found if key != "last_updated"} == {"mine": 1, "theirs": 1}


async def filters_are_typed(store: ThreadStore) -> None:
    """P11."""
    values = {"int": 5, "text": "5", "true": True, "null": None, "object": {"a": 1, "b": [1]}, "list": [1]}
    for id, value in values.items():
        await store.save_thread(Thread(id=id, metadata={"key": value}))
    for id, value in [*values.items(), ("int", 5.0), ("object", {"b": [1.0], "a": 1})]:
        assert [summary.id for summary in await store.list_threads(metadata={"key": value})] == [id]
    assert await store.list_threads(metadata={"other": None}) == []


async def listings_are_newest_first_and_paged(store: ThreadStore) -> None:
    for i in range(7):
        await store.save_thread(Thread(id=f"t{i}", messages=[_said("m")]))
    first = await store.list_threads(limit=4)
    rest = await store.list_threads(before=first[-1])
    assert [summary.id for summary in first + rest] == [f"t{i}" for i in reversed(range(7))]
    assert {summary.message_count for summary in first} == {1}
    assert await store.purge(older_than=timedelta(days=1)) == 0
    assert await store.purge(older_than=timedelta(0)) == 7


async def a_search_finds_all_words_newest_first(store: ThreadStore) -> None:
    """Of users and assistants; folded as Unicode says, whatever the database's locale; nothing is a pattern."""
    texts = ("Order 4711: STRASSE", "order", "4711 100%_\\'")
    for i in range(3):
        await store.save_thread(Thread(id=f"t{i}", title=f"T{i}", messages=[_said("m"), *map(_heard, texts)]))
    first = await store.search("4711", limit=3)
    assert [hit.thread_id for hit in first.hits] == ["t2", "t2", "t1"]
    assert (first.hits[0].thread_title, first.hits[0].role) == ("T2", "assistant")
    assert first.more is not None
    rest = await store.search("4711", before=first.more)
    assert (len(rest.hits), rest.more) == (3, None)
    for query, count in (("ORDER straße", 3), ("order", 6), ("%_\\'", 3), ("%", 3), ("7_1", 0), ("o.der", 0)):
        page = await store.search(query)
        assert (len(page.hits), page.searched, page.more) == (count, 12, None)
    assert (await store.search("order", except_thread="t1", max_messages=4)).searched == 4
    await _refuses(ValueError, store.search(" "))


def _heard(text: str) -> Message:
    return Message(role="assistant", content=text)


async def a_search_reads_threads_of_any_size(store: ThreadStore) -> None:
    sizes = (3, 0, 260, 1)
    for i, size in enumerate(sizes):
        await store.save_thread(Thread(id=f"t{i}", messages=[_said(f"m{i}.{n}") for n in range(size)]))
    expected = [f"m{i}.{n}" for i in reversed(range(4)) for n in reversed(range(sizes[i]))]
    for most in (50, 10_000):
        found: list[str] = []
        more: str | None = None
        while more is not None or not found:
            page = await store.search("text", limit=300, max_messages=most, before=more)
            found += [hit.message_id for hit in page.hits]
            more = page.more
        assert found == expected


async def owners_are_apart(store: ThreadStore) -> None:
    """P15: threads, files, listings, search hits."""
    ann, bob = store.for_owner("ann"), store.for_owner("bob")
    attachment = Attachment(filename="a.txt", content=b"ann's")
    thread = Thread(id="t", messages=[_said("m", attachments=[attachment])])
    await ann.save_thread(thread)
    await _refuses(ThreadNotFound, bob.get_thread("t"))
    await _refuses(OwnerMismatch, bob.save_thread(thread))
    assert not await bob.delete_thread("t")
    assert await bob.list_threads() == []
    assert (await bob.search("text")).searched == 0
    assert [hit.message_id for hit in (await ann.search("text")).hits] == ["m"]
    assert bob.file_store is not None
    await _refuses(FileNotFound, bob.file_store.get(attachment.file_id))
    await bob.save_thread(Thread(id="t"))
    assert await ann.get_thread("t") == thread


async def one_run_has_the_turn(store: ThreadStore) -> None:
    """P5, P2: a second run waits; what the run adds stands behind what it saw."""
    thread = await _stored(store, "question")
    other = await store.get_thread("t")

    async def second_run() -> None:
        async with store.turn(other, wait_s=0):
            pass

    async with store.turn(thread) as turn:
        await _refuses(ThreadBusy, second_run())
        other.add_message(_said("meanwhile"))
        await store.save_thread(other)
        await turn.start_calls("question", ["c"])
        await turn.append(_said("answer"), behind="question", finishes=("question", "c"))
        assert (await turn.call_states("question"))["c"].state == "finished"
    assert await _ids(store) == ["question", "answer", "meanwhile"]
    await second_run()


async def a_decision_is_used_once(store: ThreadStore) -> None:
    """P6 and approvals: it is for what was asked about, seen by its owner alone, and starting the call uses it up."""
    ann, bob = store.for_owner("ann"), store.for_owner("bob")
    thread = Thread(id="t", messages=[_said("question")])
    await ann.save_thread(thread)
    call = ToolCall(id="c", name="refund")
    async with ann.turn(thread) as turn:
        (pending,) = await turn.ask("question", [(call, "digest")], {"c": "it is large"})
        assert pending.reason == "it is large"
        assert await ann.pending_calls() == await store.pending_calls("t") == [pending]
        assert await bob.pending_calls() == []
        for nobodys in ("", "t\x00", "t\ud800", "t" * 1_000):
            assert await store.pending_calls(nobodys) == []
        assert await turn.start_calls("question", ["c"], {"c": "digest"}) == set()
        await _refuses(ApprovalNotFound, bob.decide(pending.id, approved=True))
        await ann.decide(pending.id, approved=True, valid_for=timedelta(microseconds=1))
        await asyncio.sleep(0.002)
        assert await turn.start_calls("question", ["c"], {"c": "digest"}) == set()
        await ann.decide(pending.id, approved=True)
        assert await turn.start_calls("question", ["c"], {"c": "other"}) == set()
        assert await turn.start_calls("question", ["c"], {"c": "digest"}) == {"c"}
        assert await turn.start_calls("question", ["c"], {"c": "digest"}) == set()
    await _refuses(ApprovalNotFound, ann.decide(pending.id, approved=False))
    assert await store.pending_calls() == []


async def a_deleted_thread_is_gone(store: ThreadStore) -> None:
    """P4: with its files, and no old object brings it back."""
    attachment = Attachment(filename="a.txt", content=b"bytes")
    thread = Thread(id="t", messages=[_said("m", attachments=[attachment])])
    await store.save_thread(thread)
    assert await store.delete_thread("t")
    thread.add_message(_said("late"))
    await _refuses(ThreadConflict, store.save_thread(thread))
    assert store.file_store is not None
    await _refuses(FileNotFound, store.file_store.get(attachment.file_id))
    status = await store.status()
    assert (status.threads, status.messages, status.files) == (0, 0, 0)


_BODIES = [
    a_saved_thread_comes_back_equal,
    a_missing_thread_is_thread_not_found,
    order_is_by_position,
    an_append_repeated_is_stored_once,
    appends_of_two_writers_are_both_kept,
    stale_edits_are_refused,
    metadata_merges_by_key,
    filters_are_typed,
    listings_are_newest_first_and_paged,
    a_search_finds_all_words_newest_first,
    a_search_reads_threads_of_any_size,
    owners_are_apart,
    one_run_has_the_turn,
    a_decision_is_used_once,
    a_deleted_thread_is_gone,
]
