"""An agent as a tool of another agent, on every backend: its thread, and what the calling model reads."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from narrator import FileStore, ThreadStore
from tests.tyler.delegating import (
    asked,
    asking,
    children,
    context,
    researcher,
    results,
    tell,
)
from tyler import (
    Agent,
    Budget,
    ModelRefused,
    TextDelta,
    ToolContext,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    delegate_to,
)
from tyler.budget import Limit
from tyler.delegation import _UNFINISHED, MAX_DEPTH
from tyler.model import Reply, Request
from tyler.result import Status
from tyler.testing import Line, ScriptedModel, calls


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


async def test_any_words_are_a_task_and_any_ids_name_its_thread(store: ThreadStore) -> None:
    for number, task in enumerate(["a\x00b", " ", "long " * 40_000, '{"task": 1}', "\u202e\x1b[2J"]):
        long = "/\U0001f600" * 3_000 + str(number)
        odd = replace(context(store, long), call_id="signature" * 500, thread_id=long[-200:])
        made = delegate_to(Agent("\U0001f600" * 99, model=ScriptedModel(["\x1b[2J ok \x00"])))
        first = await made.call(json.dumps({"task": task}), odd)
        assert await made.call(json.dumps({"task": task}), odd) == first
        assert (first.content, first.failed) == ("\x1b[2J ok \ufffd", False)
        assert len(await children(store, odd.thread_id)) == 1


async def test_a_task_without_words_is_not_begun() -> None:
    store = await ThreadStore.create()
    parent = Agent(model=asking(""), tools=[delegate_to(researcher())], thread_store=store)
    assert "ask_researcher was not run" in results((await parent.go(asked())).thread)[0]
    assert await children(store) == []


async def test_a_store_of_another_owner_is_a_failure(store: ThreadStore) -> None:
    child = researcher("Blue.", thread_store=store.for_owner("bob"))
    parent = Agent(model=asking("?"), tools=[delegate_to(child)], thread_store=store)
    assert "OwnerMismatch" in results((await parent.go(asked(owner="ann"))).thread)[0]


class Colour(BaseModel):
    name: str
    dark: bool = False


async def test_an_answer_of_a_given_form_is_json() -> None:
    store = await ThreadStore.create()
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
