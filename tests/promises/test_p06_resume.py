"""P6: the next go takes an interrupted run up where it stopped, and no effect happens twice by itself."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from narrator import Message, Thread, ThreadConflict, ThreadStore, ToolCall
from narrator._backend import ThreadRef, Transaction
from tests.model_server import violations
from tyler import Agent, ToolContext, tool
from tyler._tool_calls import UNKNOWN_OUTCOME
from tyler.testing import ScriptedModel
from tyler.wire import to_chat

Ran = list[tuple[str, str]]


def tools(ran: Ran) -> list[Any]:
    """One tool an effect; `ran` gets (call id, idempotency key)."""

    def note(ctx: ToolContext) -> str:
        ran.append((ctx.call_id, ctx.idempotency_key))
        return f"ran {ctx.call_id}"

    return [
        tool(name="once")(note),
        tool(name="read", effect="read")(note),
        tool(name="idempotent", effect="idempotent")(note),
    ]


def asked(*names: str) -> Message:
    """A message that calls these tools; the ids are c0, c1, ..."""
    wanted = [ToolCall(id=f"c{i}", name=name) for i, name in enumerate(names)]
    return Message(id="asked", role="assistant", tool_calls=wanted)


async def crash(store: ThreadStore, *messages: Message, started: tuple[str, ...] = ()) -> None:
    """Leave the thread as a killed run leaves it: messages, started rows, and the lease given up."""
    thread = Thread(id="t", messages=[Message(id="input", role="user", content="go"), *messages])
    await store.save_thread(thread)
    if started:
        async with store.turn(thread) as turn:
            await turn.start_calls("asked", started)


def result_of(call_id: str, content: str) -> Message:
    return Message(role="tool", content=content, tool_call_id=call_id)


async def resumed(store: ThreadStore, ran: Ran, model: ScriptedModel | None = None) -> Thread:
    """The next go, by whoever comes: from the stored thread alone."""
    model = model or ScriptedModel(["done"])
    agent = Agent(model=model, tools=tools(ran), thread_store=store)
    result = await agent.go(await store.get_thread("t"))
    assert (result.content, result.replayed) == ("done", False)
    for request in model.requests:
        assert violations({"model": "m", "messages": request.messages}) == []
    stored = await store.get_thread("t")
    assert violations({"model": "m", "messages": [to_chat(m) for m in stored.messages]}) == []
    return stored


def results(thread: Thread) -> list[str]:
    return [message.text for message in thread.messages if message.role == "tool"]


async def test_after_the_input_the_model_is_asked(store: ThreadStore) -> None:
    await crash(store)
    assert len((await resumed(store, [])).messages) == 2


async def test_a_call_that_was_not_started_is_run(store: ThreadStore) -> None:
    await crash(store, asked("once", "read"))
    ran: Ran = []
    assert results(await resumed(store, ran)) == ["ran c0", "ran c1"]
    assert [call for call, _ in ran] == ["c0", "c1"]


async def test_a_started_call_is_run_again_only_if_its_effect_allows_it(store: ThreadStore) -> None:
    await crash(store, asked("once", "read", "idempotent"), started=("c0", "c1", "c2"))
    ran: Ran = []
    assert results(await resumed(store, ran)) == [UNKNOWN_OUTCOME, "ran c1", "ran c2"]
    assert sorted(call for call, _ in ran) == ["c1", "c2"]


async def test_a_started_call_of_a_tool_that_is_gone_is_not_run(store: ThreadStore) -> None:
    await crash(store, asked("removed"), started=("c0",))
    assert results(await resumed(store, [])) == [UNKNOWN_OUTCOME]


async def test_only_unanswered_calls_are_run_and_results_keep_their_order(store: ThreadStore) -> None:
    await crash(store, asked("once", "once", "once"), result_of("c1", "before the crash"), started=("c1",))
    ran: Ran = []
    assert results(await resumed(store, ran)) == ["ran c0", "before the crash", "ran c2"]
    assert sorted(call for call, _ in ran) == ["c0", "c2"]


async def test_after_all_results_the_model_is_asked(store: ThreadStore) -> None:
    await crash(store, asked("once"), result_of("c0", "kept"), started=("c0",))
    ran: Ran = []
    assert results(await resumed(store, ran)) == ["kept"]
    assert ran == []


async def test_a_finished_call_whose_result_was_removed_is_not_run_again(store: ThreadStore) -> None:
    ran: Ran = []
    agent = Agent(model=ScriptedModel(["one"]), tools=tools(ran), thread_store=store)
    await crash(store, asked("once"))
    thread = await store.get_thread("t")
    await agent.go(thread)
    del thread.messages[2:]
    await store.save_thread(thread)
    assert results(await resumed(store, ran)) == [UNKNOWN_OUTCOME]
    assert len(ran) == 1


async def test_calls_of_a_message_that_someone_removed_meanwhile_are_not_started(store: ThreadStore) -> None:
    await crash(store, asked("once"))
    thread = await store.get_thread("t")
    async with store.turn(await store.get_thread("t")) as turn:
        del thread.messages[1]
        await store.save_thread(thread)
        with pytest.raises(ThreadConflict, match=r"'asked' of thread 't', .* was removed by someone else"):
            await turn.start_calls("asked", ["c0"])


async def test_new_input_behind_a_crash_comes_after_the_open_calls(store: ThreadStore) -> None:
    """A webhook brings the next message before anyone resumed: the calls are resolved first, in their place."""
    await crash(store, asked("once", "read"), Message(role="user", content="and this"), started=("c0",))
    ran: Ran = []
    model = ScriptedModel(["done"])
    stored = await resumed(store, ran, model)
    assert [m.role for m in stored.messages] == ["user", "assistant", "tool", "tool", "user", "assistant"]
    assert results(stored) == [UNKNOWN_OUTCOME, "ran c1"]
    assert model.requests[0].messages[-1] == {"role": "user", "content": "and this"}


async def test_the_idempotency_key_is_the_same_when_a_call_runs_again(store: ThreadStore) -> None:
    first: Ran = []
    keys = []
    entered = asyncio.Event()

    @tool(name="idempotent", effect="idempotent")
    async def dies(ctx: ToolContext) -> None:
        keys.append(ctx.idempotency_key)
        entered.set()
        await asyncio.Event().wait()

    await crash(store, asked("idempotent"))
    lost = asyncio.create_task(
        Agent(model=ScriptedModel([]), tools=[dies], thread_store=store).go(await store.get_thread("t"))
    )
    await entered.wait()
    # As kill -9 would leave it: the started row is there, no result is.
    await take_over(store)
    await resumed(store, first)
    lost.cancel()
    await asyncio.wait([lost])
    assert [key for _, key in first] == keys
    assert len((await store.get_thread("t")).messages) == 4, "the run that lost its turn wrote nothing more"


async def take_over(store: ThreadStore) -> None:
    """Pass the lease on, already expired: what the clock does to a process that was killed on another host."""
    thread = await store.get_thread("t")
    assert thread._baseline is not None
    ref = ThreadRef("", "t", thread._baseline.key)
    other = '{"machine": "other", "host": "other", "pid": 1, "started": "1"}'

    async def expire(tx: Transaction, _attempt: int) -> None:
        lease = await tx.lease(ref)
        assert lease is not None
        assert ref.key is not None
        assert await tx.take_lease(ref.key, lease.fence, other, timedelta(seconds=-1))

    await store._backend.run(expire, write=True)
