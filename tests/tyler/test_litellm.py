"""Agents through litellm over real HTTP, against a strict server and its faults."""

import asyncio
import sys
from typing import Any

import pytest

from narrator import Message, Thread, Usage
from tests.litellm_clients import litellm_clients
from tests.model_server import ModelServer, Reply
from tyler import (
    Agent,
    ModelAnswerBroken,
    ModelError,
    ModelKeyError,
    ModelNotFound,
    ModelRateLimited,
    ModelRefused,
    ModelUnavailable,
    TextDelta,
)

__all__ = ["litellm_clients"]

pytestmark = pytest.mark.usefixtures("litellm_clients")
SECRET = "my password is hunter2-and-more"


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def question() -> Thread:
    return Thread(id="t", messages=[Message(role="user", content=SECRET)])


async def refused(error: type[ModelError], model_server: ModelServer, requests: int, **fields: Any) -> ModelError:
    """The error of one go; its text quotes neither conversation nor key, and the thread is as it was."""
    thread = question()
    with pytest.raises(error) as caught:
        await Agent(model_name="gpt-4", **fields).go(thread)
    assert type(caught.value) is error
    assert len(model_server.requests) == requests
    assert [m.text for m in thread.messages] == [SECRET]
    shown = str(caught.value)
    assert "hunter2" not in shown
    assert "test-key" not in shown
    assert "; " in shown or ": " in shown, "it says the next step"
    return caught.value


async def test_a_conversation_streams_and_counts(model_server: ModelServer) -> None:
    model_server.reply("Hello to you.", usage=(1000, 100))
    agent = Agent(model_name="gpt-4", purpose="To be kind.")
    pieces, result = [], None
    async for event in agent.stream(question()):
        if isinstance(event, TextDelta):
            pieces.append(event.text)
        result = getattr(event, "result", result)
    assert pieces == ["Hello", " to", " you."]
    assert result is not None
    assert result.content == "Hello to you."
    assert result.usage.model_copy(update={"cost_usd": None}) == Usage(input_tokens=1000, output_tokens=100)
    assert result.usage.cost_usd == pytest.approx(1000 * 30e-6 + 100 * 60e-6)
    (recorded,) = model_server.requests
    assert recorded.messages == [{"role": "system", "content": "To be kind."}, {"role": "user", "content": SECRET}]


async def test_a_model_of_unknown_price_costs_nothing_that_is_known(model_server: ModelServer) -> None:
    result = await Agent(model_name="openai/my-own").go("hi")
    assert result.usage.input_tokens == 1
    assert result.usage.cost_usd is None


@pytest.mark.parametrize("call_chunks", ["split", "whole", "interleaved", "no_index"])
async def test_tool_calls_however_they_are_streamed(model_server: ModelServer, call_chunks: Any) -> None:
    sums = [("add", {"a": 1_000_000, "b": 2}), ("add", {"a": 30, "b": 4}), ("add", {"a": 5, "b": 6})]
    model_server.reply(tool_calls=sums, call_chunks=call_chunks)
    model_server.reply("done")
    result = await Agent(model_name="gpt-4", tools=[add]).go("sums")
    assert [m.text for m in result.new_messages] == ["", "1000002", "34", "11", "done"]
    assert not model_server.refused


async def test_providers_that_repeat_call_ids_are_understood(model_server: ModelServer) -> None:
    for _ in range(2):
        model_server.reply(tool_calls=[("add", {"a": 1, "b": 1}, "call_0")])
    model_server.reply("done")
    result = await Agent(model_name="gpt-4", tools=[add]).go("sums")
    assert (result.content, len(model_server.refused)) == ("done", 0)


BROKEN = {
    "cut in its text": Reply("a b c d", broken="cut", broken_after=2),
    "cut in a call": Reply(tool_calls=[("add", {"a": 1, "b": 2})], broken="cut", broken_after=3),
    "cut before its finish reason": Reply("a b", broken="cut", broken_after=2),
    "HTML with status 200": Reply(html="<html>proxy</html>"),
    "empty choices": Reply(empty_choices=True),
    "no text": Reply(""),
    "a call cut by length": Reply(tool_calls=[("add", '{"a": 1, "b"')], finish_reason="length"),
    "a whole call at the length limit": Reply(tool_calls=[("add", {"a": 1, "b": 2})], finish_reason="length"),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_cut_answer_is_never_taken_for_a_whole_one(model_server: ModelServer, what: str) -> None:
    ran = []

    def add(a: int, b: int) -> None:
        ran.append((a, b))

    model_server.reply(BROKEN[what])
    await refused(ModelAnswerBroken, model_server, 1, tools=[add])
    assert ran == []


@pytest.mark.parametrize("broken", ["close", "reset", "error"])
async def test_a_connection_lost_in_mid_answer(model_server: ModelServer, broken: Any) -> None:
    model_server.reply("a b c d", broken=broken, broken_after=2)
    error = await refused(ModelUnavailable, model_server, 1)
    assert error.__cause__ is not None


async def test_a_stream_that_ends_behind_its_finish_reason_is_whole(model_server: ModelServer) -> None:
    """Only the usage and [DONE] are missing."""
    model_server.reply("a b", broken="cut", broken_after=3)
    assert (await Agent(model_name="gpt-4").go("hi")).content == "a b"


async def test_text_cut_by_length_is_marked(model_server: ModelServer) -> None:
    model_server.reply("a b", finish_reason="length")
    assert (await Agent(model_name="gpt-4").go("hi")).status == "cut"


async def test_malformed_arguments_are_told_to_the_model_and_mended_in_the_history(model_server: ModelServer) -> None:
    model_server.reply(tool_calls=[("add", '{"a": 1, "b"')])
    model_server.reply("sorry")
    result = await Agent(model_name="gpt-4", tools=[add]).go("hi")
    assert result.content == "sorry"
    assert "arguments are wrong" in result.new_messages[1].text
    assert not model_server.refused


PASSING = {
    "429": (Reply(status=429, retry_after=0.01), ModelRateLimited),
    "500": (Reply(status=500, retry_after=0.01), ModelUnavailable),
    "503": (Reply(status=503, retry_after=0.01), ModelUnavailable),
    "an HTML error": (Reply(status=502, html="<html>bad gateway</html>", retry_after=0.01), ModelUnavailable),
}


@pytest.mark.parametrize("what", PASSING)
async def test_passing_failures_are_tried_three_times(model_server: ModelServer, what: str) -> None:
    reply, error = PASSING[what]
    for _ in range(4):
        model_server.reply(reply)
    await refused(error, model_server, 3)


@pytest.mark.parametrize("what", PASSING)
async def test_a_passing_failure_passes(model_server: ModelServer, what: str) -> None:
    model_server.reply(PASSING[what][0])
    model_server.reply("back")
    assert (await Agent(model_name="gpt-4").go("hi")).content == "back"


async def test_without_retry_after_it_waits_a_little(model_server: ModelServer) -> None:
    model_server.reply(status=429)
    assert (await Agent(model_name="gpt-4").go("hi")).content == "echo: hi"


async def test_who_asks_to_wait_long_is_not_asked_again(model_server: ModelServer) -> None:
    model_server.reply(status=429, retry_after=3600)
    error = await refused(ModelRateLimited, model_server, 1)
    assert error.retry_after_s == 3600


async def test_a_reset_before_the_first_piece_is_tried_again(model_server: ModelServer) -> None:
    model_server.reply("lost", broken="reset", broken_after=0)
    assert (await Agent(model_name="gpt-4").go("hi")).content == "echo: hi"


async def test_time_outs_are_tried_three_times(model_server: ModelServer) -> None:
    for _ in range(3):
        model_server.reply("late", delay_s=30)
    await refused(ModelUnavailable, model_server, 3, model_params={"timeout": 0.2})


@pytest.mark.parametrize(
    ("status", "error"), [(400, ModelRefused), (401, ModelKeyError), (403, ModelKeyError), (404, ModelNotFound)]
)
async def test_what_is_refused_is_never_tried_again(
    model_server: ModelServer, status: int, error: type[ModelError]
) -> None:
    model_server.reply(status=status, error=f"no: {{'content': '{SECRET}'}}, hunter2, key test-key, sk-abcdef1234")
    caught = await refused(error, model_server, 1)
    assert "sk-abcdef" not in str(caught)


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": "hush"},
        {"api_key": "correct horse battery"},
        {"model_params": {"api_key": "Zx91/w+4=="}},
        {"model_params": {"extra_headers": {"X-Token": "Bearer letmein"}}},
    ],
    ids=["short", "words", "a parameter", "a header"],
)
async def test_a_given_key_of_any_form_is_in_no_error(model_server: ModelServer, settings: dict[str, Any]) -> None:
    model_server.api_key = None
    quoted = "hush, correct horse battery, Zx91/w+4==, letmein are wrong"
    model_server.reply(status=400, error=f"Keys {quoted}")
    caught = await refused(ModelRefused, model_server, 1, **settings)
    secret = str(settings).split("'")[-2].removeprefix("Bearer ")
    assert secret in quoted
    assert secret not in str(caught)
    assert "are wrong" in str(caught)


async def test_the_providers_reason_is_shown(model_server: ModelServer) -> None:
    model_server.reply(status=400, error="Unsupported parameter: 'temperature'")
    caught = await refused(ModelRefused, model_server, 1)
    assert str(caught).endswith("Unsupported parameter: 'temperature'")


async def test_a_wrong_key(model_server: ModelServer) -> None:
    model_server.api_key = "another"
    caught = await refused(ModelKeyError, model_server, 1)
    assert "OPENAI_API_KEY" in str(caught)


async def test_a_missing_key(model_server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    await refused(ModelKeyError, model_server, 0)


async def test_a_model_that_the_provider_does_not_know(model_server: ModelServer) -> None:
    model_server.models = {"gpt-5"}
    await refused(ModelNotFound, model_server, 1)


async def test_a_model_that_litellm_does_not_know(model_server: ModelServer) -> None:
    with pytest.raises(ModelNotFound, match="'no-such-model' is not known; name it as litellm does"):
        await Agent(model_name="no-such-model").go("hi")
    assert model_server.requests == []


async def test_a_refused_connection(model_server: ModelServer) -> None:
    base_url = model_server.base_url
    model_server.close()
    error = await refused(ModelUnavailable, model_server, 0, api_base=base_url)
    assert "check its address" in str(error)


async def test_a_cancelled_request_hangs_up(model_server: ModelServer) -> None:
    import asyncio

    model_server.reply(Reply("a b c d", hold_after=2))
    thread = question()
    async for event in Agent(model_name="gpt-4").stream(thread):
        if isinstance(event, TextDelta):
            break
    await asyncio.to_thread(model_server.wait_for_hang_up)


async def test_a_closed_agent_holds_no_connection_and_can_be_used_again(model_server: ModelServer) -> None:
    async with Agent(model_name="gpt-4") as agent:
        await agent.go("one")
    litellm = sys.modules["litellm"]
    assert not [key for key in litellm.in_memory_llm_clients_cache.cache_dict if key.endswith(_this_loop())]
    assert (await agent.go("two")).content == "echo: two"


def _this_loop() -> str:
    return f"-{id(asyncio.get_running_loop())}"
