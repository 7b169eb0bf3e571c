"""P4: save_thread writes what changed in this object, and nothing else; afterwards the two are equal."""

from __future__ import annotations

import pytest

from narrator import Attachment, Message, Thread, ThreadConflict, ThreadNotFound, ThreadStore, ToolCall


def said(id: str, content: str = "", **fields: object) -> Message:
    return Message(id=id, role="user", content=content or f"text of {id}", **fields)


async def stored(store: ThreadStore, count: int = 3, **fields: object) -> Thread:
    """A thread m0, m1, ... as it was saved."""
    thread = Thread(id="t", messages=[said(f"m{i}") for i in range(count)], **fields)
    await store.save_thread(thread)
    return thread


async def ids(store: ThreadStore) -> list[str]:
    return [message.id for message in (await store.get_thread("t")).messages]


async def saved(store: ThreadStore, thread: Thread) -> Thread:
    """Save it and check that the object equals what is stored."""
    await store.save_thread(thread)
    found = await store.get_thread(thread.id)
    assert thread == found
    assert thread.model_dump() == found.model_dump()
    return found


async def test_a_new_thread_equals_what_is_stored(store: ThreadStore) -> None:
    thread = Thread(id="t", title="Hello", metadata={"a": {"b": [1]}}, messages=[said("m")])
    assert (await saved(store, thread)).title == "Hello"
    assert "last_updated" in thread.metadata


async def test_a_thread_made_in_code_never_erases_a_stored_one(store: ThreadStore) -> None:
    await stored(store, title="Kept", metadata={"old": 1, "both": 1})
    thread = Thread(id="t", messages=[said("new")], metadata={"both": 2, "new": 3})
    found = await saved(store, thread)
    assert [m.id for m in found.messages] == ["m0", "m1", "m2", "new"]
    assert found.title == "Kept"
    assert {k: v for k, v in found.metadata.items() if k != "last_updated"} == {"old": 1, "both": 2, "new": 3}


async def test_an_empty_thread_made_in_code_changes_nothing_stored(store: ThreadStore) -> None:
    before = await stored(store)
    await saved(store, Thread(id="t"))
    assert (await store.get_thread("t")).messages == before.messages


async def test_appends_of_two_holders_are_both_kept(store: ThreadStore) -> None:
    first = await stored(store)
    second = await store.get_thread("t")
    first.add_message(said("from first"))
    second.add_message(said("from second"))
    await store.save_thread(first)
    await saved(store, second)
    assert (await ids(store))[3:] == ["from first", "from second"]
    await saved(store, first)


@pytest.mark.parametrize(
    "edit",
    [
        lambda t: setattr(t.messages[0], "content", "edited"),
        lambda t: t.messages[0].metadata.update(seen=True),
        lambda t: t.messages.pop(0),
        lambda t: t.messages.reverse(),
        lambda t: t.messages.__setitem__(1, said("m1", "replaced")),
    ],
    ids=["content", "metadata", "removal", "order", "replacement"],
)
async def test_a_stale_holders_edit_is_refused_and_nothing_written(store: ThreadStore, edit) -> None:
    stale = await stored(store)
    other = await store.get_thread("t")
    other.add_message(said("other"))
    await store.save_thread(other)
    edit(stale)
    stale.add_message(said("also mine"))
    stale.metadata["mine"] = 1
    stale.title = "mine"
    before = stale.model_dump()
    for _ in range(2):
        with pytest.raises(ThreadConflict, match="'t'"):
            await store.save_thread(stale)
        assert stale.model_dump() == before
    assert await store.get_thread("t") == other


async def test_metadata_of_two_holders_merges_by_key(store: ThreadStore) -> None:
    first = await stored(store, metadata={"mine": 0, "theirs": 0, "gone": 0, "gone too": 0, "same": {"deep": [1]}})
    second = await store.get_thread("t")
    first.metadata["mine"] = 1
    del first.metadata["gone"]
    second.metadata["theirs"] = 2
    second.metadata["new"] = [2]
    second.metadata.pop("gone too")
    await store.save_thread(first)
    found = await saved(store, second)
    del found.metadata["last_updated"]
    assert found.metadata == {"mine": 1, "theirs": 2, "same": {"deep": [1]}, "new": [2]}


async def test_nested_thread_metadata_edited_in_place_is_noticed(store: ThreadStore) -> None:
    thread = await stored(store, metadata={"a": {"b": [1, {"c": 2}]}})
    thread.metadata["a"]["b"][1]["c"] = 3
    assert (await saved(store, thread)).metadata["a"] == {"b": [1, {"c": 3}]}


async def test_metadata_replaced_as_a_whole_removes_keys_of_this_holder_only(store: ThreadStore) -> None:
    thread = await stored(store, metadata={"a": 1})
    other = await store.get_thread("t")
    other.metadata["theirs"] = 1
    await store.save_thread(other)
    thread.metadata = {"b": 2}
    found = await saved(store, thread)
    assert set(found.metadata) == {"b", "theirs", "last_updated"}


async def test_the_title_is_changed_removed_and_kept_from_others(store: ThreadStore) -> None:
    thread = await stored(store, title="one")
    other = await store.get_thread("t")
    thread.title = "two"
    await saved(store, thread)
    other.metadata["x"] = 1
    assert (await saved(store, other)).title == "two"
    other.title = None
    assert (await saved(store, other)).title is None


def edits() -> dict[str, object]:
    return {
        "content": lambda m: setattr(m, "content", "edited"),
        "part value": lambda m: m.content[0].__setitem__("text", "edited"),
        "part added": lambda m: m.content.append({"type": "text", "text": "two"}),
        "part removed": lambda m: m.content.clear(),
        "nested metadata": lambda m: m.metadata["a"]["b"].append({"c": 1}),
        "metadata of an added value": lambda m: (m.metadata.update(n={}), m.metadata["n"].update(x=1)),
        "metadata removed": lambda m: m.metadata.clear(),
        "metadata setdefault": lambda m: m.metadata.setdefault("n", []).append(1),
        "metadata merged": lambda m: m.metadata.__ior__({"n": 1}),
        "sorted": lambda m: m.metadata["a"]["b"].sort(),
        "slice": lambda m: m.metadata["a"]["b"].__setitem__(slice(0, 1), [9, 8]),
        "tool call added": lambda m: m.tool_calls.append(ToolCall(id="c", name="f")),
        "tool call removed": lambda m: m.tool_calls.pop(),
        "tool calls set": lambda m: setattr(m, "tool_calls", []),
        "attachment added": lambda m: m.add_attachment(Attachment(filename="a.txt", content=b"a")),
        "attachment removed": lambda m: m.attachments.clear(),
        "name": lambda m: setattr(m, "name", "new"),
        "role": lambda m: setattr(m, "role", "assistant"),
        "usage": lambda m: setattr(m, "usage", {"input_tokens": 3}),
        "time": lambda m: setattr(m, "created_at", m.created_at.replace(year=2001)),
    }


@pytest.mark.parametrize("loaded", [True, False], ids=["loaded", "saved"])
async def test_every_edit_in_place_is_noticed(store: ThreadStore, tmp_path, loaded: bool) -> None:
    from narrator import FileStore

    store.use_files(await FileStore.create(tmp_path / "files"))
    for name, edit in edits().items():
        message = Message(
            id="m",
            role="user",
            content=[{"type": "text", "text": "one"}],
            metadata={"a": {"b": [2, 1]}} if name == "sorted" else {"a": {"b": [1]}},
            tool_calls=[ToolCall(id="b", name="g")],
            attachments=[Attachment(filename="b.txt", content=b"b")],
        )
        thread = Thread(id=name, messages=[message])
        await store.save_thread(thread)
        if loaded:
            thread = await store.get_thread(name)
        before = thread.messages[0].model_dump()
        edit(thread.messages[0])  # type: ignore[operator]
        found = await saved(store, thread)
        assert found.messages[0].model_dump() != before, name


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m.insert(0, said("x")), ["x", "m0", "m1", "m2", "m3"]),
        (lambda m: m.__setitem__(slice(1, 3), [said("x"), said("y"), said("z")]), ["m0", "x", "y", "z", "m3"]),
        (lambda m: m.sort(key=lambda message: message.id, reverse=True), ["m3", "m2", "m1", "m0"]),
        (lambda m: m.__delitem__(slice(0, 2)), ["m2", "m3"]),
        (lambda m: m.__delitem__(3), ["m0", "m1", "m2"]),
        (lambda m: m.clear(), []),
        (lambda m: m.__setitem__(slice(None), [m[3], said("x"), m[0], said("y")]), ["m3", "x", "m0", "y"]),
        (lambda m: m.__setitem__(slice(None), [m[0], said("x"), m[1], m[2], m[3], said("y")]),
         ["m0", "x", "m1", "m2", "m3", "y"]),
        (lambda m: (m.pop(), m.append(said("m3", "again"))), ["m0", "m1", "m2", "m3"]),
        (lambda m: (m.insert(0, m.pop()), m.append(said("z"))), ["m3", "m0", "m1", "m2", "z"]),
        (lambda m: (m.pop(), m.append(said("x")), m.insert(3, said("y"))), ["m0", "m1", "m2", "y", "x"]),
    ],
)  # fmt: skip
async def test_lists_are_stored_as_they_are(store: ThreadStore, change, expected: list[str]) -> None:
    thread = await stored(store, 4)
    change(thread.messages)
    found = await saved(store, thread)
    assert [m.id for m in found.messages] == expected
    thread.add_message(said("after"))
    assert [m.id for m in (await saved(store, thread)).messages] == [*expected, "after"]
    assert [s.message_count for s in await store.list_threads()] == [len(expected) + 1]


async def test_an_assigned_list_keeps_what_it_kept(store: ThreadStore) -> None:
    thread = await stored(store)
    thread.messages = [thread.messages[2], said("x")]
    assert [m.id for m in (await saved(store, thread)).messages] == ["m2", "x"]
    thread.messages[0].content = "edited after"
    await saved(store, thread)


async def test_a_deleted_thread_is_not_brought_back_by_an_old_object(store: ThreadStore) -> None:
    thread = await stored(store)
    await store.delete_thread("t")
    thread.add_message(said("late"))
    with pytest.raises(ThreadConflict, match="deleted"):
        await store.save_thread(thread)
    with pytest.raises(ThreadNotFound):
        await store.get_thread("t")
    await saved(store, Thread(id="t", messages=[said("afresh")]))
    with pytest.raises(ThreadConflict, match="deleted"):
        await store.save_thread(thread)
    assert await ids(store) == ["afresh"]


async def test_a_save_without_changes_learns_and_writes_nothing(store: ThreadStore) -> None:
    thread = await stored(store)
    before = thread.updated_at
    await saved(store, thread)
    assert thread.updated_at == before
    other = await store.get_thread("t")
    other.messages[1].content = "edited elsewhere"
    del other.messages[0]
    await store.save_thread(other)
    await saved(store, thread)
    assert [m.text for m in thread.messages] == ["edited elsewhere", "text of m2"]
