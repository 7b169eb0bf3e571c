"""P14: a run that gets nowhere, or has used up its steps, ends with a valid thread and a status that says which."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import count
from typing import Any

import pytest

from narrator import ConfigurationError, Message, Thread, ThreadStore, Usage
from tests.model_server import violations
from tyler import Agent, Budget
from tyler._run import OUT_OF_TIME, OUT_OF_TIME_UNKNOWN
from tyler.model import Reply, Request
from tyler.testing import ScriptedModel, calls
from tyler.wire import to_chat

ATTEMPTS = count(1)


def good(n: int = 0) -> str:
    return "fine"


def bad(path: str = "a", line: int = 0) -> None:
    raise FileNotFoundError("no such file")


def bad_each_time_otherwise() -> None:
    raise TimeoutError(f"attempt {next(ATTEMPTS)} failed")


Step = list[tuple[str, dict[str, Any]]] | str  # the calls of one answer, or its text


async def run(store: ThreadStore, script: Sequence[Step], **options: Any) -> tuple[str, int, Thread]:
    """The status, how often the model was asked, and the stored thread, which is valid."""
    model = ScriptedModel([step if isinstance(step, str) else calls(*step) for step in script])
    agent = Agent(model=model, tools=[good, bad, bad_each_time_otherwise], thread_store=store, **options)
    result = await agent.go(Thread(id="t", messages=[Message(id="input", role="user", content="go")]))
    stored = await store.get_thread("t")
    assert result.thread.messages == stored.messages
    assert violations({"model": "m", "messages": [to_chat(m) for m in stored.messages]}) == []
    return result.status, len(model.requests), stored


A_BAD = ("bad", {"path": "a", "line": 1})
STUCK: dict[str, list[Step]] = {
    "the same call": [[A_BAD]] * 3,
    "keys in another order": [[A_BAD], [("bad", {"line": 1, "path": "a"})], [A_BAD]],
    "at once": [[A_BAD, A_BAD, A_BAD]],
    "beside one that succeeds": [[("good", {}), A_BAD]] * 3,
    "in turns with other failures": [[A_BAD], [("nobody", {})], [A_BAD], [("nope", {})], [A_BAD]],
    "in other words each time": [[("bad_each_time_otherwise", {})]] * 3,
    "a tool that does not exist": [[("nobody", {"n": 1})]] * 3,
    "arguments that are wrong": [[("good", {"n": "x"})]] * 3,
}


@pytest.mark.parametrize("what", STUCK)
async def test_three_identical_failing_calls_end_the_run(store: ThreadStore, what: str) -> None:
    status, asked, _ = await run(store, [*STUCK[what], "never said"])
    assert (status, asked) == ("repeated_failure", len(STUCK[what]))


GOING_ON: dict[str, list[Step]] = {
    "other arguments": [[("bad", {"line": number})] for number in range(5)],
    "two failures": [[A_BAD]] * 2,
    "mended between two tries": [[("bad_each_time_otherwise", {})], [("good", {})]] * 4,
    "successes": [[("good", {})]] * 5,
}


@pytest.mark.parametrize("what", GOING_ON)
async def test_other_calls_go_on(store: ThreadStore, what: str) -> None:
    script = [*GOING_ON[what], "done"]
    status, asked, stored = await run(store, script)
    assert (status, asked, stored.messages[-1].text) == ("completed", len(script), "done")


async def test_call_ids_that_a_provider_uses_again_do_not_hide_it() -> None:
    same = calls(A_BAD)
    result = await Agent(model=ScriptedModel([same, same, same, "never said"]), tools=[bad]).go("go")
    assert result.status == "repeated_failure"


async def test_go_takes_the_run_up_again(store: ThreadStore) -> None:
    await run(store, [[A_BAD]] * 3)
    status, asked, stored = await run(store, ["sorry, that file is not there"])
    assert (status, asked) == ("completed", 1)
    assert len(stored.messages) == 8


async def test_steps(store: ThreadStore) -> None:
    status, asked, stored = await run(store, [[("good", {})]] * 3, budget=Budget(steps=2))
    assert (status, asked) == ("step_limit", 2)
    assert [m.role for m in stored.messages] == ["user", "assistant", "tool", "assistant", "tool"]
    assert (await run(store, ["done"]))[0] == "completed"


async def test_fifty_steps_unless_said_otherwise(store: ThreadStore) -> None:
    assert (await run(store, [[("good", {"n": number})] for number in range(51)]))[:2] == ("step_limit", 50)


async def test_tool_calls_beyond_the_budget_are_not_run_and_say_so(store: ThreadStore) -> None:
    three = [("good", {"n": number}) for number in range(3)]
    status, asked, stored = await run(store, [[("good", {})], three, "never said"], budget=Budget(tool_calls=3))
    assert (status, asked) == ("tool_call_limit", 2)
    results = [m.text for m in stored.messages if m.role == "tool"]
    assert results == ["fine"] * 3 + ["This call was not run: the run has used up its 3 tool calls."]


async def test_a_run_may_use_its_last_tool_call_and_answer(store: ThreadStore) -> None:
    assert (await run(store, [[("good", {})], "done"], budget=Budget(tool_calls=1)))[:2] == ("completed", 2)


def said(content: str | None, tokens: int, cost_usd: float | None = None) -> Reply:
    asked = [] if content else calls(("good", {})).tool_calls
    usage = Usage(input_tokens=tokens - 1, output_tokens=1, cost_usd=cost_usd)
    return Reply(content=content, tool_calls=asked, usage=usage)


async def used(budget: Budget, *replies: Reply) -> tuple[str, int]:
    model = ScriptedModel(replies)
    result = await Agent(model=model, tools=[good], budget=budget).go("go")
    assert result.thread.messages[-1].role in ("tool", "assistant")
    return result.status, len(model.requests)


async def test_tokens() -> None:
    budget = Budget(tokens=200)
    assert await used(budget, said(None, 100), said(None, 100), said("never", 1)) == ("token_limit", 2)
    assert await used(budget, said(None, 100), said("whole", 500)) == ("completed", 2)


async def test_cost() -> None:
    budget = Budget(cost_usd=0.02)
    assert await used(budget, said(None, 9, 0.015), said(None, 9, 0.015), said("never", 1)) == ("cost_limit", 2)
    assert await used(budget, said(None, 9, 0.015), said("whole", 9, 0.015)) == ("completed", 2)


async def test_cost_that_nobody_knows_is_not_taken_for_none() -> None:
    assert await used(Budget(cost_usd=100), said(None, 9), said("never", 1)) == ("cost_limit", 1)


class Slow(ScriptedModel):
    """Says two words, then nothing more, unless its script is used."""

    async def stream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        if len(self.requests) < len(SLOW_SCRIPT):
            async for piece in super().stream(request):
                yield piece
            return
        yield "two "
        yield "words "
        await asyncio.Event().wait()


SLOW_SCRIPT = [calls(("good", {}))]


async def test_seconds_stop_a_model_in_mid_answer_and_keep_its_words(store: ThreadStore) -> None:
    agent = Agent(model=Slow(SLOW_SCRIPT), tools=[good], thread_store=store)
    thread = Thread(id="t", messages=[Message(role="user", content="go")])
    result = await agent.go(thread, budget=Budget(seconds=0.2))
    assert (result.status, result.content) == ("time_limit", "two words ")
    stored = await store.get_thread("t")
    assert [m.role for m in stored.messages] == ["user", "assistant", "tool", "assistant"]
    assert stored.messages[-1].metadata == {"interrupted": True}
    assert (await Agent(model=ScriptedModel(["whole"]), thread_store=store).go(stored)).content == "whole"


async def test_seconds_that_pass_without_a_word_are_no_recorded_answer(store: ThreadStore) -> None:
    agent = Agent(model=ScriptedModel(["too late", "whole"], delay_s=0.3), thread_store=store)
    thread = Thread(id="t", messages=[Message(role="user", content="go")])
    result = await agent.go(thread, budget=Budget(seconds=0.05))
    assert (result.status, result.new_messages, result.replayed) == ("time_limit", [], False)
    result = await agent.go(thread)
    assert (result.status, result.content, result.replayed) == ("completed", "whole", False)


async def test_seconds_stop_tools_and_keep_the_results_that_are_there(store: ThreadStore) -> None:
    stopped = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    agent = Agent(
        model=ScriptedModel([calls(("hang", {}), ("good", {})), "next"]),
        tools=[hang, good],
        thread_store=store,
        budget=Budget(seconds=0.2),
    )
    result = await agent.go(Thread(id="t", messages=[Message(role="user", content="go")]))
    assert result.status == "time_limit"
    assert stopped.is_set()
    stored = await store.get_thread("t")
    assert [m.text for m in stored.messages if m.role == "tool"] == [OUT_OF_TIME_UNKNOWN, "fine"]
    assert violations({"model": "m", "messages": [to_chat(m) for m in stored.messages]}) == []
    assert (await agent.go(stored)).content == "next"


async def test_seconds_that_are_over_start_no_tool(store: ThreadStore) -> None:
    class UsesItAllUp(ScriptedModel):
        async def stream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
            async for piece in super().stream(request):
                yield piece
                while loop.time() < ends_at:  # blocks the loop, so that no time-out comes first
                    pass

    loop = asyncio.get_running_loop()
    ends_at = loop.time() + 0.1
    agent = Agent(model=UsesItAllUp([calls(("good", {}))]), tools=[good], thread_store=store)
    result = await agent.go(Thread(id="t", messages=[Message(role="user", content="go")]), budget=Budget(seconds=0.001))
    assert result.status == "time_limit"
    assert [m.text for m in result.new_messages if m.role == "tool"] == [OUT_OF_TIME]


@pytest.mark.parametrize(
    "limits", [{"steps": 0}, {"tool_calls": -1}, {"seconds": float("nan")}, {"tokens": "5"}, {"cost_usd": 0.0}]
)
def test_a_budget_that_cannot_be_is_refused_by_name(limits: dict[str, Any]) -> None:
    (name, value), *_ = limits.items()
    with pytest.raises(ConfigurationError, match=f"the budget's {name} is {value!r}; it must be above 0"):
        Budget(**limits)
