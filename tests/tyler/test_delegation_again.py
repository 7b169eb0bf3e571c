"""A delegated task that is interrupted, waits for a human, or is cancelled: what the next run finds, and counts."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

import pytest

from narrator import LeaseLost, Message, StoreUnavailable, Thread, ThreadBusy, ThreadStore, Usage
from narrator.turn import Turn
from tests.tyler.delegating import (
    Shop,
    asked,
    asking,
    buying,
    children,
    context,
    researcher,
    results,
    valid,
)
from tyler import (
    Agent,
    ApprovalNeeded,
    Budget,
    Finished,
    ModelRefused,
    Result,
    ToolContext,
    ToolProgress,
    ToolStarted,
    delegate_to,
    tool,
)
from tyler._run import CANCELLED_UNKNOWN, OUT_OF_TIME_UNKNOWN
from tyler.delegation import MAX_DEPTH
from tyler.model import Reply
from tyler.testing import ScriptedModel, calls


async def test_a_call_that_runs_again_gets_the_recorded_answer_and_its_usage(store: ThreadStore) -> None:
    shop, once = Shop(), Usage(input_tokens=10, output_tokens=1, cost_usd=0.5)
    replies = [Reply(tool_calls=buying(7).tool_calls, usage=once), Reply(content="I have it.", usage=once)]
    made = delegate_to(researcher(*replies, tools=[shop.buy]))
    first = await made.call('{"task": "Buy it"}', context(store))
    for _ in range(MAX_DEPTH + 1):  # one behind the other: none is deeper than the one before
        assert await made.call('{"task": "Buy it"}', context(store)) == first
    assert (first.content, first.usage, shop.bought) == ("I have it.", once + once, [7])
    with pytest.raises(AssertionError, match="is over, and request 3 came"):
        await made.call('{"task": "Buy it"}', context(store, "parent/message/other"))


async def test_usage_is_that_of_the_task_and_not_of_what_others_add(store: ThreadStore) -> None:
    usage = Usage(input_tokens=10)
    child = researcher(Reply(content="Blue.", usage=usage), Reply(content="Yes.", usage=usage), thread_store=store)
    await delegate_to(child).call('{"task": "?"}', context(store))
    (thread,) = await children(store)
    thread.add_message(Message(role="user", content="Are you sure?"))
    await child.go(thread)
    again = await delegate_to(child).call('{"task": "?"}', context(store))
    assert (again.content, again.usage) == ("Blue.", usage)


async def test_a_model_that_fails_has_used_up_what_it_used_up() -> None:
    store = await ThreadStore.create()
    shop = Shop()
    reply = Reply(tool_calls=buying(7).tool_calls, usage=Usage(input_tokens=10))
    made = delegate_to(researcher(reply, ModelRefused("no"), tools=[shop.buy]))
    result = await made.call('{"task": "?"}', context(store))
    assert (result.failed, result.usage) == (True, Usage(input_tokens=10))


async def test_the_callers_run_counts_what_its_agents_used() -> None:
    store = await ThreadStore.create()
    spent = Usage(input_tokens=100, cost_usd=0.25)
    child = researcher(Reply(content="Blue.", usage=spent))
    wish = Reply(tool_calls=calls(("ask_researcher", {"task": "?"})).tool_calls, usage=spent)
    parent = Agent(model=ScriptedModel([wish]), tools=[delegate_to(child)], thread_store=store)
    result = await parent.go(asked(), budget=Budget(tokens=150))
    assert (result.status, result.usage) == ("token_limit", spent + spent)


async def test_an_agent_of_unknown_usage_leaves_the_callers_cost_known() -> None:
    wish = Reply(tool_calls=calls(("ask_researcher", {"task": "?"})).tool_calls, usage=Usage(cost_usd=0.25))
    parent = Agent(
        model=ScriptedModel([wish, Reply(content="Done.", usage=Usage(cost_usd=0.25))]),
        tools=[delegate_to(researcher("Blue."))],
    )
    assert (await parent.go("Find it out")).usage.cost_usd == 0.5


async def test_a_store_that_is_away_ends_the_run_and_the_call_is_taken_up_later(
    store: ThreadStore, tmp_path: Path
) -> None:
    shop, url = Shop(), f"sqlite+aiosqlite:///{tmp_path}/own.db"

    @tool
    async def lose() -> str:
        """Lose the database."""
        (tmp_path / "own.db").rename(tmp_path / "away.db")
        return "lost"

    @tool
    async def slow() -> str:
        """Take some time."""
        while not (tmp_path / "away.db").exists():
            await asyncio.sleep(0.01)
        return "slow"

    wish = calls(("ask_researcher", {"task": "?"}), ("slow", {}))
    async with await ThreadStore.create(url) as own:
        child = researcher(buying(7), calls(("lose", {})), tools=[shop.buy, lose], thread_store=own)
        parent = Agent(model=ScriptedModel([wish]), tools=[delegate_to(child), slow], thread_store=store)
        with pytest.raises(StoreUnavailable):
            await parent.go(asked())
    assert results(await store.get_thread("parent")) == ["slow"]
    (tmp_path / "away.db").rename(tmp_path / "own.db")
    async with await ThreadStore.create(url) as own:
        child = researcher("I have it.", tools=[shop.buy, lose], thread_store=own)
        parent = Agent(model=ScriptedModel(["Done."]), tools=[delegate_to(child), slow], thread_store=store)
        result = await parent.go(await store.get_thread("parent"))
    assert (result.content, results(result.thread), shop.bought) == ("Done.", ["I have it.", "slow"], [7])


async def test_a_turn_that_was_lost_ends_the_run_and_the_call_stays_open(store: ThreadStore) -> None:
    async def vanish(ctx: ToolContext) -> str:
        """Delete the thread under the run."""
        assert ctx.thread_store is not None
        await ctx.thread_store.delete_thread(ctx.thread_id)
        return "gone"

    child = Agent("researcher", model=ScriptedModel([calls(("vanish", {})), "Blue."]), tools=[vanish])
    parent = Agent(model=asking("?"), tools=[delegate_to(child)], thread_store=store)
    with pytest.raises(LeaseLost, match="delegated-"):
        await parent.go(asked())
    result = await parent.go(await store.get_thread("parent"))
    assert (result.content, results(result.thread)) == ("Done.", ["Blue."])


class Impatient(ThreadStore):
    """Its runs do not wait for their turn."""

    def turn(
        self, thread: Thread, *, wait_s: float = 60, lease: timedelta = timedelta(seconds=30)
    ) -> AbstractAsyncContextManager[Turn]:
        """See ThreadStore.turn."""
        return super().turn(thread, wait_s=0.05, lease=lease)


async def test_a_task_that_another_run_works_on_ends_the_run_and_is_taken_up_later(store_url: str | None) -> None:
    shop = Shop(needs_approval=True)
    async with await Impatient.create(store_url) as store:
        child = researcher(buying(7), "I have it.", tools=[shop.buy])
        parent = Agent(model=asking("?"), tools=[delegate_to(child)], thread_store=store)
        (pending,) = (await parent.go(asked())).pending
        await store.decide(pending.id, approved=True)
        async with store.turn(await store.get_thread(pending.thread_id)):
            with pytest.raises(ThreadBusy, match="delegated-"):
                await parent.go(await store.get_thread("parent"))
        assert shop.bought == []
        result = await parent.go(await store.get_thread("parent"))
    assert (result.content, results(result.thread), shop.bought) == ("Done.", ["I have it."], [7])


async def test_two_runs_of_one_call_at_once_do_the_task_once(store: ThreadStore) -> None:
    shop = Shop()
    made = delegate_to(researcher(buying(7), "I have it.", tools=[shop.buy]))
    both = await asyncio.gather(*(made.call('{"task": "Buy it"}', context(store)) for _ in range(2)))
    assert (both[0], both[0].content, shop.bought) == (both[1], "I have it.", [7])


# -- approvals -------------------------------------------------------------------------------------


async def test_a_call_that_waits_within_pauses_the_caller_too(store: ThreadStore) -> None:
    shop, spent = Shop(needs_approval=True), Usage(input_tokens=10)

    @tool
    async def look_up() -> str:
        """Look it up."""
        return "looked up"

    wish = calls(("look_up", {}), ("ask_researcher", {"task": "Buy two"}), ("look_up", {}))
    child = researcher(
        Reply(tool_calls=buying(1, 2).tool_calls, usage=spent), Reply(content="I have both.", usage=spent)
    )
    child.tools_by_name["buy"] = shop.buy
    parent = Agent(model=ScriptedModel([wish, "Done."]), tools=[delegate_to(child), look_up], thread_store=store)
    events = [event async for event in parent.stream(asked())]
    assert isinstance(events[-1], Finished)
    result = events[-1].result
    assert (result.status, results(result.thread)) == ("awaiting_approval", ["looked up", "looked up"])
    (thread,) = await children(store)
    assert [(p.tool_name, p.thread_id) for p in result.pending] == [("buy", thread.id)] * 2
    assert [event.pending for event in events if isinstance(event, ApprovalNeeded)] == result.pending
    assert {pending.id for pending in await store.pending_calls()} == {pending.id for pending in result.pending}

    again = await parent.go(await store.get_thread("parent"))
    assert (again.status, again.pending, again.new_messages) == ("awaiting_approval", result.pending, [])
    await store.decide(result.pending[0].id, approved=True)
    again = await parent.go(await store.get_thread("parent"))
    assert (again.status, again.pending, shop.bought) == ("awaiting_approval", result.pending[1:], [1])
    await store.decide(result.pending[1].id, approved=False, reason="one is enough")
    done = await parent.go(await store.get_thread("parent"))
    assert (done.status, done.pending, shop.bought) == ("completed", [], [1])
    assert results(done.thread) == ["looked up", "I have both.", "looked up"]
    assert done.usage == spent + spent
    assert valid(await store.get_thread("parent"))
    assert valid(await store.get_thread(thread.id))


async def test_the_caller_and_its_agent_may_wait_at_once_and_through_a_third(store: ThreadStore) -> None:
    shop = Shop(needs_approval=True)
    buyer = Agent("buyer", model=ScriptedModel([buying(1), "bought"]), tools=[shop.buy])
    child = researcher(calls(("ask_buyer", {"task": "Buy it"})), "I have it.", tools=[delegate_to(buyer)])
    wish = calls(("ask_researcher", {"task": "?"}), ("buy", {"number": 2}))
    parent = Agent(model=ScriptedModel([wish, "Done."]), tools=[delegate_to(child), shop.buy], thread_store=store)
    result = await parent.go(asked())
    assert result.status == "awaiting_approval"
    assert sorted(json.loads(p.call.arguments)["number"] for p in result.pending) == [1, 2]
    for pending in result.pending:
        await store.decide(pending.id, approved=True)
    done = await parent.go(await store.get_thread("parent"))
    assert (done.content, results(done.thread)) == ("Done.", ["I have it.", "bought 2"])
    assert sorted(shop.bought) == [1, 2]


async def test_a_caller_without_a_store_waits_too(store: ThreadStore) -> None:
    shop = Shop(needs_approval=True)
    child = researcher(buying(1), "I have it.", tools=[shop.buy], thread_store=store)
    parent = Agent(model=asking("?"), tools=[delegate_to(child)])
    first = await parent.go(asked())
    assert (first.status, shop.bought) == ("awaiting_approval", [])
    await store.decide(first.pending[0].id, approved=True)
    done = await parent.go(first.thread)
    assert (done.content, results(done.thread), shop.bought) == ("Done.", ["I have it."], [1])


async def test_to_delegate_may_itself_need_a_human(store: ThreadStore) -> None:
    shop = Shop(needs_approval=True)
    child = researcher(buying(1), "I have it.", tools=[shop.buy])
    parent = Agent(model=asking("?"), tools=[delegate_to(child)], thread_store=store, approve="ask")
    names = []
    result: Result = await parent.go(asked())
    while result.pending:
        names += [pending.tool_name for pending in result.pending]
        await store.decide(result.pending[0].id, approved=True)
        result = await parent.go(await store.get_thread("parent"))
    assert names == ["ask_researcher", "buy"]  # each once: the first approval was used, and stands
    assert (result.content, shop.bought) == ("Done.", [1])


# -- the end of the calling run --------------------------------------------------------------------


async def hang() -> None:
    """Hang."""
    await asyncio.sleep(60)


async def test_cancelled_with_the_caller_its_thread_is_whole(store: ThreadStore) -> None:
    child = Agent("researcher", model=ScriptedModel([calls(("hang", {})), "next"]), tools=[hang], thread_store=store)
    parent = Agent(model=asking("?"), tools=[delegate_to(child)], thread_store=store)

    async def run(under_way: asyncio.Event) -> None:
        async for event in parent.stream(asked()):
            if isinstance(event, ToolProgress) and isinstance(event.data, ToolStarted):
                under_way.set()

    under_way = asyncio.Event()
    task = asyncio.create_task(run(under_way))
    await under_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (thread,) = await children(store)
    assert results(thread) == results(await store.get_thread("parent")) == [CANCELLED_UNKNOWN]
    assert valid(thread)
    assert (await child.go(thread, wait_s=1)).content == "next"  # its turn was given back


async def test_the_callers_time_is_its_agents_time(store: ThreadStore) -> None:
    child = Agent("researcher", model=ScriptedModel([calls(("hang", {}))]), tools=[hang])
    parent = Agent(model=asking("?"), tools=[delegate_to(child)], thread_store=store)
    result = await parent.go(asked(), budget=Budget(seconds=0.3))
    assert (result.status, results(result.thread)) == ("time_limit", [OUT_OF_TIME_UNKNOWN])
    (thread,) = await children(store)
    assert results(thread) == [CANCELLED_UNKNOWN]


async def test_time_that_ends_while_an_agent_waits_leaves_its_call_open() -> None:
    store = await ThreadStore.create()
    shop = Shop(needs_approval=True)
    child = researcher(buying(1), "I have it.", tools=[shop.buy])
    wish = calls(("ask_researcher", {"task": "?"}), ("hang", {}))
    parent = Agent(model=ScriptedModel([wish, "Done."]), tools=[delegate_to(child), hang], thread_store=store)
    result = await parent.go(asked(), budget=Budget(seconds=0.5))
    assert (result.status, results(result.thread)) == ("awaiting_approval", [OUT_OF_TIME_UNKNOWN])
    await store.decide(result.pending[0].id, approved=True)
    assert results((await parent.go(result.thread)).thread) == ["I have it.", OUT_OF_TIME_UNKNOWN]


async def test_a_budget_of_the_task_is_its_own() -> None:
    store = await ThreadStore.create()
    child = Agent("researcher", model=ScriptedModel([calls(("hang", {}), content="So far")]), tools=[hang])
    made = delegate_to(child, budget=Budget(seconds=0.2))
    parent = Agent(model=asking("?"), tools=[made], thread_store=store)
    result = await parent.go(asked())
    assert result.content == "Done."
    assert results(result.thread)[0].endswith("its time was used up (time_limit). What it said last:\nSo far")
