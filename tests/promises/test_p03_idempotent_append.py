"""P3: a message appended again is stored once; same id with other content is a MessageConflict."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from narrator import Attachment, FileStore, Message, MessageConflict, Thread, ThreadStore, ToolCall
from tests.warm_python import WarmPython

ROOT = Path(__file__).parents[2]
SAME = {
    "role": "assistant",
    "content": [{"type": "text", "text": "hello", "more": {"a": 1, "b": 2}}],
    "name": "ann",
    "tool_calls": [ToolCall(id="c", name="f", arguments="{}")],
    "tool_call_id": "x",
}
OTHER = {
    "role": "user",
    "content": "hello",
    "name": "bob",
    "tool_calls": [ToolCall(id="c", name="f", arguments='{"a":1}')],
    "tool_call_id": None,
    "attachments": [Attachment(filename="a.txt", content=b"a")],
}


def again(**fields: object) -> Message:
    return Message(**({"id": "event"} | SAME | fields))


async def revision(store: ThreadStore) -> tuple[object, ...]:
    found = await store.get_thread("t")
    return found._baseline.revision, found.updated_at, [m.model_dump() for m in found.messages], found.metadata


async def stored(store: ThreadStore) -> Thread:
    thread = Thread(id="t", messages=[again(), Message(id="next", role="user", content="x")], metadata={"a": 1})
    await store.save_thread(thread)
    return thread


async def test_appended_again_by_the_same_object(store: ThreadStore) -> None:
    thread = await stored(store)
    before = await revision(store)
    for message in (thread.messages[0], again(metadata={"late": 1}, created_at="2001-01-01T00:00:00")):
        thread.add_message(message)
        await store.save_thread(thread)
        assert await revision(store) == before
        assert thread == await store.get_thread("t")


async def test_appended_again_by_other_objects(store: ThreadStore) -> None:
    stale = await stored(store)
    other = await store.get_thread("t")
    other.add_message(again(id="event 2"))
    await store.save_thread(other)
    before = await revision(store)
    late = again(id="event 2", metadata={"late": True}, usage={"input_tokens": 3})
    stale.add_message(late)
    await store.save_thread(stale)
    made = Thread(id="t", messages=[again(), late])
    await store.save_thread(made)
    assert await revision(store) == before
    assert stale == made == await store.get_thread("t")


async def test_the_same_webhook_at_once_is_stored_once(store: ThreadStore) -> None:
    async def deliver() -> None:
        await store.save_thread(Thread(id="t", messages=[again()]))

    await asyncio.gather(*(deliver() for _ in range(10)))
    assert len((await store.get_thread("t")).messages) == 1
    assert [summary.message_count for summary in await store.list_threads()] == [1]


@pytest.mark.parametrize("field", OTHER)
async def test_other_content_under_a_stored_id_is_refused_and_nothing_written(store: ThreadStore, field: str) -> None:
    store.use_files(await FileStore.create())
    await stored(store)
    loaded = await store.get_thread("t")
    other = await store.get_thread("t")
    other.add_message(again(id="theirs"))
    await store.save_thread(other)
    before = await revision(store)
    for thread, id in ((Thread(id="t", title="new"), "event"), (loaded, "theirs"), (loaded, "event")):
        if thread is loaded:
            loaded.messages = loaded.messages[:2]
        thread.metadata["late"] = 1
        thread.add_message(Message(id="also new", role="user", content="not to be stored"))
        thread.add_message(again(id=id, **{field: OTHER[field]}))
        held = thread.model_dump()
        for _ in range(2):
            with pytest.raises(MessageConflict, match=f"'{id}'"):
                await store.save_thread(thread)
            assert thread.model_dump() == held
        assert await revision(store) == before


async def test_part_of_a_batch_that_is_stored_already_counts_once(store: ThreadStore) -> None:
    await stored(store)
    thread = Thread(id="t", messages=[again(), Message(id="new", role="user", content="n"), again()])
    await store.save_thread(thread)
    assert [m.id for m in thread.messages] == ["event", "next", "new"]
    assert thread == await store.get_thread("t")
    assert [summary.message_count for summary in await store.list_threads()] == [3]


async def test_the_same_id_in_two_threads_is_two_messages(store: ThreadStore) -> None:
    for id in ("t", "u"):
        await store.save_thread(Thread(id=id, messages=[again(name=id)]))
    assert [(await store.get_thread(id)).messages[0].name for id in ("t", "u")] == ["t", "u"]


async def test_appended_again_by_another_store_and_another_process(warm_python: WarmPython, sql_url: str) -> None:
    script = (
        "import asyncio, sys\nfrom narrator import *\n"
        "async def main():\n"
        "    async with await ThreadStore.create(sys.argv[1]) as store:\n"
        "        message = Message(id='event', role='user', content='hello')\n"
        "        await store.save_thread(Thread(id='t', messages=[message]))\n"
        "asyncio.run(main())\n"
    )
    async with await ThreadStore.create(sql_url) as one, await ThreadStore.create(sql_url) as two:
        for store in (one, two, one):
            await store.save_thread(Thread(id="t", messages=[Message(id="event", role="user", content="hello")]))
        before = await revision(one)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        assert await asyncio.to_thread(warm_python.run, ["-c", script, sql_url], environment) == (0, "", "")
        assert await revision(two) == before
        assert len(before[2]) == 1  # type: ignore[arg-type]
