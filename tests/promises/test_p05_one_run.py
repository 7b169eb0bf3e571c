"""P5: one run at a time on a thread; a lease with a fence, and nobody else is held up."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from narrator import LeaseLost, Message, Thread, ThreadBusy, ThreadStore
from tests.warm_python import PipedProgram, WarmPython
from tyler import Agent
from tyler.model import Request
from tyler.testing import ScriptedModel, calls

ROOT = Path(__file__).parents[2]


def said(text: str) -> Message:
    return Message(role="user", content=text)


async def stored_thread(store: ThreadStore, id: str = "t") -> Thread:
    thread = Thread(id=id, messages=[said("hello")])
    await store.save_thread(thread)
    return thread


async def test_many_runs_at_once_answer_each_input_in_one_correct_conversation(store: ThreadStore) -> None:
    running = 0

    async def work() -> str:
        nonlocal running
        running += 1
        assert running == 1, "two runs on one thread"
        await asyncio.sleep(0.001)
        running -= 1
        return "worked"

    def answer(request: Request) -> str:
        last = next(m for m in reversed(request.messages) if m["role"] == "user")
        return f"answer to {last['content']}"

    script = [step for _ in range(8) for step in (calls(("work", {})), answer)]
    agent = Agent(model=ScriptedModel(script), tools=[work], thread_store=store)
    await store.save_thread(Thread(id="t"))
    results = await asyncio.gather(*(agent.go(Thread(id="t", messages=[said(f"q{i}")])) for i in range(8)))
    assert sorted(r.content for r in results) == [f"answer to q{i}" for i in range(8)]
    stored = await store.get_thread("t")
    assert len(stored.messages) == 8 * 4
    for place, message in enumerate(stored.messages):
        if message.tool_calls:
            assert stored.messages[place + 1].tool_call_id == message.tool_calls[0].id


async def test_one_object_answered_twice_at_once_is_answered_once(store: ThreadStore) -> None:
    for thread_store in (store, None):
        model = ScriptedModel(["one"], delay_s=0.01)
        agent = Agent(model=model, thread_store=thread_store)
        thread = Thread(messages=[said("hello")])
        results = await asyncio.gather(agent.go(thread), agent.go(thread))
        # Which of the two comes first is the database's affair: their connections are two.
        assert sorted((result.content, result.replayed) for result in results) == [("one", False), ("one", True)]
        assert [m.text for m in thread.messages] == ["hello", "one"]


async def test_without_a_store_too_a_run_is_not_waited_for_for_ever() -> None:
    answering, release = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        answering.set()
        await release.wait()

    agent = Agent(model=ScriptedModel([calls(("wait", {})), "done"]), tools=[wait])
    thread = Thread(id="t", messages=[said("hello")])
    run = asyncio.create_task(agent.go(thread))
    await answering.wait()
    with pytest.raises(ThreadBusy, match=r"'t' is being answered .* waited 0\.01 s"):
        await agent.go(thread, wait_s=0.01)
    release.set()
    assert (await run).content == "done"


async def test_other_threads_are_not_held_up(store: ThreadStore) -> None:
    async with store.turn(await stored_thread(store, "busy")):
        agent = Agent(model=ScriptedModel(["free"]), thread_store=store)
        assert (await agent.go(Thread(id="other", messages=[said("hi")]), wait_s=0)).content == "free"


async def in_the_queue(store: ThreadStore, thread: Thread, count: int) -> None:
    """Wait until so many wait for the thread's turn."""
    assert thread._baseline is not None
    key = thread._baseline.key
    async with asyncio.timeout(10):
        while len(await store._backend.run(lambda tx, _: tx.queue(key), write=False)) != count:
            await asyncio.sleep(0.005)


async def test_turns_are_taken_in_the_order_of_coming(store: ThreadStore) -> None:
    thread, order = await stored_thread(store), list[int]()

    async def take(number: int) -> None:
        async with store.turn(await store.get_thread("t")):
            order.append(number)

    async with store.turn(thread):
        waiting = []
        for number in range(5):
            waiting.append(asyncio.create_task(take(number)))
            await in_the_queue(store, thread, number + 1)
        with pytest.raises(ThreadBusy):
            await take_now(store)
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2, 3, 4]
    await in_the_queue(store, thread, 0)


async def take_now(store: ThreadStore) -> None:
    async with store.turn(await store.get_thread("t"), wait_s=0):
        pass


async def test_runs_that_follow_each_other_without_a_pause_let_others_in(store: ThreadStore) -> None:
    """Each run takes longer than the pause between two of them: who only looked in now and then would never get in."""
    agent = Agent(model=ScriptedModel(["x"] * 30, delay_s=0.05), thread_store=store)
    others = 0

    async def without_a_pause() -> None:
        nonlocal others
        for number in range(20):
            await agent.go(Thread(id="t", messages=[said(f"busy {number}")]))
            others += 1

    busy = asyncio.create_task(without_a_pause())
    while not others:
        await asyncio.sleep(0.001)
    for number in range(3):
        before = others
        await agent.go(Thread(id="t", messages=[said(f"patient {number}")]))
        assert others <= before + 2
    await busy


async def test_who_left_the_queue_is_not_waited_for(store: ThreadStore) -> None:
    thread = await stored_thread(store)
    async with store.turn(thread):
        with pytest.raises(ThreadBusy):
            async with store.turn(await store.get_thread("t"), wait_s=0.05):
                pass
        cancelled = asyncio.create_task(take_for_ever(store))
        await in_the_queue(store, thread, 1)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        await in_the_queue(store, thread, 0)
    await take_now(store)


async def take_for_ever(store: ThreadStore) -> None:
    async with store.turn(await store.get_thread("t")):
        await asyncio.Event().wait()


async def test_a_place_that_is_not_kept_is_given_up(store: ThreadStore) -> None:
    """The process was stopped, or vanished with its machine: the others do not wait behind it."""
    thread = await stored_thread(store)
    assert thread._baseline is not None
    key = thread._baseline.key
    elsewhere = '{"machine": "another", "host": "another", "pid": 1, "started": "1"}'
    await store._backend.run(lambda tx, _: tx.keep_place(key, elsewhere, timedelta(seconds=60)), write=True)
    with pytest.raises(ThreadBusy, match="is being answered by another run that came first"):
        await take_now(store)
    await store._backend.run(lambda tx, _: tx.keep_place(key, elsewhere, timedelta(seconds=-1)), write=True)
    await take_now(store)
    await in_the_queue(store, thread, 0)


async def test_a_plain_save_never_waits_for_a_run(store: ThreadStore) -> None:
    thread = await stored_thread(store)
    async with store.turn(thread):
        other = await store.get_thread("t")
        other.add_message(said("meanwhile"))
        async with asyncio.timeout(10):
            await store.save_thread(other)


async def test_the_turn_is_given_back_whatever_happens(store: ThreadStore) -> None:
    thread = await stored_thread(store)
    with pytest.raises(ZeroDivisionError):
        await Agent(model=ScriptedModel([ZeroDivisionError()]), thread_store=store).go(thread)
    assert (await Agent(model=ScriptedModel(["ok"]), thread_store=store).go(thread, wait_s=0)).content == "ok"


async def test_a_run_that_outlives_its_lease_cannot_write(store: ThreadStore) -> None:
    thread = await stored_thread(store)
    async with store.turn(thread, lease=timedelta(seconds=30)) as paused:
        paused_keeper = [task for task in asyncio.all_tasks() if task.get_coro().__name__ == "_keep"]  # type: ignore[union-attr]
        for task in paused_keeper:
            task.cancel()  # what SIGSTOP does to the heartbeat
        await paused._writer.commit(lambda tx, _: tx.renew_lease(paused._key, paused.fence, timedelta(seconds=-1)))
        async with store.turn(await store.get_thread("t"), wait_s=5) as new:
            await new.append(Message(role="assistant", content="new"), behind=None)
            with pytest.raises(LeaseLost, match="has passed to another run"):
                await paused.append(Message(role="assistant", content="old"), behind=None)
            with pytest.raises(LeaseLost):
                await paused.start_calls("m", ["c"])
    assert [m.text for m in (await store.get_thread("t")).messages] == ["hello", "new"]


HOLD = """
import asyncio, sys
from narrator import ThreadStore
async def main():
    async with await ThreadStore.create(sys.argv[1]) as store:
        async with store.turn(await store.get_thread("t")):
            print("held", flush=True)
            await asyncio.sleep(600)
asyncio.run(main())
"""


@contextmanager
def holding(python: WarmPython, url: str) -> Iterator[PipedProgram]:
    """A program that has the thread's turn, or waits for it; killed at the end."""
    with python.start_piped(["-c", HOLD, url], {**os.environ, "PYTHONPATH": str(ROOT)}) as program:
        yield program


async def test_a_killed_process_of_this_machine_is_not_waited_for(warm_python: WarmPython, sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as store:
        thread = await stored_thread(store)
        agent = Agent(model=ScriptedModel(["taken over"]), thread_store=store)
        with holding(warm_python, sql_url) as program:
            assert await asyncio.to_thread(program.stdout.readline) == "held\n"
            with pytest.raises(ThreadBusy, match=f"process {program.pid}"):
                await agent.go(thread, wait_s=0.05)
        assert (await agent.go(thread, wait_s=2)).content == "taken over"


async def test_a_process_that_was_killed_in_the_queue_is_not_waited_for(warm_python: WarmPython, sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as store:
        thread = await stored_thread(store)
        async with store.turn(thread):
            with holding(warm_python, sql_url):
                await in_the_queue(store, thread, 1)
        await take_now(store)


async def test_a_turn_begins_with_what_others_have_stored(store: ThreadStore) -> None:
    await store.save_thread(Thread(id="t", messages=[said("mine")]))
    thread, other = await store.get_thread("t"), await store.get_thread("t")
    other.add_message(said("theirs"))
    await store.save_thread(other)
    async with store.turn(thread):
        assert [m.text for m in thread.messages] == ["mine", "theirs"]
