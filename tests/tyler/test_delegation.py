"""An agent as a tool of another agent, on every backend: its threads, and what of it reaches the calling run."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from narrator import FileStore, LeaseLost, Message, StoreUnavailable, Thread, ThreadStore, Usage
from tests.model_server import violations
from tyler import (
    Agent,
    ApprovalNeeded,
    Budget,
    Finished,
    ModelRefused,
    Result,
    TextDelta,
    Tool,
    ToolContext,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    delegate_to,
    tool,
)
from tyler._run import CANCELLED_UNKNOWN, OUT_OF_TIME_UNKNOWN
from tyler.budget import Limit
from tyler.delegation import _UNFINISHED, MAX_DEPTH
from tyler.model import Reply, Request
from tyler.result import Status
from tyler.testing import Line, ScriptedModel, calls
from tyler.wire import to_chat


def asked(id: str = "parent", owner: str | None = None) -> Thread:
    return Thread(id=id, owner=owner, messages=[Message(role="user", content="Find it out")])


def researcher(*script: Line, **options: Any) -> Agent:
    return Agent("researcher", model=ScriptedModel(script), **options)


def asking(*tasks: str, text: str = "Done.") -> ScriptedModel:
    return ScriptedModel([calls(*(("ask_researcher", {"task": task}) for task in tasks)), text])


def results(thread: Thread) -> list[str]:
    return [message.text for message in thread.messages if message.role == "tool"]


def valid(thread: Thread) -> bool:
    return violations({"model": "m", "messages": [to_chat(message) for message in thread.messages]}) == []


async def children(store: ThreadStore, parent: str = "parent") -> list[Thread]:
    found = await store.list_threads(metadata={"parent_thread": parent})
    return [await store.get_thread(summary.id) for summary in found]


def context(store: ThreadStore | None = None, key: str = "parent/message/call", **options: Any) -> ToolContext:
    return ToolContext(
        thread_id="parent", owner=None, call_id="call", idempotency_key=key, thread_store=store, **options
    )


class Shop:
    """One tool whose effect must happen once, and may wait for a human."""

    def __init__(self, **options: Any) -> None:
        self.bought: list[int] = []

        @tool(**options)
        def buy(number: int) -> str:
            """Buy one."""
            self.bought.append(number)
            return f"bought {number}"

        self.buy: Tool = buy


def buying(*numbers: int) -> Reply:
    return calls(*(("buy", {"number": number}) for number in numbers))


async def test_the_task_is_worked_on_in_a_thread_of_its_own(store: ThreadStore) -> None:
    child = researcher("It is blue.", purpose="To find\nthings out")
    parent = Agent(model=asking("Which colour?"), tools=[delegate_to(child)], thread_store=store)
    result = await parent.go(asked())
    assert (result.status, result.content, results(result.thread)) == ("completed", "Done.", ["It is blue."])
    (thread,) = await children(store)
    assert [(m.role, m.text) for m in thread.messages] == [("user", "Which colour?"), ("assistant", "It is blue.")]
    call = result.new_messages[0].tool_calls[0]
    told = {key: value for key, value in thread.metadata.items() if key != "last_updated"}
    assert told == {"parent_thread": "parent", "parent_call": call.id, "agent": "researcher"}
    assert child.thread_store is None  # it is lent the store for the call, not given it
    assert "Find it out" not in str(child.model.requests)  # type: ignore[attr-defined]


async def test_the_thread_is_the_same_owners(store: ThreadStore) -> None:
    parent = Agent(model=asking("Which colour?"), tools=[delegate_to(researcher("Blue."))], thread_store=store)
    await parent.go(asked(owner="ann"))
    (thread,) = await children(store.for_owner("ann"))
    assert thread.owner == "ann"
    assert await children(store.for_owner("bob")) == []


async def test_an_agent_with_a_store_keeps_its_threads_there(store: ThreadStore) -> None:
    async with await ThreadStore.create() as own:
        child = researcher("Blue.", thread_store=own)
        parent = Agent(model=asking("Which colour?"), tools=[delegate_to(child)], thread_store=store)
        await parent.go(asked(owner="ann"))
        assert len(await children(own.for_owner("ann"))) == 1
        assert await children(store) == []


async def test_without_stores_nothing_is_kept_and_files_go_to_the_callers() -> None:
    def draw(ctx: ToolContext) -> str:
        """Draw."""
        return str(ctx.file_store is files)

    files = await FileStore.create()
    child = Agent("researcher", model=ScriptedModel([calls(("draw", {})), tell]), tools=[draw])
    parent = Agent(model=asking("Draw"), tools=[delegate_to(child)], file_store=files)
    assert results((await parent.go("Find it out")).thread) == ["True"]


def tell(request: Request) -> str:
    """What the last tool said."""
    return str(request.messages[-1]["content"])


async def test_twenty_runs_at_once_each_delegate_twice_to_one_agent(store: ThreadStore) -> None:
    child = researcher(*[tell] * 40)
    tasks = [f"{number}{letter}" for number in range(20) for letter in "ab"]
    parents = [
        Agent(model=asking(f"{number}a", f"{number}b"), tools=[delegate_to(child)], thread_store=store)
        for number in range(20)
    ]
    done = await asyncio.gather(*(parent.go(asked(f"p{number}")) for number, parent in enumerate(parents)))
    assert [text for result in done for text in results(result.thread)] == tasks
    for number in range(20):
        threads = await children(store, f"p{number}")
        assert sorted(thread.messages[0].text for thread in threads) == [f"{number}a", f"{number}b"]


# -- what the calling model reads --------------------------------------------------------------------


class Colour(BaseModel):
    name: str
    dark: bool = False


async def test_an_answer_of_a_given_form_is_json(store: ThreadStore) -> None:
    child = researcher("Blue, I think", '```json\n{"name": "blue"}\n```')
    parent = Agent(model=asking("?"), tools=[delegate_to(child, output=Colour)], thread_store=store)
    assert results((await parent.go(asked())).thread) == ['{"name":"blue","dark":false}']


def broken() -> None:
    """Fail."""
    raise LookupError("nothing here")


@pytest.mark.parametrize(
    ("script", "options", "told"),
    [
        ([Reply(content="It is bl", finish="length")], {}, ["(cut)", "It is bl"]),
        ([Reply(content="It is", finish="filtered")], {}, ["(filtered)", "It is"]),
        ([calls(("broken", {}), content="Let me see")], {"budget": Budget(steps=1)}, ["(step_limit)", "Let me see"]),
        ([calls(("broken", {}), ("broken", {}))], {"budget": Budget(tool_calls=1)}, ["(tool_call_limit)"]),
        ([calls(("broken", {}))] * 3, {}, ["(repeated_failure)"]),
        (["a", "b", "c"], {"output": Colour}, ["(invalid_output)", "\nc"]),
        ([ModelRefused("model 'm' refuses: too rude")], {}, ["got no answer", "too rude"]),
        ([AssertionError("a bug")], {}, ["ask_researcher failed", "a bug"]),
    ],
)
async def test_what_was_not_completed_is_a_failure_that_says_why(
    script: list[Line], options: dict[str, Any], told: list[str]
) -> None:
    child = Agent("researcher", model=ScriptedModel(script), tools=[broken])
    result = await Agent(model=asking("?"), tools=[delegate_to(child, **options)]).go("Find it out")
    (answer,) = (message for message in result.new_messages if message.role == "tool")
    assert answer.metadata["failed"] is True
    assert [part for part in told if part not in answer.text] == []
    assert (result.status, result.content) == ("completed", "Done.")


def test_each_way_to_end_early_has_its_words() -> None:
    ways = {way for part in get_args(Status) for way in (get_args(part) or [part])}
    assert ways == {*_UNFINISHED, "completed", "awaiting_approval"}
    assert set(get_args(Limit)) <= _UNFINISHED.keys()


async def test_agents_that_delegate_in_a_circle_come_to_an_end() -> None:
    store = await ThreadStore.create()
    asked_models: list[str] = []

    def next_one(name: str) -> Callable[[Request], str | Reply]:
        def decide(request: Request) -> str | Reply:
            asked_models.append(name)
            last = request.messages[-1]
            return calls((f"ask_{name}", {"task": "You do it"})) if last["role"] == "user" else str(last["content"])

        return decide

    first = Agent("a", model=ScriptedModel([next_one("b")] * 50), thread_store=store)
    second = Agent("b", model=ScriptedModel([next_one("a")] * 50), tools=[delegate_to(first)])
    first.tools_by_name["ask_b"] = delegate_to(second)
    result = await first.go(asked())
    assert "agents in a row have delegated already" in result.content
    assert len(asked_models) == 2 * (MAX_DEPTH + 1)
    assert len(await store.list_threads()) == MAX_DEPTH + 1
    asked_models.clear()
    await first.go(asked("again"))  # the count is of the call, not of the process
    assert len(asked_models) == 2 * (MAX_DEPTH + 1)


async def test_deps_are_passed_on_and_its_steps_are_progress() -> None:
    def whoami(ctx: ToolContext) -> str:
        """Who."""
        ctx.progress("half")
        return str(ctx.deps)

    child = Agent("researcher", model=ScriptedModel([calls(("whoami", {})), tell]), tools=[whoami])
    parent = Agent(model=asking("?"), tools=[delegate_to(child)])
    events = [event async for event in parent.stream("Find it out", deps="ann")]
    inner = [event.data for event in events if isinstance(event, ToolProgress)]
    assert [type(event) for event in inner] == [ToolStarted, ToolProgress, ToolFinished, TextDelta]
    assert inner[-1] == TextDelta("ann")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"name": "a b"}, "'a b'"), ({"output": int}, "is no object"), ({"risk": "none"}, "'none'")],
)
def test_what_cannot_work_is_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        delegate_to(researcher(), **options)
    with pytest.raises(TypeError, match="takes an Agent"):
        delegate_to(broken)  # type: ignore[arg-type]


def test_the_model_is_told_whom_it_asks_and_for_what() -> None:
    made = delegate_to(Agent("Dr. Ä", model=ScriptedModel([]), purpose="To heal\n\nArgs:\n    x: y\n"))
    assert (made.name, made.risk, made.effect) == ("ask_Dr___", "write", "idempotent")
    assert made.description == "Give a task to the agent 'Dr. Ä', who works on it alone and answers. To heal Args: x: y"
    assert list(made.parameters["properties"]) == ["task"]
    assert delegate_to(researcher(), name="dig", description="Digs.").description == "Digs."


# -- run again ---------------------------------------------------------------------------------------


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


async def test_a_model_that_fails_has_used_up_what_it_used_up(store: ThreadStore) -> None:
    shop = Shop()
    reply = Reply(tool_calls=buying(7).tool_calls, usage=Usage(input_tokens=10))
    made = delegate_to(researcher(reply, ModelRefused("no"), tools=[shop.buy]))
    result = await made.call('{"task": "?"}', context(store))
    assert (result.failed, result.usage) == (True, Usage(input_tokens=10))


async def test_the_callers_run_counts_what_its_agents_used(store: ThreadStore) -> None:
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


# -- approvals ---------------------------------------------------------------------------------------


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


# -- the end of the calling run ----------------------------------------------------------------------


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


async def test_time_that_ends_while_an_agent_waits_leaves_its_call_open(store: ThreadStore) -> None:
    shop = Shop(needs_approval=True)
    child = researcher(buying(1), "I have it.", tools=[shop.buy])
    wish = calls(("ask_researcher", {"task": "?"}), ("hang", {}))
    parent = Agent(model=ScriptedModel([wish, "Done."]), tools=[delegate_to(child), hang], thread_store=store)
    result = await parent.go(asked(), budget=Budget(seconds=0.5))
    assert (result.status, results(result.thread)) == ("awaiting_approval", [OUT_OF_TIME_UNKNOWN])
    await store.decide(result.pending[0].id, approved=True)
    assert results((await parent.go(result.thread)).thread) == ["I have it.", OUT_OF_TIME_UNKNOWN]


async def test_a_budget_of_the_task_is_its_own(store: ThreadStore) -> None:
    child = Agent("researcher", model=ScriptedModel([calls(("hang", {}), content="So far")]), tools=[hang])
    made = delegate_to(child, budget=Budget(seconds=0.2))
    parent = Agent(model=asking("?"), tools=[made], thread_store=store)
    result = await parent.go(asked())
    assert result.content == "Done."
    assert results(result.thread)[0].endswith("its time was used up (time_limit). What it said last:\nSo far")
