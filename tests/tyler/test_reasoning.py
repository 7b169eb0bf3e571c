"""What a model thought is shown, stored, and sent back to its own provider, byte for byte; to nobody else."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from narrator import Message, Thread, ThreadStore
from tests.litellm_clients import litellm_clients
from tests.tyler.provider_formats import anthropic, block, gemini
from tests.tyler.raw_server import RawServer, Step, call, chunk, raw_server, stream, text
from tyler import Agent, LitellmModel, MessageAdded, Model, Reasoning, ReasoningDelta, Reply, TextDelta
from tyler._reasoning import Thoughts, with_reasoning
from tyler.testing import ScriptedModel, calls
from tyler.wire import to_chat, valid_chat

__all__ = ["litellm_clients"]

pytestmark = pytest.mark.usefixtures("litellm_clients")
STOP, CALLED = chunk(finish="stop"), chunk(finish="tool_calls")
SAID = block({"type": "text", "text": ""}, {"type": "text_delta", "text": "3"})
USED = block(
    {"type": "tool_use", "id": "u1", "name": "add", "input": {}},
    {"type": "input_json_delta", "partial_json": '{"a": 1, "b": 2}'},
)
THOUGHT = block(
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "thinking_delta", "thinking": "Let me "},
    {"type": "thinking_delta", "thinking": "add."},
    {"type": "signature_delta", "signature": "U0lHMQ=="},
)
SECOND = block(
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "thinking_delta", "thinking": "Again."},
    {"type": "signature_delta", "signature": "U0lHMg=="},
)
HIDDEN = block({"type": "thinking", "thinking": "", "signature": ""}, {"type": "signature_delta", "signature": "TlVM"})
REDACTED = block({"type": "redacted_thinking", "data": "c2VjcmV0"})
CLAUDE = "anthropic/claude-sonnet-4-5"
GEMINI = "gemini/gemini-3-pro-preview"
SIGNATURE = "R2VtaW5p" * 40  # longer than a call's id may be


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def agent(name: str, server: RawServer, store: ThreadStore | None = None, **fields: Any) -> Agent:
    path = "" if name in (CLAUDE, GEMINI) else "/v1"
    fields = {"tools": [add], "thread_store": store, "api_key": "k", **fields}
    return Agent(model_name=name, api_base=server.url + path, **fields)


async def sent_back(name: str, *scripts: Step, **fields: Any) -> tuple[dict[str, Any], list[Message]]:
    """The second request of a conversation that was stored and loaded in between, and its messages."""
    async with raw_server(*scripts) as server, await ThreadStore.create() as store:
        thread = Thread(id="t", messages=[Message(role="user", content="1 + 2?")])
        await agent(name, server, store, **fields).go(thread)
        if len(server.bodies) == 1:
            thread = await store.get_thread("t")
            thread.add_message(Message(role="user", content="And now?"))
            await agent(name, server, store, **fields).go(thread)
        return json.loads(server.bodies[1]), (await store.get_thread("t")).messages


async def test_claude_gets_its_blocks_back_as_they_were() -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
    first = anthropic(*THOUGHT, *REDACTED, *SECOND, *HIDDEN, *USED, reason="tool_use")
    body, messages = await sent_back(CLAUDE, first, anthropic(*SAID, reason="end_turn"), model_params=thinking)
    assert body["messages"][1] == {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Let me add.", "signature": "U0lHMQ=="},
            {"type": "redacted_thinking", "data": "c2VjcmV0"},
            {"type": "thinking", "thinking": "Again.", "signature": "U0lHMg=="},
            {"type": "thinking", "thinking": "", "signature": "TlVM"},
            {"type": "tool_use", "id": "u1", "name": "add", "input": {"a": 1, "b": 2}},
        ],
    }
    assert body["thinking"] == thinking["thinking"]
    stored = messages[1].metadata["reasoning"]
    assert (stored["provider"], stored["text"]) == ("anthropic", "Let me add.Again.")
    assert "reasoning" not in messages[-1].metadata


async def test_gemini_gets_its_signatures_back_on_the_parts_that_had_them() -> None:
    function = {"functionCall": {"name": "add", "args": {"a": 1, "b": 2}}}
    other = {"functionCall": {"name": "add", "args": {"a": 3, "b": 4}}}
    first = gemini({"text": "Hm.", "thought": True}, {**function, "thoughtSignature": SIGNATURE}, other, reason="STOP")
    body, messages = await sent_back(GEMINI, first, gemini({"text": "3"}, reason="STOP"))
    parts = body["contents"][1]["parts"]
    assert [(part["function_call"]["args"], part.get("thoughtSignature")) for part in parts] == [
        ({"a": 1, "b": 2}, SIGNATURE),
        ({"a": 3, "b": 4}, None),
    ]
    assert all(len(asked.id) < 40 for asked in messages[1].tool_calls)
    assert messages[1].metadata["reasoning"]["text"] == "Hm."


async def test_a_short_signature_is_not_left_in_the_calls_id() -> None:
    function = {"functionCall": {"name": "add", "args": {"a": 1, "b": 2}}}
    used = gemini({**function, "thoughtSignature": "U0lH"}, reason="STOP")
    body, messages = await sent_back(GEMINI, used, gemini({"text": "3"}, reason="STOP"))
    assert "U0lH" not in messages[1].tool_calls[0].id
    assert messages[1].metadata["reasoning"]["data"] == {"call_signatures": ["U0lH"]}, "it is kept once"
    assert body["contents"][1]["parts"][0]["thoughtSignature"] == "U0lH"


async def test_geminis_signature_of_a_text_comes_back_with_it() -> None:
    said = gemini({"text": "3"}, {"text": "", "thoughtSignature": SIGNATURE}, reason="STOP")
    body, _ = await sent_back(GEMINI, said, said)
    assert body["contents"][1]["parts"] == [{"text": "3", "thoughtSignature": SIGNATURE}]


async def test_deepseek_gets_its_thoughts_back() -> None:
    thought = chunk({"reasoning_content": "Let me "}), chunk({"reasoning_content": "add."})
    name = "deepseek/deepseek-reasoner"
    body, _ = await sent_back(name, stream(*thought, call(), CALLED), stream(text("3"), STOP))
    assert body["messages"][1]["reasoning_content"] == "Let me add."


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_a_server_of_openais_format_gets_no_field_that_it_does_not_know(field: str) -> None:
    thought = chunk({field: "Let me add."})
    body, messages = await sent_back("openai/m", stream(thought, call(), CALLED), stream(text("3"), STOP))
    assert body["messages"][1].keys() == {"role", "tool_calls"}
    expected = {"provider": "openai", "text": "Let me add.", "data": {}}
    assert messages[1].metadata["reasoning"] == expected


@pytest.mark.parametrize("name", ["openai/m", GEMINI])
async def test_another_provider_gets_nothing_of_it(name: str) -> None:
    async with await ThreadStore.create() as store:
        thread = Thread(id="t", messages=[Message(role="user", content="1 + 2?")])
        used, said = anthropic(*THOUGHT, *USED, reason="tool_use"), anthropic(*SAID, reason="end_turn")
        async with raw_server(used, said) as server:
            await agent(CLAUDE, server, store).go(thread)
        thread.add_message(Message(role="user", content="And now?"))
        other = stream(text("3"), STOP) if name == "openai/m" else gemini({"text": "3"}, reason="STOP")
        async with raw_server(other) as server:
            await agent(name, server, store).go(thread)
    for trace in (b"U0lHMQ", b"thinking", b"Let me", b"reasoning", b"specific"):
        assert trace not in server.bodies[0]


def test_one_provider_gets_nothing_of_another_that_speaks_alike() -> None:
    block = {"type": "thinking", "thinking": "Hm.", "signature": "U0lH"}
    data = {"thinking_blocks": [block], "thought_signatures": ["U0lH"]}
    for name, maker in (
        ("bedrock/anthropic.claude-sonnet-4-5", "anthropic"),
        ("vertex_ai/gemini-3-pro", "gemini"),
        ("moonshot/kimi-k2-thinking", "deepseek"),
    ):
        plain, provider = {"role": "assistant", "content": "3"}, name.partition("/")[0]
        others = {**plain, "reasoning": {"provider": maker, "text": "Hm.", "data": data}}
        own = {**plain, "reasoning": {"provider": provider, "text": "Hm.", "data": data}}
        assert with_reasoning([others], name, provider) == [plain]
        (sent,) = with_reasoning([own], name, provider)
        assert len(sent) == 3
        assert "reasoning" in own, "the messages are the caller's"


@pytest.mark.parametrize("odd", [5, "x", ["x"], [5], {"a": 1}, [{"type": 5, "thinking": 5, "signature": 5}]])
def test_what_is_no_thought_is_left_out(odd: Any) -> None:
    thoughts = Thoughts("p")
    delta = SimpleNamespace(thinking_blocks=odd, provider_specific_fields=odd, reasoning_content=[odd])
    assert thoughts.take(delta) is None
    delta.provider_specific_fields = {"thought_signatures": odd}
    assert thoughts.take(delta) is None
    found = thoughts.reasoning([])
    assert found is None or found.data == {"thought_signatures": ["x"]}


async def test_claude_does_not_think_in_a_turn_whose_calls_another_model_made() -> None:
    """It would refuse: "Expected thinking or redacted_thinking, but found tool_use"."""
    thread = Thread(messages=[Message(role="user", content="1 + 2?")])
    await Agent(model=ScriptedModel([calls(("add", {"a": 1, "b": 2})), "3"]), tools=[add]).go(thread)
    del thread.messages[-1]
    for left_open, thinks in ((True, False), (False, True)):
        if not left_open:
            thread.add_message(Message(role="user", content="And now?"))
        async with raw_server(anthropic(*SAID, reason="end_turn")) as server:
            await agent(CLAUDE, server, model_params={"reasoning_effort": "low"}).go(thread)
        assert ("thinking" in json.loads(server.bodies[0])) is thinks


async def test_thoughts_are_streamed_before_the_text() -> None:
    thought = chunk({"reasoning_content": "Let me "}), chunk({"reasoning_content": "add."})
    async with raw_server(stream(*thought, text("3"), STOP)) as server:
        events = [event async for event in agent("openai/m", server).stream(Thread(messages=[_question()]))]
    deltas = [event for event in events if isinstance(event, ReasoningDelta | TextDelta)]
    assert deltas == [ReasoningDelta("Let me "), ReasoningDelta("add."), TextDelta("3")]
    assert [event.message.text for event in events if isinstance(event, MessageAdded)] == ["3"]


async def test_an_answer_that_is_stopped_keeps_no_signature() -> None:
    said = anthropic(*THOUGHT, *SAID)  # and then nothing
    async with raw_server([said, "silence"]) as server:
        thread = Thread(messages=[_question()])
        stream = agent(CLAUDE, server).stream(thread)
        async for event in stream:
            if isinstance(event, TextDelta):
                break
        await stream.aclose()
    assert thread.messages[-1].text == "3"
    assert "reasoning" not in thread.messages[-1].metadata


@pytest.mark.parametrize("odd", [5, ["x"], {"a": 1}, "NUL \x00 and half a pair \ud800"])
async def test_odd_thoughts_do_not_cost_the_answer(odd: Any) -> None:
    thought = chunk({"reasoning_content": odd, "thinking_blocks": odd, "provider_specific_fields": odd})
    body, messages = await sent_back("openai/m", stream(thought, text("3"), STOP))
    assert messages[1].text == "3"
    assert body["messages"][1] == {"role": "assistant", "content": "3"}


DAMAGED: list[Any] = [
    7,
    [],
    {},
    {"provider": "anthropic", "data": 7},
    {"provider": "anthropic", "data": {"thinking_blocks": [7, {"type": "thinking", "thinking": 7, "signature": "x"}]}},
    {"provider": "gemini", "data": {"call_signatures": [7, "x"], "thought_signatures": 7}},
    {"provider": "gemini", "data": {"call_signatures": 7}},
]


@pytest.mark.parametrize("name", ["openai/m", CLAUDE, GEMINI])
@pytest.mark.parametrize("damaged", DAMAGED)
async def test_damaged_metadata_does_not_stop_a_conversation(name: str, damaged: Any) -> None:
    asked = Message(role="assistant", tool_calls=calls(("add", {"a": 1, "b": 2})).tool_calls)
    asked.metadata["reasoning"] = damaged
    answers = {CLAUDE: anthropic(*SAID, reason="end_turn"), GEMINI: gemini({"text": "3"}, reason="STOP")}
    async with raw_server(answers.get(name, stream(text("3"), STOP))) as server:
        result = await agent(name, server).go(Thread(messages=[_question(), asked]))
    assert result.content == "3"


async def test_tokens_are_counted_with_thoughts_in_the_messages() -> None:
    model: Model = LitellmModel("openai/m")
    plain = {"role": "assistant", "content": "3"}
    thought = {**plain, "reasoning": {"provider": "openai", "text": "long " * 50, "data": {}}}
    assert await model.count_tokens([plain]) == await model.count_tokens([thought])


def test_repairs_keep_it() -> None:
    reply = calls(("add me", {"a": 1, "b": 2}))
    asked = Message(role="assistant", tool_calls=reply.tool_calls, metadata={"reasoning": {"provider": "p"}})
    question = Message(role="user", content="1 + 2?", metadata={"reasoning": {"provider": "p"}})
    (user, mended, result) = valid_chat([to_chat(question), to_chat(asked)])
    assert mended["reasoning"] == {"provider": "p"}
    assert mended["tool_calls"][0]["function"]["name"] == "add_me"
    assert not {"reasoning"} & (user.keys() | result.keys())


async def test_any_model_may_think() -> None:
    model = ScriptedModel([Reply("3", reasoning=Reasoning("own", "Let me add.", {"key": [1]}))])
    result = await Agent(model=model).go("1 + 2?")
    expected = {"provider": "own", "text": "Let me add.", "data": {"key": [1]}}
    assert result.new_messages[0].metadata == {"reasoning": expected}


def _question() -> Message:
    return Message(role="user", content="1 + 2?")
