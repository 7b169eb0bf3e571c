"""Each rule of the model server: a valid request passes, and each way to spoil it is found."""

import base64
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model_server import violations

PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
PDF = "data:application/pdf;base64," + base64.b64encode(b"%PDF").decode()


def call(call_id: str = "c1", name: str = "search", arguments: Any = '{"q": "x"}') -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def answer(call_id: str = "c1", content: Any = "found") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def tool(name: str = "search", **parameters: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"], **parameters}
    return {"type": "function", "function": {"name": name, "description": "Finds.", "parameters": schema}}


def request(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4", "messages": list(messages), **fields}


USER: dict[str, Any] = {"role": "user", "content": "hi"}
SYSTEM: dict[str, Any] = {"role": "system", "content": "be brief"}
SAID: dict[str, Any] = {"role": "assistant", "content": "done"}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def image(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


VALID = [
    request(USER),
    request(SYSTEM, USER, SYSTEM, SAID, {"role": "developer", "content": "x"}),
    request(USER, calling(call("a"), call("b")), answer("b"), answer("a", ""), SAID, USER),
    request(USER, calling(call("a")), answer("a"), calling(call("b")), answer("b")),
    request(USER, calling(call()), answer(content=[{"type": "text", "text": "found"}]), tools=[tool()]),
    request(user({"type": "text", "text": "ünï 🙂"}, image(PIXEL), image("https://example.org/a.png"))),
    request(user({"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}})),
    request(user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})),
    request(USER, {**SAID, "name": "bot-1", "content": [{"type": "text", "text": "x"}]}, USER),
    request(USER, USER, {"role": "user", "content": ""}),
    request(USER, tools=[tool("a"), tool("b"), {"type": "function", "function": {"name": "c"}}]),
    request(USER, tools=[tool(properties={"q": {"anyOf": [{"type": "array", "items": {}}]}})]),
    request(USER, tools=[tool()], tool_choice={"type": "function", "function": {"name": "search"}}),
    request(USER, stream=True, stream_options={"include_usage": True}, temperature=0.5, stop=None),
]

BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": (request(), "non-empty list"),
    "no model": ({"messages": [USER]}, "model"),
    "unknown role": (request({"role": "function", "content": "x"}), "'function' is not one of"),
    "role is no string": (request({"role": ["user"], "content": "x"}), "is not one of"),
    "message is no object": (request("hi"), "must be an object"),
    "unknown message field": (request({**USER, "metadata": {}}), "messages[0].metadata: unknown field"),
    "name pattern": (request({**USER, "name": "J. Doe"}), "messages[0].name"),
    "unanswered at the end": (request(USER, calling(call())), "no answer at the end"),
    "user before the answer": (request(USER, calling(call()), USER), "messages[2]: comes before"),
    "system before the answer": (request(USER, calling(call()), SYSTEM), "messages[2]: comes before"),
    "one of two unanswered": (request(calling(call("a"), call("b")), answer("a"), SAID), "['b']"),
    "calls after unanswered calls": (request(calling(call("a")), calling(call("b")), answer("b")), "['a']"),
    "answered twice": (request(calling(call()), answer(), answer()), "answers no open call"),
    "answer to nothing": (request(USER, answer()), "answers no open call"),
    "answer to an older group": (request(calling(call()), answer(), SAID, answer()), "messages[3]"),
    "answer without id": (request(calling(call()), {"role": "tool", "content": "x"}), "tool_call_id"),
    "id twice in a message": (request(calling(call(), call()), answer()), "used twice"),
    "id twice in a request": (
        request(calling(call()), answer(), calling(call()), answer()),
        "messages[2]: call id 'c1' is used twice",
    ),
    "id too long": (request(calling(call("c" * 41)), answer("c" * 41)), "1 to 40"),
    "id empty": (request(calling(call("")), answer()), "1 to 40"),
    "arguments not JSON": (request(calling(call(arguments='{"q": ')), answer()), "not JSON"),
    "arguments empty": (request(calling(call(arguments="")), answer()), "not JSON"),
    "arguments no object": (request(calling(call(arguments="[1]")), answer()), "must hold a JSON object"),
    "arguments not text": (request(calling(call(arguments={"q": 1})), answer()), "must be a string"),
    "arguments hold NaN": (request(calling(call(arguments='{"q": NaN}')), answer()), "not a JSON number"),
    "arguments hide a surrogate": (request(calling(call(arguments='{"q": "\\ud800"}')), answer()), "surrogate"),
    "function without name": (request(calling(call(name="")), answer()), "does not match"),
    "function name pattern": (request(calling(call(name="a b")), answer()), "'a b' does not match"),
    "function name with a newline": (request(calling(call(name="ab\n")), answer()), "does not match"),
    "function name too long": (request(calling(call(name="a" * 65)), answer()), "does not match"),
    "call without function": (request(calling({"id": "c1", "type": "function"}), answer()), "'function'"),
    "call without type": (
        request(calling({**call(), "type": None}), answer()),
        "messages[0].tool_calls[0]: must have type",
    ),
    "empty list of calls": (request(USER, {**SAID, "tool_calls": []}), "1 to 128"),
    "assistant says nothing": (request(USER, {"role": "assistant", "content": None}), "neither"),
    "assistant says empty text": (request(USER, {"role": "assistant", "content": ""}), "neither"),
    "user content None": (request({"role": "user", "content": None}), "messages[0].content"),
    "user content missing": (request({"role": "user"}), "messages[0].content"),
    "user content empty list": (request({"role": "user", "content": []}), "non-empty list of parts"),
    "system content None": (request({"role": "system", "content": None}), "messages[0].content"),
    "unknown part": (request(user({"type": "video", "video": "x"})), "'video' is not allowed"),
    "part is no object": (request(user("hi")), "None is not allowed"),
    "text part without text": (request(user({"type": "text"})), "[0].text: missing or invalid"),
    "image without url": (request(user({"type": "image_url", "image_url": {}})), "image_url: missing"),
    "image of a local file": (request(user(image("file:///etc/passwd"))), "image_url: missing"),
    "image of bad base64": (request(user(image("data:image/png;base64,@@@"))), "image_url: missing"),
    "image of no bytes": (request(user(image("data:image/png;base64,"))), "image_url: missing"),
    "image of another type": (request(user(image("data:text/html;base64,AAAA"))), "image_url: missing"),
    "file without name": (request(user({"type": "file", "file": {"file_data": PDF}})), "file: missing"),
    "audio format": (
        request(user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "ogg"}})),
        "input_audio: missing",
    ),
    "image in a system message": (request({"role": "system", "content": [image(PIXEL)]}), "not allowed"),
    "image in a tool message": (request(calling(call()), answer(content=[image(PIXEL)])), "not allowed"),
    "tool content None": (request(calling(call()), answer(content=None)), "messages[1].content"),
    "tool content object": (request(calling(call()), answer(content={"a": 1})), "messages[1].content"),
    "NUL": (request({"role": "user", "content": "a\x00b"}), "NUL"),
    "lone surrogate": (request({"role": "user", "content": "a\ud83d"}), "lone surrogate"),
    "surrogate in a key": (request(USER, extra={"\ud800": 1}), "lone surrogate"),
    "NaN": (request(USER, temperature=float("nan")), "nan is not a JSON number"),
    "infinity": (request(USER, temperature=float("inf")), "inf is not a JSON number"),
    "bytes": (request({"role": "user", "content": b"x"}), "bytes is not a JSON value"),
    "key is no string": (request(USER, logit_bias={1: 2}), "keys must be strings"),
    "stream options without stream": (request(USER, stream_options={"include_usage": True}), "stream_options"),
    "no tools in the list": (request(USER, tools=[]), "1 to 128"),
    "tool twice": (request(USER, tools=[tool(), tool()]), "given twice"),
    "tool name": (request(USER, tools=[tool("a.b")]), "'a.b' does not match"),
    "tool without function": (request(USER, tools=[{"type": "function"}]), "'function'"),
    "tool description too long": (
        request(USER, tools=[{"type": "function", "function": {"name": "a", "description": "x" * 1025}}]),
        "longer than 1024",
    ),
    "schema is None": (
        request(USER, tools=[{"type": "function", "function": {"name": "a", "parameters": None}}]),
        "must be a schema",
    ),
    "schema of another type": (request(USER, tools=[tool(type="string")]), "type 'object'"),
    "schema with anyOf at the top": (request(USER, tools=[tool(anyOf=[{}])]), "not allowed at the top"),
    "array without items": (
        request(USER, tools=[tool(properties={"q": {"type": "array"}})]),
        "parameters.properties.q: array schema missing items",
    ),
    "required without property": (request(USER, tools=[tool(required=["z"])]), "not there"),
    "properties are no object": (request(USER, tools=[tool(properties=[])]), "properties: must be"),
    "choice of no tool": (
        request(USER, tools=[tool()], tool_choice={"type": "function", "function": {"name": "other"}}),
        "names no tool",
    ),
    "choice without tools": (request(USER, tool_choice="auto"), "only allowed with tools"),
}

ANTHROPIC: dict[str, tuple[dict[str, Any], str]] = {
    "assistant first": (request(SYSTEM, SAID), "first message"),
    "two users": (request(USER, USER), "two user messages"),
    "two assistants": (request(USER, SAID, SAID), "two assistant messages"),
    "system later": (request(USER, SYSTEM), "system messages stand first"),
    "empty text": (request({"role": "user", "content": ""}), "empty text"),
    "empty part": (request(user({"type": "text", "text": ""})), "empty text"),
    "call id": (request(USER, calling(call("a.b")), answer("a.b")), "'a.b' does not match"),
}


@pytest.mark.parametrize("valid", VALID)
def test_a_valid_request_passes_unchanged(valid: dict[str, Any]) -> None:
    before = copy.deepcopy(valid)
    assert violations(valid) == []
    assert valid == before


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_request_is_found_for_its_own_reason(case: str) -> None:
    broken, reason = BROKEN[case]
    found = violations(broken)
    assert len(found) == 1
    assert reason in found[0]


def test_a_late_answer_is_refused_as_well() -> None:
    found = violations(request(USER, calling(call()), USER, answer()))
    assert ["comes before" in found[0], "answers no open call" in found[1]] == [True, True]


@pytest.mark.parametrize("case", ANTHROPIC)
def test_the_stricter_profile_adds_its_rules(case: str) -> None:
    broken, reason = ANTHROPIC[case]
    assert violations(broken) == []
    assert len(found := violations(broken, "anthropic")) == 1
    assert reason in found[0]


def test_the_stricter_profile_takes_a_plain_conversation() -> None:
    turns = (SYSTEM, USER, calling(call("a"), call("b")), answer("a"), answer("b"), USER, SAID, USER)
    assert violations(request(*turns), "anthropic") == []


KEYS = st.sampled_from(["type", "text", "image_url", "url", "id", "function", "name", "parameters", "items"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["role", "content", "name", "tool_calls", "tool_call_id", "tools", "tool_choice"])


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(FIELDS, JSON), st.sampled_from(["user", "assistant", "tool"]), JSON, JSON, JSON)
def test_any_value_is_judged_without_an_error(
    fields: dict[str, Any], role: str, content: Any, tools: Any, choice: Any
) -> None:
    message = {**fields, "role": role, "content": [content]}
    for messages in ([message], [fields], content):
        body = {"model": "m", "messages": messages, "tools": [tools], "tool_choice": choice}
        assert all(isinstance(reason, str) for reason in violations(body, "anthropic"))


def test_deep_nesting_is_judged_too() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    assert violations(request(USER, extra=deep)) == []
    assert "not JSON" in violations(request(calling(call(arguments="[" * 100_000)), answer()))[0]
    assert json.dumps(violations(request({"role": "user", "content": "\ud800"})))
