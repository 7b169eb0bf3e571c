"""An answer in a form: what is asked of each provider, and how its answer comes back as content."""

import json
from typing import Any

import pytest

from narrator import ToolCall
from tests.litellm_clients import litellm_clients
from tests.model_server import violations
from tests.tyler.provider_formats import anthropic, block, gemini
from tests.tyler.raw_server import Step, call, chunk, http, raw_server, stream, text
from tyler import LitellmModel, ModelAnswerBroken, OutputSchema, Reply, Request
from tyler._output_tool import is_strict

__all__ = ["litellm_clients"]

pytestmark = pytest.mark.usefixtures("litellm_clients")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
CITY = '{"city": "Rome"}'
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
LOOK = {"type": "function", "function": {"name": "look", "parameters": NOTHING}}
CALLED, STOP = chunk(finish="tool_calls"), chunk(finish="stop")
CLAUDE, GEMINI = "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"
USED = block(
    {"type": "tool_use", "id": "u1", "name": "final_answer", "input": {}},
    {"type": "input_json_delta", "partial_json": '{"city": '},
    {"type": "input_json_delta", "partial_json": '"Rome"}'},
)


async def ask(
    script: Step, name: str = "openai/m", *, tools: Any = (LOOK,), schema: Any = None, params: Any = None, **fields: Any
) -> tuple[Reply, list[Any], dict[str, Any]]:
    """The reply, the pieces before it, and the request's body."""
    path = "" if name in (CLAUDE, GEMINI) else "/v1"
    async with raw_server(script) as server:
        model = LitellmModel(name, api_base=server.url + path, api_key="k", **fields)
        request = Request(
            [{"role": "user", "content": "Where?"}],
            list(tools),
            OutputSchema("Place[int]", schema or SCHEMA),
            params=params or {},
        )
        *pieces, reply = [piece async for piece in model.stream(request)]
    assert isinstance(reply, Reply)
    return reply, pieces, json.loads(server.bodies[0])


def function(body: dict[str, Any]) -> dict[str, Any]:
    (_, tool) = body["tools"]
    found: dict[str, Any] = tool["function"]
    return found


async def test_a_model_of_openais_is_given_the_schema_itself() -> None:
    reply, pieces, body = await ask(stream(text(CITY), STOP), "openai/gpt-4o")
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "Place_int_", "schema": SCHEMA, "strict": True},
    }
    assert body["tools"] == [LOOK]
    assert "tool_choice" not in body
    assert (reply.content, pieces) == (CITY, [CITY])


async def test_a_server_that_is_not_listed_is_given_a_tool() -> None:
    first, second = call('{"city": ', name="final_answer"), call('"Rome"}', call_id=None, name=None)
    reply, pieces, body = await ask(stream(first, second, CALLED))
    assert function(body)["name"] == "final_answer"
    assert function(body)["parameters"] == SCHEMA
    assert body["tool_choice"] == "required"
    assert violations(body) == []
    assert "response_format" not in body
    assert (reply.content, reply.tool_calls, pieces) == (CITY, [], ['{"city": ', '"Rome"}'])


@pytest.mark.parametrize("json_schema", [True, False])
async def test_the_user_knows_better(json_schema: bool) -> None:
    for name in ("openai/m", "openai/gpt-4o"):
        answer = stream(text(CITY), STOP)
        _, _, body = await ask(answer, name, json_schema=json_schema)
        assert ("response_format" in body) is json_schema


async def test_claude_is_given_a_tool_whatever_is_said() -> None:
    for said in (None, True):
        answer = anthropic(*USED, reason="tool_use")
        reply, pieces, body = await ask(answer, CLAUDE, json_schema=said)
        assert [tool["name"] for tool in body["tools"]] == ["look", "final_answer"]
        assert body["tool_choice"] == {"type": "any"}
        assert (reply.content, reply.tool_calls, pieces) == (CITY, [], ['{"city": ', '"Rome"}'])


async def test_claude_is_not_forced_while_it_thinks() -> None:
    answer = anthropic(*USED, reason="tool_use")
    thinking: Any = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
    for params, forced in ((thinking, False), ({"reasoning_effort": "low"}, False), ({"temperature": 0}, True)):
        _, _, body = await ask(answer, CLAUDE, params=params)
        assert (body.get("tool_choice", {}).get("type") == "any") is forced


async def test_gemini_has_the_schema_or_tools() -> None:
    _, _, body = await ask(gemini({"text": CITY}, reason="STOP"), GEMINI, tools=())
    assert body["generationConfig"]["response_mime_type"] == "application/json"
    assert "tools" not in body
    called = {"functionCall": {"name": "final_answer", "args": {"city": "Rome"}}}
    reply, pieces, body = await ask(gemini(called, reason="STOP"), GEMINI)
    assert [tool["name"] for tool in body["tools"][0]["function_declarations"]] == ["look", "final_answer"]
    assert body["toolConfig"]["functionCallingConfig"]["mode"] == "ANY"
    assert "response_mime_type" not in body.get("generationConfig", {})
    assert SCHEMA["additionalProperties"] is False, "litellm, which takes it out for Gemini, has a copy"
    assert NOTHING["additionalProperties"] is False
    assert (reply.content, reply.tool_calls, pieces) == (CITY, [], [CITY])


async def test_other_calls_come_first() -> None:
    both = call("{}", name="look"), call(CITY, index=1, call_id="c2", name="final_answer")
    for script in (stream(*both, CALLED), stream(*reversed(both), CALLED), stream(text("I look."), *both, CALLED)):
        reply, _, _ = await ask(script)
        assert reply.tool_calls == [ToolCall(id="c1", name="look", arguments="{}")]
        assert reply.content in (None, "I look.")


async def test_text_before_the_call_is_not_the_answer() -> None:
    reply, pieces, _ = await ask(stream(text("Here: "), call(CITY, name="final_answer"), CALLED))
    assert (reply.content, pieces) == (CITY, ["Here: ", CITY])


async def test_plain_text_is_kept_as_it_is() -> None:
    reply, _, _ = await ask(stream(text("  ```json\n"), text(CITY), STOP))
    assert reply.content == "  ```json\n" + CITY


async def test_two_answers_in_one_are_the_first() -> None:
    twice = call(CITY, name="final_answer"), call("{}", index=1, call_id="c2", name="final_answer")
    reply, pieces, _ = await ask(stream(*twice, CALLED))
    assert (reply.content, reply.tool_calls, pieces) == (CITY, [], [CITY])


async def test_a_call_without_arguments_is_an_empty_object() -> None:
    reply, _, _ = await ask(stream(call("", name="final_answer"), CALLED))
    assert reply.content == "{}"


async def test_a_cut_call_is_a_broken_answer() -> None:
    with pytest.raises(ModelAnswerBroken, match="max_tokens"):
        await ask(stream(call('{"city"', name="final_answer"), chunk(finish="length")))


async def test_a_tool_may_have_the_name_already() -> None:
    named = [{"type": "function", "function": {"name": name}} for name in ("final_answer", "final_answer_2")]
    script = stream(call(CITY, name="final_answer_3"), CALLED)
    reply, _, body = await ask(script, tools=named)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["final_answer", "final_answer_2", "final_answer_3"]
    assert reply.content == CITY
    own, _, _ = await ask(stream(call("{}", name="final_answer"), CALLED), tools=named)
    assert [asked.name for asked in own.tool_calls] == ["final_answer"]


async def test_the_users_tool_choice_stays() -> None:
    _, _, body = await ask(stream(text("no"), STOP), params={"tool_choice": "auto"})
    assert body["tool_choice"] == "auto"


@pytest.mark.parametrize("name", ["deepseek/deepseek-reasoner", "hosted_vllm/m"])
async def test_a_model_that_thinks_is_asked_and_not_forced(name: str) -> None:
    _, _, body = await ask(stream(text("no"), STOP), name)
    assert ("tool_choice" in body) is (name == "hosted_vllm/m")


async def test_without_a_form_nothing_is_added() -> None:
    async with raw_server(stream(text("hi"), STOP)) as server:
        model = LitellmModel("openai/m", api_base=f"{server.url}/v1", api_key="k", json_schema=True)
        _ = [piece async for piece in model.stream(Request([{"role": "user", "content": "hi"}]))]
    assert not json.loads(server.bodies[0]).keys() & {"tools", "tool_choice", "response_format"}


# -- OpenAI's strict mode ----------------------------------------------------------------------------

NESTED: dict[str, Any] = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
FITS: list[Any] = [
    {"type": "string", "description": "Where", "enum": ["a", "b"]},
    {"type": ["integer", "null"], "minimum": 0},
    {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
    {"type": "array", "items": {"$ref": "#/$defs/Place"}, "minItems": 1},
    NESTED,
]
LOOSE: list[Any] = [
    {"type": "string", "default": "a"},
    {"type": "string", "format": "uri"},
    {"type": "string", "minLength": 1},
    {"oneOf": [{"type": "string"}]},
    {"$ref": "#/$defs/Place", "description": "Where"},
    {"$ref": "https://example.com/schema"},
    {"type": "array"},
    {"type": "array", "items": True},
    {"type": "object", "additionalProperties": {"type": "string"}},
    {**NESTED, "additionalProperties": True},
    {**NESTED, "properties": {"a": {"type": "string"}}},
    {"type": "object", "properties": 7, "required": 7},
    {"type": "object", "anyOf": 7, "$defs": 7, "properties": {}, "required": [{}], "additionalProperties": False},
    {},
    True,
]


@pytest.mark.parametrize("part", [*FITS, *LOOSE])
def test_strict_where_all_of_the_schema_fits(part: Any) -> None:
    schema = {**SCHEMA, "properties": {"city": part}, "$defs": {"Place": SCHEMA}}
    assert is_strict(schema) is (part in FITS)


def test_not_strict_where_it_is_too_large_or_no_object() -> None:
    assert is_strict(SCHEMA)
    assert not is_strict({"anyOf": [SCHEMA]})
    assert not is_strict({"type": "array", "items": SCHEMA})
    deep = SCHEMA
    for _ in range(2000):
        deep = {**SCHEMA, "properties": {"city": deep}}
    assert not is_strict(deep)
    names = [str(n) for n in range(101)]
    wide = {**SCHEMA, "properties": {name: {"type": "string"} for name in names}, "required": names}
    assert not is_strict(wide)


async def test_a_schema_that_does_not_fit_is_sent_without_strict() -> None:
    loose = {**SCHEMA, "required": []}
    _, _, body = await ask(stream(text(CITY), STOP), "openai/gpt-4o", schema=loose)
    assert body["response_format"]["json_schema"]["strict"] is False


async def test_a_refused_schema_is_the_models_refusal() -> None:
    from tyler import ModelRefused

    with pytest.raises(ModelRefused, match="Invalid schema"):
        await ask(http(b'{"error": {"message": "Invalid schema"}}', "400 Bad Request"), "openai/gpt-4o")
