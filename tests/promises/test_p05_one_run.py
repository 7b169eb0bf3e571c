"""P5: one run at a time on a thread; a lease with a fence, and nobody else is held up."""

import asyncio
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from narrator import LeaseLost, Message, Thread, ThreadBusy, ThreadStore
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
        first, second = await asyncio.gather(agent.go(thread), agent.go(thread))
        assert (first.content, first.replayed) == ("one", False)
        assert (second.content, second.replayed) == ("one", True)
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


async def test_a_killed_process_of_this_machine_is_not_waited_for(sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as store:
        thread = await stored_thread(store)
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", HOLD, sql_url], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        try:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "held\n"
            agent = Agent(model=ScriptedModel(["taken over"]), thread_store=store)
            with pytest.raises(ThreadBusy, match=f"process {process.pid}"):
                await agent.go(thread, wait_s=0.05)
        finally:
            process.kill()
            await asyncio.to_thread(process.communicate)
        assert (await agent.go(thread, wait_s=2)).content == "taken over"
