"""P4 when objects are used while they are saved, copied, shared, or saved to two stores."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable

import pytest

from narrator import Message, Thread, ThreadConflict, ThreadStore
from tests.promises.test_p04_save_thread import ids, said, saved, stored

COPIES: dict[str, Callable[[Thread], Thread]] = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "model_copy": lambda thread: thread.model_copy(),
    "deep model_copy": lambda thread: thread.model_copy(deep=True),
    "pickle": lambda thread: pickle.loads(pickle.dumps(thread)),
    "json": lambda thread: Thread.model_validate_json(thread.model_dump_json()),
}


@pytest.mark.parametrize(
    "edit",
    [
        lambda t: setattr(t.messages[0], "content", "late"),
        lambda t: t.messages[-1].metadata.update(late=1),
        lambda t: t.metadata.update(late=1),
        lambda t: t.metadata.pop("kept"),
        lambda t: setattr(t, "title", "late"),
        lambda t: t.add_message(said("late")),
        lambda t: t.messages.insert(0, said("late")),
        lambda t: t.messages.pop(1),
        lambda t: t.messages.reverse(),
    ],
    ids=["stored", "new", "metadata", "metadata removed", "title", "append", "insert", "removal", "order"],
)
async def test_a_change_while_the_save_is_under_way_is_for_the_next_one(store: ThreadStore, edit) -> None:
    for steps in (1, 2, 4, 8, 16):
        await store.delete_thread("t")
        await change_in_flight(store, edit, steps)


async def change_in_flight(store: ThreadStore, edit: Callable[[Thread], object], steps: int) -> None:
    thread = await stored(store, metadata={"kept": 1})
    thread.messages[0].content = "early"
    thread.add_message(said("new"))
    saving = asyncio.create_task(store.save_thread(thread))
    for _ in range(steps):
        await asyncio.sleep(0)
    edit(thread)
    wanted = thread.model_dump(exclude={"updated_at", "metadata"})
    keys = {k: v for k, v in thread.metadata.items() if k != "last_updated"}
    await saving
    found = await saved(store, thread)
    assert found.model_dump(exclude={"updated_at", "metadata"}) == wanted
    assert {k: v for k, v in found.metadata.items() if k != "last_updated"} == keys


async def test_a_change_during_a_save_without_changes_is_kept(store: ThreadStore) -> None:
    thread = await stored(store, metadata={"a": 1}, title="one")
    other = await store.get_thread("t")
    other.metadata["theirs"] = 1
    await store.save_thread(other)
    saving = asyncio.create_task(store.save_thread(thread))
    await asyncio.sleep(0)
    thread.metadata["a"] = 2
    thread.title = "two"
    await saving
    found = await saved(store, thread)
    assert (found.metadata["a"], found.metadata["theirs"], found.title) == (2, 1, "two")


async def test_two_saves_of_one_object_at_once_store_both_changes(store: ThreadStore) -> None:
    thread = await stored(store)
    for turn, steps in enumerate((0, 1, 2, 4, 8)):
        thread.messages[0].content = f"first {turn}"
        thread.add_message(said(f"a{turn}"))
        first = asyncio.create_task(store.save_thread(thread))
        for _ in range(steps):
            await asyncio.sleep(0)
        thread.messages[1].content = f"second {turn}"
        thread.messages[0].metadata["n"] = turn
        thread.add_message(said(f"b{turn}"))
        thread.metadata["n"] = turn
        await asyncio.gather(first, store.save_thread(thread))
        assert thread == await store.get_thread("t")
    assert await ids(store) == ["m0", "m1", "m2", *(f"{letter}{turn}" for turn in range(5) for letter in "ab")]


async def test_many_saves_of_one_object_at_once_leave_it_equal(store: ThreadStore) -> None:
    thread = Thread(id="t")
    for n in range(10):
        thread.add_message(said(f"m{n}"))
    await asyncio.gather(*(store.save_thread(thread) for _ in range(10)))
    assert thread == await store.get_thread("t")
    assert await ids(store) == [f"m{n}" for n in range(10)]


@pytest.mark.parametrize("kind", COPIES)
async def test_a_copy_is_equal_and_its_save_never_erases(store: ThreadStore, kind: str) -> None:
    thread = await stored(store, metadata={"a": 1})
    copied = COPIES[kind](thread)
    assert copied == thread
    other = await store.get_thread("t")
    other.add_message(said("theirs"))
    other.metadata["a"] = 2
    await store.save_thread(other)
    copied.add_message(said("mine"))
    found = await saved(store, copied)
    assert [m.id for m in found.messages] == ["m0", "m1", "m2", "theirs", "mine"]


@pytest.mark.parametrize("kind", COPIES)
async def test_edits_of_an_original_and_of_its_copy_do_not_mix(store: ThreadStore, kind: str) -> None:
    thread = await stored(store, metadata={"deep": {"n": 0}})
    copied = COPIES[kind](thread).model_copy(update={"id": "copy"}, deep=True)
    await store.save_thread(copied)
    copied.messages[0].content = "copy's"
    copied.messages[1].metadata["x"] = 1
    copied.metadata["deep"]["n"] = 1
    thread.messages[0].metadata["y"] = 2
    assert (await saved(store, thread)).messages[0].text == "text of m0"
    assert (await saved(store, copied)).messages[0].text == "copy's"


async def test_a_shallow_message_copy_in_another_thread_reports_its_edits_there(store: ThreadStore) -> None:
    message = said("m", metadata={"n": {"deep": 0}})
    first, second = Thread(id="first", messages=[message]), Thread(id="second")
    await store.save_thread(first)
    second.add_message(message.model_copy())
    await store.save_thread(second)
    message.metadata["n"]["deep"] = 1
    second.messages[0].metadata["new"] = 2
    assert (await saved(store, first)).messages[0].metadata == {"n": {"deep": 1}}
    assert (await saved(store, second)).messages[0].metadata["new"] == 2


async def test_one_message_object_in_two_threads(store: ThreadStore) -> None:
    message = said("m")
    first, second = Thread(id="first", messages=[message]), Thread(id="second", messages=[message, said("n")])
    await store.save_thread(first)
    await store.save_thread(second)
    message.content = "edited"
    assert (await saved(store, first)).messages[0].text == "edited"
    await saved(store, second)
    second.messages[0].content = "edited in second"
    assert (await saved(store, second)).messages[0].text == "edited in second"
    assert (await saved(store, first)).messages[0].text == "edited"


async def test_one_thread_saved_to_two_stores(store: ThreadStore) -> None:
    async with await ThreadStore.create() as other:
        thread = Thread(id="t", messages=[said("m")], metadata={"a": 1})
        message = thread.messages[0]
        await saved(store, thread)
        await saved(other, thread)
        assert thread.messages[0] is message, "the object the caller holds stays the thread's"
        message.metadata["late"] = 1
        thread.add_message(said("n"))
        await saved(other, thread)
        assert await ids(store) == ["m"]


async def test_a_failed_save_leaves_the_object_as_it_was(store: ThreadStore) -> None:
    thread = await stored(store)
    other = await store.get_thread("t")
    thread.messages[1].content = "edited"
    other.add_message(said("clash", "theirs"))
    await store.save_thread(other)
    view = store.for_owner("anyone")
    fresh = Thread(id="t", messages=[said("x", "one"), said("x", "two")])
    before = fresh.model_dump()
    with pytest.raises(Exception, match="'x'"):
        await view.save_thread(fresh)
    assert fresh.model_dump() == before
    with pytest.raises(Exception, match="changed by someone else"):
        await store.save_thread(thread)
    thread.messages = list((await store.get_thread("t")).messages)
    assert isinstance(thread.messages[0], Message)


async def test_an_unsaved_edit_of_a_message_that_others_edited_meanwhile_is_refused(store: ThreadStore) -> None:
    """Though a run's own write has brought the object up to date in between."""
    mine = await stored(store)
    async with store.turn(mine) as turn:
        mine.messages[0].content = "mine"
        theirs = await store.get_thread("t")
        theirs.messages[0].content = "theirs"
        await store.save_thread(theirs)
        await turn.append(said("answer"), behind=mine.messages[-1].id)
    with pytest.raises(ThreadConflict, match="'t'"):
        await store.save_thread(mine)
    assert (await store.get_thread("t")).messages[0].content == "theirs"
