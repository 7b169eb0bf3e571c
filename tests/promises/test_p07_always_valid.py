"""P7: whatever a thread holds, the request made of it is one that a strict provider takes."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from narrator import Message, Thread, ThreadStore, ToolCall
from tests.model_server import violations
from tyler import Agent, NothingToAnswer
from tyler._cuts import cuts
from tyler._steps import INTERRUPTED
from tyler._view import View
from tyler.context import SUMMARIES, Summary, with_summary
from tyler.testing import ScriptedModel
from tyler.wire import NO_RESULT, to_chat, valid_chat

# Each way to break valid_chat, one line at a time, is found by 150 examples or by a test of its own below.
NORMAL, DEEP = 150, 100_000
SETTINGS: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}

text = st.text(max_size=12) | st.sampled_from(["", " ", "hello", "\x00", "\ud800", "é", "a" * 50])
ids = st.sampled_from(["a", "b", "c", "", "a-2", "a-2-2", "x" * 40, "x" * 41, "y" * 60, "id with space", "None"]) | text
keys = st.sampled_from(["a", "b", "url", "é"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
arguments = (
    st.dictionaries(text, json_values, max_size=3).map(json.dumps)
    | text
    | st.sampled_from(
        ['{"a": NaN}', '{"a": 1e999}', '{"a": "\\u0000"}', '{"a": "\\ud800"}', "[]", "null", "7", '{"a"', "{}"]
    )
    | st.just(2000).map(lambda depth: "[" * depth)
    | st.just(5000).map(lambda digits: '{"a": ' + "9" * digits + "}")
)
names = st.sampled_from(["search", "x" * 65, "with space", "", "näme", "a.b"]) | text
calls = st.builds(ToolCall, id=ids, name=names, arguments=arguments)
image_urls = st.sampled_from(
    [
        "https://example.org/a.png",
        "data:image/png;base64,aGk=",
        "data:image/png;base64,",
        "data:text/html,x",
        "http://",
        "ftp://x",
        7,
    ]
)
data = text | st.sampled_from(["aGk=", "data:a/b;base64,aGk="])


def part(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields).map(lambda inner: {"type": kind, kind: inner})


parts = st.one_of(
    text.map(lambda value: {"type": "text", "text": value}),
    text.map(lambda value: {"type": "refusal", "refusal": value}),
    part("image_url", url=image_urls, detail=text | st.just("low")),
    part("input_audio", data=data, format=text | st.just("wav")),
    part("file", filename=text, file_data=data, file_id=text),
    st.dictionaries(st.sampled_from(["text", "image_url", "x"]), json_values, max_size=2).map(
        lambda part: {**part, "type": "text"}
    ),
    st.tuples(json_values, st.dictionaries(keys, json_values, max_size=2)).map(
        lambda pair: {**pair[1], "type": pair[0]}
    ),
)
messages = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "assistant", "tool", "tool"]),
    content=st.none() | text | st.lists(parts, max_size=3),
    name=st.none() | names,
    tool_calls=st.lists(calls, max_size=3),
    tool_call_id=st.none() | ids,
)


def chats_of(thread: Sequence[Message]) -> list[dict[str, Any]]:
    return [to_chat(message) for message in thread]


def refusals(chats: list[dict[str, Any]]) -> list[str]:
    return violations({"model": "m", "messages": chats}) if chats else []


@st.composite
def broken_groups(draw: st.DrawFn) -> list[Message]:
    """A conversation of whole call groups, then cut, doubled, shuffled and thinned out."""
    thread: list[Message] = []
    for _ in range(draw(st.integers(1, 4))):
        thread.append(Message(role="user", content=draw(text)))
        asked = draw(st.lists(calls, max_size=3))
        thread.append(Message(role="assistant", content=draw(st.none() | text), tool_calls=asked))
        thread += [Message(role="tool", content=draw(text), tool_call_id=call.id) for call in asked]
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(thread) - 1)) if thread else 0
        match draw(st.sampled_from(["cut head", "cut tail", "drop", "double", "swap", "insert"])):
            case "cut head":
                del thread[:at]
            case "cut tail":
                del thread[at:]
            case "drop":
                del thread[at : at + 1]
            case "double":
                thread += thread[at : at + 2]
            case "swap":
                thread[at : at + 2] = reversed(thread[at : at + 2])
            case "insert":
                thread.insert(at, draw(messages))
    return thread


scattered = st.lists(messages, max_size=8)


def check_always_valid(thread: list[Message]) -> None:
    chats = chats_of(thread)
    before = json.dumps(chats)
    valid = valid_chat(chats)
    assert refusals(valid) == []
    assert valid_chat(valid) == valid
    assert json.dumps(chats) == before, "the caller's messages were changed"


@settings(max_examples=NORMAL, **SETTINGS)
@given(scattered)
def test_any_messages_become_a_valid_request(thread: list[Message]) -> None:
    check_always_valid(thread)


@settings(max_examples=NORMAL, **SETTINGS)
@given(broken_groups())
def test_any_broken_conversation_becomes_a_valid_request(thread: list[Message]) -> None:
    check_always_valid(thread)


@pytest.mark.deep
@settings(max_examples=DEEP, **SETTINGS)
@given(scattered | broken_groups())
def test_any_thread_becomes_a_valid_request_deep(thread: list[Message]) -> None:
    check_always_valid(thread)


async def check_any_thread_is_answered(thread: list[Message], interrupted: int, with_store: bool) -> None:
    """Through the loop: open calls are run, what was interrupted is left out, and the model is asked validly."""
    for message in thread[:interrupted]:
        message.metadata[INTERRUPTED] = True
    model = ScriptedModel(["fine"] * 2)
    conversation = Thread(messages=thread)
    no_repeats = len({message.id for message in thread}) == len(thread)
    store = await ThreadStore.create() if with_store else None
    agent = Agent(model=model, thread_store=store)
    try:
        result = await agent.go(conversation)
    except NothingToAnswer:
        assert not model.requests
        return
    for request in model.requests:
        assert violations({"model": "m", "messages": request.messages}) == []
    assert result.status == "completed"
    if no_repeats:  # else the first go answered the message where it stands first, and another one is the last now
        assert (await agent.go(conversation)).replayed
    if store is not None:
        assert (await store.get_thread(conversation.id)).messages == conversation.messages


@pytest.mark.parametrize("with_store", [True, False])
async def test_an_answer_put_in_by_hand_behind_open_calls_is_answered_once(with_store: bool) -> None:
    by_hand = [
        Message(role="user", content="go"),
        Message(role="assistant", tool_calls=[ToolCall(id="c", name="nobody")]),
        Message(role="assistant", content="by hand"),
    ]
    model = ScriptedModel(["fine"])
    agent = Agent(model=model, thread_store=await ThreadStore.create() if with_store else None)
    thread = Thread(messages=by_hand)
    assert [(await agent.go(thread)).replayed for _ in range(3)] == [False, True, True]
    assert [m.text for m in thread.messages if m.role == "assistant"] == ["", "fine", "by hand"]


any_thread = st.lists(messages, min_size=1, max_size=8) | broken_groups()


@settings(max_examples=150, **SETTINGS)
@given(any_thread, st.sampled_from([0, 0, 1, 8]), st.booleans())
def test_any_thread_is_answered(thread: list[Message], interrupted: int, with_store: bool) -> None:
    asyncio.run(check_any_thread_is_answered(thread, interrupted, with_store))


@pytest.mark.deep
@settings(max_examples=20_000, **SETTINGS)
@given(any_thread, st.sampled_from([0, 0, 1, 8]), st.booleans())
def test_any_thread_is_answered_deep(thread: list[Message], interrupted: int, with_store: bool) -> None:
    asyncio.run(check_any_thread_is_answered(thread, interrupted, with_store))


said = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
good_parts = st.lists(st.builds(lambda t: {"type": "text", "text": t}, said), min_size=1, max_size=3)
good_user_parts = st.lists(
    st.builds(lambda t: {"type": "text", "text": t}, said)
    | st.just({"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}})
    | st.just({"type": "image_url", "image_url": {"url": "data:image/gif;base64,aGk="}})
    | st.just({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}})
    | st.just({"type": "file", "file": {"file_id": "file-1"}}),
    min_size=1,
    max_size=3,
)


@st.composite
def valid_histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    chats: list[dict[str, Any]] = [{"role": "system", "content": draw(said)}] if draw(st.booleans()) else []
    number = 0
    for _ in range(draw(st.integers(1, 4))):
        user: dict[str, Any] = {"role": "user", "content": draw(said | good_user_parts)}
        chats.append({**user, "name": "ann"} if draw(st.booleans()) else user)
        for _ in range(draw(st.integers(0, 2))):
            ids = [f"call_{number + i}" for i in range(draw(st.integers(1, 3)))]
            number += len(ids)
            function = {
                "name": "f",
                "arguments": json.dumps(draw(st.dictionaries(said, json_values_of_text, max_size=2))),
            }
            asked = [{"id": id, "type": "function", "function": function} for id in ids]
            content = draw(st.sampled_from([{}, {"content": None}, {"content": ""}, {"content": "so"}]))
            chats.append({"role": "assistant", **content, "tool_calls": asked})
            answered = draw(st.permutations(ids))
            chats += [{"role": "tool", "tool_call_id": id, "content": draw(said | good_parts)} for id in answered]
        chats.append({"role": "assistant", "content": draw(said | good_parts)})
    return chats


json_values_of_text = said | st.integers() | st.lists(said, max_size=2)


@settings(max_examples=100, **SETTINGS)
@given(valid_histories())
def test_a_valid_history_passes_through_unchanged(chats: list[dict[str, Any]]) -> None:
    assert refusals(chats) == []
    assert valid_chat(chats) == chats


def user(content: str = "go") -> dict[str, Any]:
    return {"role": "user", "content": content}


def asks(*ids: str) -> dict[str, Any]:
    called = [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in ids]
    return {"role": "assistant", "tool_calls": called}


def result(id: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def test_a_lost_result_is_said_to_be_lost() -> None:
    assert valid_chat([user(), asks("a", "b"), result("b", "B")])[2:] == [result("a", NO_RESULT), result("b", "B")]


def test_a_result_moves_behind_its_call() -> None:
    chats = [user(), asks("a"), user("meanwhile"), result("a", "A")]
    assert valid_chat(chats) == [user(), asks("a"), result("a", "A"), user("meanwhile")]


def test_an_orphan_result_is_left_out() -> None:
    assert valid_chat([result("a", "A"), user()]) == [user()]


def test_ids_that_a_provider_gives_again_keep_their_own_results() -> None:
    chats = [user(), asks("call_0"), result("call_0", "1"), user(), asks("call_0"), result("call_0", "2")]
    valid = valid_chat(chats)
    assert [c["content"] for c in valid if c["role"] == "tool"] == ["1", "2"]
    assert refusals(valid) == []


def test_a_lost_result_is_not_replaced_by_a_later_calls_of_the_same_id() -> None:
    valid = valid_chat([user(), asks("call_0"), user(), asks("call_0"), result("call_0", "2")])
    assert [c["content"] for c in valid if c["role"] == "tool"] == [NO_RESULT, "2"]


def test_a_long_call_id_is_the_same_in_every_request() -> None:
    chats = [user(), asks("x" * 60), result("x" * 60, "A")]
    assert valid_chat(chats) == valid_chat([*chats, user()])[:3]
    assert refusals(valid_chat(chats)) == []


def test_a_long_id_that_comes_again_is_not_made_longer() -> None:
    chats = [user(), asks("x" * 40, "x" * 40), result("x" * 40, "1"), result("x" * 40, "2")]
    valid = valid_chat(chats)
    assert [c["content"] for c in valid if c["role"] == "tool"] == ["1", "2"]
    assert refusals(valid) == []


def test_more_calls_than_a_provider_takes_in_one_message_are_split() -> None:
    ids = [f"c{i}" for i in range(300)]
    valid = valid_chat([user(), asks(*ids), *(result(id, id) for id in ids)])
    assert refusals(valid) == []
    assert [c["content"] for c in valid if c["role"] == "tool"] == ids


def test_a_hidden_nul_in_arguments_is_replaced_and_the_rest_kept() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a": "x\\u0000", "b": [1]}'}}
    (_, asked, _) = valid_chat([user(), {"role": "assistant", "tool_calls": [call]}, result("a", "A")])
    assert json.loads(asked["tool_calls"][0]["function"]["arguments"]) == {"a": "x\ufffd", "b": [1]}


def missing_results(chats: list[dict[str, Any]]) -> int:
    return sum(chat.get("content") == NO_RESULT for chat in valid_chat(chats))


@pytest.mark.parametrize("examples", [150, pytest.param(20_000, marks=pytest.mark.deep)])
def test_wherever_old_messages_are_left_out_the_request_is_valid_and_no_call_loses_its_result(examples: int) -> None:
    """With a summary, or without one: at every place where a thread may be cut."""

    @settings(max_examples=examples, **SETTINGS)
    @given(scattered | broken_groups(), st.sampled_from(["", "A summary."]))
    def check(found: list[Message], summary: str) -> None:
        thread = Thread(messages=found)
        view = View(thread, ScriptedModel([]), "To help.", None)
        whole = missing_results(chats_of(found))
        for cut in cuts(found):
            assert missing_results(chats_of(found[:cut])) + missing_results(chats_of(found[cut:])) == whole
            mark = Summary(text=summary, first=found[0].id, last=found[cut - 1].id, count=cut)
            assert refusals(asyncio.run(view.of(found, {SUMMARIES: with_summary({}, mark)}))) == []

    check()
