"""Answers of a given form, on every backend: validated, sent back when they do not fit, bounded, replayed."""

import json
from dataclasses import dataclass
from typing import Any, Literal, Self

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from narrator import Message, Thread, ThreadStore
from tests.model_server import violations
from tyler import Agent, Budget, Finished, TextDelta
from tyler.model import Reply, Request
from tyler.output import Output
from tyler.testing import ScriptedModel, calls


class Invoice(BaseModel):
    """An invoice."""

    number: int
    kind: Literal["paid", "open"] = "open"
    positions: list[str] = Field(default_factory=list)


class Node(BaseModel):
    name: str
    children: list[Self] = []


@dataclass
class Point:
    x: int
    y: int


class Place(TypedDict):
    city: str


GOOD = '{"number": 7, "kind": "paid", "positions": ["tea"]}'
BAD = '{"number": "seven"}'


def asked(id: str = "m") -> Thread:
    return Thread(id="t", messages=[Message(id=id, role="user", content="Read it")])


async def test_the_output_is_an_instance_of_the_type(store: ThreadStore) -> None:
    model = ScriptedModel([GOOD])
    result = await Agent(model=model, thread_store=store).go(asked(), output=Invoice)
    assert result.output == Invoice(number=7, kind="paid", positions=["tea"])
    assert result.output.number == 7  # typed: mypy knows it is an Invoice
    assert (result.status, result.content) == ("completed", GOOD)
    wanted = model.requests[0].output
    assert wanted is not None
    assert (wanted.name, wanted.schema) == ("Invoice", Invoice.model_json_schema())
    assert (
        await Agent(model=ScriptedModel([]), thread_store=store).go(asked(), output=Invoice)
    ).output == result.output


async def test_what_does_not_fit_goes_back_with_the_reason(store: ThreadStore) -> None:
    model = ScriptedModel([BAD, "It is number 7.", GOOD])
    agent = Agent(purpose="Read invoices.", model=model, thread_store=store)
    result = await agent.go(asked(), output=Invoice)
    assert (result.status, result.output) == ("completed", Invoice(number=7, kind="paid", positions=["tea"]))
    said = model.requests[1].messages[-1]
    assert said["role"] == "user"
    assert "- number: Input should be a valid integer" in said["content"]
    assert "Invalid JSON" in model.requests[2].messages[-1]["content"]
    for request, following in zip(model.requests, model.requests[1:], strict=False):
        assert violations({"model": "m", "messages": following.messages}) == []
        assert following.messages[: len(request.messages)] == request.messages  # a prompt cache goes on
    stored = await store.get_thread("t")
    assert [m.role for m in stored.messages] == ["user", "assistant", "assistant", "assistant"]
    assert [m.text for m in result.new_messages] == [BAD, "It is number 7.", GOOD]


async def test_three_answers_that_do_not_fit_end_the_run_and_go_takes_it_up(store: ThreadStore) -> None:
    model = ScriptedModel([BAD] * 3)
    result = await Agent(model=model, thread_store=store).go(asked(), output=Invoice)
    assert (result.status, result.output, len(model.requests)) == ("invalid_output", None, 3)
    again = ScriptedModel([GOOD])
    result = await Agent(model=again, thread_store=store).go(await store.get_thread("t"), output=Invoice)
    assert (result.status, result.output and result.output.number) == ("completed", 7)
    assert "does not have the form" in again.requests[0].messages[-1]["content"]


async def test_a_killed_run_goes_on_where_its_answer_did_not_fit(store: ThreadStore) -> None:
    agent = Agent(model=ScriptedModel([BAD]), thread_store=store)
    await agent.go(asked(), output=Invoice, budget=Budget(steps=1))
    result = await Agent(model=ScriptedModel([GOOD]), thread_store=store).go(
        await store.get_thread("t"), output=Invoice
    )
    assert result.output == Invoice.model_validate_json(GOOD)


async def test_tools_come_first() -> None:
    def read_page() -> str:
        return "Invoice 7, paid, tea"

    model = ScriptedModel([calls(("read_page", {}), content="Let me look."), GOOD])
    result = await Agent(model=model, tools=[read_page]).go("Read it", output=Invoice)
    assert result.output == Invoice.model_validate_json(GOOD)
    assert all(request.output for request in model.requests)


async def test_a_stream_ends_with_the_output() -> None:
    events = [e async for e in Agent(model=ScriptedModel([GOOD])).stream("Read it", output=Invoice)]
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == GOOD
    assert isinstance(events[-1], Finished)
    assert events[-1].result.output == Invoice.model_validate_json(GOOD)


def test_the_sync_front_has_it_too() -> None:
    result = Agent(model=ScriptedModel([GOOD])).go_sync("Read it", output=Invoice)
    assert result.output is not None
    assert result.output.kind == "paid"


async def test_without_a_type_there_is_none() -> None:
    model = ScriptedModel([GOOD])
    result = await Agent(model=model).go("Read it")
    assert (result.output, model.requests[0].output) == (None, None)


@pytest.mark.parametrize(
    ("type_", "answer", "expected"),
    [
        (Point, '{"x": 1, "y": 2}', Point(1, 2)),
        (Place, '{"city": "Rome"}', {"city": "Rome"}),
        (Node, '{"name": "a", "children": [{"name": "b"}]}', Node(name="a", children=[Node(name="b")])),
        (Invoice, f"```json\n{GOOD}\n```", Invoice.model_validate_json(GOOD)),
    ],
)
async def test_types_and_spellings(type_: type[Any], answer: str, expected: Any) -> None:
    result = await Agent(model=ScriptedModel([answer])).go("?", output=type_)
    assert result.output == expected
    assert Output(type_).schema.schema["type"] == "object"


@pytest.mark.parametrize("type_", [int, list[int], str, "Invoice", object(), dict[str, object].__class__])
async def test_what_is_no_object_is_refused_before_anything_is_stored(store: ThreadStore, type_: Any) -> None:
    with pytest.raises(TypeError, match="output="):
        await Agent(model=ScriptedModel([]), thread_store=store).go(asked(), output=type_)
    assert await store.list_threads() == []


async def test_a_cut_answer_is_not_asked_for_again(store: ThreadStore) -> None:
    model = ScriptedModel([Reply('{"number": 7', finish="length")])
    result = await Agent(model=model, thread_store=store).go(asked(), output=Invoice)
    assert (result.status, result.output) == ("cut", None)


async def test_a_recorded_answer_of_another_form_is_no_output(store: ThreadStore) -> None:
    await Agent(model=ScriptedModel(["It is number 7."]), thread_store=store).go(asked())
    result = await Agent(model=ScriptedModel([]), thread_store=store).go(asked(), output=Invoice)
    assert (result.status, result.output, result.replayed) == ("invalid_output", None, True)
    assert result.content == "It is number 7."


@pytest.mark.parametrize(
    "answer", ["", "null", "[]", "{}", '{"number": 1e999}', "{" * 5_000, '{"number": 7} trailing', "\ud800", "7"]
)
async def test_hostile_answers_are_bounded(answer: str) -> None:
    model = ScriptedModel([lambda request: Reply(answer or None, finish="stop")] * 3)
    result = await Agent(model=model).go("?", output=Invoice)
    assert (result.status, result.output) == ("invalid_output", None)
    assert all(len(str(m.metadata)) < 3_000 for m in result.new_messages)


async def test_the_next_turn_without_a_form_is_a_valid_request(store: ThreadStore) -> None:
    await Agent(model=ScriptedModel([BAD, GOOD]), thread_store=store).go(asked(), output=Invoice)
    thread = await store.get_thread("t")
    thread.add_message(Message(role="user", content="Thanks"))

    def check(request: Request) -> str:
        assert violations({"model": "m", "messages": request.messages}) == []
        assert request.output is None
        return "You are welcome."

    assert (await Agent(model=ScriptedModel([check]), thread_store=store).go(thread)).content == "You are welcome."
    assert json.loads(thread.messages[-3].text)["number"] == 7
