"""P2: order is by position alone; an insert anywhere writes one row; what a run adds stands behind what it saw."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from narrator import Message, Thread, ThreadStore, ToolCall
from tests.promises.statements import recorded
from tests.promises.test_p04_cost import revisions

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def said(id: str, **fields: object) -> Message:
    return Message(id=id, role="user", content=f"text of {id}", **fields)


def result(call_id: str) -> Message:
    return Message(id=f"result of {call_id}", role="tool", content="x", tool_call_id=call_id)


async def stored(store: ThreadStore, *ids: str) -> Thread:
    thread = Thread(id="t", messages=[said(id) for id in ids])
    await store.save_thread(thread)
    return thread


async def ids(store: ThreadStore) -> list[str]:
    return [message.id for message in (await store.get_thread("t")).messages]


async def test_time_does_not_order_messages(store: ThreadStore) -> None:
    times = [NOON, NOON, NOON - timedelta(days=900), NOON + timedelta(days=900), NOON - timedelta(hours=1)]
    thread = Thread(id="t", messages=[said(f"m{i}", created_at=at) for i, at in enumerate(times)])
    await store.save_thread(thread)
    for i, at in enumerate(times, start=5):
        thread.add_message(said(f"m{i}", created_at=at))
        await store.save_thread(thread)
    assert await ids(store) == [f"m{i}" for i in range(10)]


async def test_an_insert_anywhere_writes_one_message_row(sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as store:
        thread = await stored(store, *(f"m{i}" for i in range(20)))
        for place in (0, 1, 10, 22, 23):
            before = await revisions(sql_url)
            thread.messages.insert(place, said(f"at {place}"))
            with recorded() as statements:
                await store.save_thread(thread)
            after = await revisions(sql_url)
            assert {id for id in after if before.get(id) != after[id]} == {f"at {place}"}
            assert statements.rows == 2, "the thread's row and the message's"
        assert thread == await store.get_thread("t")


async def test_100_inserts_at_one_spot_keep_their_order(store: ThreadStore) -> None:
    thread = await stored(store, "first", "last")
    for i in range(100):
        thread.messages.insert(1, said(f"m{i}"))
        await store.save_thread(thread)
    expected = ["first", *(f"m{i}" for i in reversed(range(100))), "last"]
    assert await ids(store) == expected
    assert thread == await store.get_thread("t")
    thread.messages.insert(51, said("after renumbering"))
    thread.add_message(said("end"))
    await store.save_thread(thread)
    assert await ids(store) == [*expected[:51], "after renumbering", *expected[51:], "end"]


async def test_renumbering_by_one_holder_reaches_the_others(store: ThreadStore) -> None:
    thread = await stored(store, "first", "last")
    other = await store.get_thread("t")
    for i in range(40):  # halves the gap each time: 2 ** 32 is used up after 32
        thread.messages.insert(1, said(f"m{i}"))
        await store.save_thread(thread)
    other.messages.insert(1, said("theirs"))
    await store.save_thread(other)
    assert other == await store.get_thread("t")
    assert (await ids(store))[:2] == ["first", "theirs"]


async def test_inserts_of_two_holders_are_both_kept_in_place(store: ThreadStore) -> None:
    first = await stored(store, "a", "b")
    second = await store.get_thread("t")
    first.messages.insert(1, said("x"))
    second.messages[1:1] = [said("y"), said("z")]
    second.add_message(said("end"))
    await store.save_thread(first)
    await store.save_thread(second)
    found = await ids(store)
    assert sorted(found) == ["a", "b", "end", "x", "y", "z"]
    assert (found[0], found[-2:]) == ("a", ["b", "end"])
    assert found.index("y") < found.index("z")


async def test_an_insert_behind_what_another_made_the_last_stays_in_front_of_the_appended(store: ThreadStore) -> None:
    first = await stored(store, "a", "b")
    second = await store.get_thread("t")
    del first.messages[1]
    await store.save_thread(first)
    second.messages.insert(1, said("x"))
    second.add_message(said("y"))
    await store.save_thread(second)
    assert await ids(store) == ["a", "x", "y"]
    assert second == await store.get_thread("t")


async def test_removal_and_insert_in_one_save(store: ThreadStore) -> None:
    thread = await stored(store, "a", "b", "c", "d")
    thread.messages[1:3] = [said("x")]
    thread.messages.insert(0, said("front"))
    await store.save_thread(thread)
    assert await ids(store) == ["front", "a", "x", "d"]
    thread.messages.clear()
    await store.save_thread(thread)
    thread.messages.insert(0, said("new"))
    await store.save_thread(thread)
    assert await ids(store) == ["new"]


async def test_a_runs_addition_stands_behind_what_its_model_saw(store: ThreadStore) -> None:
    thread = await stored(store, "question")
    async with store.turn(thread) as turn:
        for i in range(3):
            other = await store.get_thread("t")
            other.add_message(said(f"meanwhile {i}"))
            await store.save_thread(other)
            await turn.append(said(f"answer {i}"), behind=f"answer {i - 1}" if i else "question")
        assert thread == await store.get_thread("t")
    answers, others = [f"answer {i}" for i in range(3)], [f"meanwhile {i}" for i in range(3)]
    assert await ids(store) == ["question", *answers, *others]


async def test_a_run_adds_behind_its_anchor_while_others_append_at_once(store: ThreadStore) -> None:
    thread = await stored(store, "question")

    async def others(who: int) -> None:
        own = await store.get_thread("t")
        for i in range(5):
            own.add_message(said(f"{who}-{i}"))
            await store.save_thread(own)

    async def run() -> None:
        async with store.turn(thread) as turn:
            for i in range(5):
                await turn.append(said(f"run-{i}"), behind=f"run-{i - 1}" if i else "question")

    await asyncio.gather(run(), others(1), others(2))
    found = await ids(store)
    assert found[:6] == ["question", *(f"run-{i}" for i in range(5))]
    for who in (1, 2):
        assert [id for id in found if id.startswith(f"{who}-")] == [f"{who}-{i}" for i in range(5)]


async def test_results_out_of_order_land_in_call_order(store: ThreadStore) -> None:
    thread = await stored(store, "question")
    other = await store.get_thread("t")
    calls = [ToolCall(id=f"c{i}", name="f") for i in range(5)]
    asked = Message(id="asked", role="assistant", tool_calls=calls)
    async with store.turn(thread) as turn:
        await turn.append(asked, behind="question")
        finished: list[int] = []
        for index in (3, 0, 4, 2, 1):
            other.add_message(said(f"meanwhile {index}"))
            await store.save_thread(other)
            earlier = max((i for i in finished if i < index), default=None)
            behind = "asked" if earlier is None else f"result of c{earlier}"
            await turn.append(result(f"c{index}"), behind=behind, finishes=("asked", f"c{index}"))
            finished.append(index)
    found = await ids(store)
    assert found[:7] == ["question", "asked", *(f"result of c{i}" for i in range(5))]
    assert thread == await store.get_thread("t")


async def test_results_at_once_land_in_call_order_at_the_end_too(store: ThreadStore) -> None:
    thread = await stored(store, "question")
    async with store.turn(thread) as turn:
        await turn.append(
            Message(id="asked", role="assistant", tool_calls=[ToolCall(id=f"c{i}", name="f") for i in range(4)]),
            behind="question",
        )
        await turn.append(result("c2"), behind="asked")
        await asyncio.gather(
            turn.append(result("c0"), behind="asked"),
            turn.append(result("c3"), behind="result of c2"),
        )
        await turn.append(result("c1"), behind="result of c0")
    assert await ids(store) == ["question", "asked", *(f"result of c{i}" for i in range(4))]
    assert thread == await store.get_thread("t")
