"""`thread.usage`: what a conversation took, and what is not known of it."""

from __future__ import annotations

import pytest

from narrator import Message, Thread, ThreadStore, Usage
from tyler import Agent, Budget, Reply
from tyler.testing import ScriptedModel, calls

DEAR = Usage(input_tokens=100, output_tokens=20, cached_tokens=40, reasoning_tokens=5, cost_usd=0.25)
CHEAP = Usage(input_tokens=10, output_tokens=2, cached_tokens=4, reasoning_tokens=1, cost_usd=0.5)


def answer(usage: Usage | None) -> Message:
    return Message(role="assistant", content="an answer", usage=usage)


def question() -> Message:
    return Message(role="user", content="a question")


async def test_a_threads_usage_is_that_of_its_messages_and_survives_the_store(store: ThreadStore) -> None:
    tool = Message(role="tool", content="asked a model", tool_call_id="1", usage=CHEAP)
    thread = Thread(messages=[question(), answer(DEAR), tool, answer(DEAR)])
    total = Usage(input_tokens=210, output_tokens=42, cached_tokens=84, reasoning_tokens=11, cost_usd=1.0)
    assert thread.usage == total
    await store.save_thread(thread)
    loaded = await store.get_thread(thread.id)
    assert loaded.usage == total
    loaded.add_message(answer(CHEAP))
    await store.save_thread(loaded)
    assert (await store.get_thread(thread.id)).usage == total + CHEAP


def test_a_thread_without_any_usage_has_no_cost() -> None:
    assert Thread().usage == Usage()
    assert Thread(messages=[question()]).usage == Usage(cost_usd=None)


@pytest.mark.parametrize("unknown", [None, Usage(input_tokens=7)])
@pytest.mark.parametrize("place", [0, 1])
def test_one_answer_of_unknown_cost_makes_the_sum_unknown(unknown: Usage | None, place: int) -> None:
    answers = [answer(DEAR)]
    answers.insert(place, answer(unknown))
    usage = Thread(messages=[question(), *answers]).usage
    assert usage.cost_usd is None
    assert usage.input_tokens == 100 + (unknown.input_tokens if unknown else 0)


def test_an_answer_by_hand_costs_what_it_says() -> None:
    greeting = Message(role="assistant", content="Hello!", usage=Usage(cost_usd=0))
    assert Thread(messages=[greeting, question(), answer(DEAR)]).usage == DEAR


async def test_an_interrupted_answer_makes_the_cost_unknown(store: ThreadStore) -> None:
    model = ScriptedModel([Reply(content="first", usage=DEAR), "cut short", Reply(content="second", usage=DEAR)])
    agent = Agent(model=model, thread_store=store)
    thread = (await agent.go("one")).thread
    thread.add_message(question())
    stream = agent.stream(thread)
    await anext(stream)
    await stream.aclose()
    await agent.go(thread)
    loaded = await store.get_thread(thread.id)
    assert [m.text for m in loaded.messages if m.role == "assistant"] == ["first", "cut", "second"]
    assert loaded.usage == Usage(**{**(DEAR + DEAR).model_dump(), "cost_usd": None})


async def test_a_run_whose_cost_is_unknown_ends_where_cost_is_limited() -> None:
    model = ScriptedModel([Reply(tool_calls=calls(("f", {})).tool_calls, usage=DEAR), calls(("f", {})), "not asked"])

    def f() -> str:
        """Do."""
        return "done"

    result = await Agent(model=model, tools=[f], budget=Budget(cost_usd=100)).go("go")
    assert (result.status, result.usage.cost_usd, len(model.requests)) == ("cost_limit", None, 2)


def test_a_notebook_shows_the_tokens() -> None:
    shown = Thread(title="<b>", messages=[question(), answer(DEAR)])._repr_html_()
    assert "<caption>&lt;b&gt; (120 tokens)</caption>" in shown
    assert "tokens" not in Thread(title="x", messages=[question()])._repr_html_()
