"""Agents through litellm against a server that sends what no honest one would: bytes, faults and odd words."""

import sys
import time
import warnings
from email.utils import formatdate
from typing import Any

import pytest

from narrator import Message, Thread, ThreadStore
from tests.litellm_clients import litellm_clients
from tests.tyler.provider_formats import anthropic, block, gemini
from tests.tyler.raw_server import RawServer, Step, call, chunk, http, raw_server, stream, text
from tyler import (
    Agent,
    ModelAnswerBroken,
    ModelError,
    ModelKeyError,
    ModelRateLimited,
    ModelRefused,
    ModelUnavailable,
    Result,
)

__all__ = ["litellm_clients"]

pytestmark = pytest.mark.usefixtures("litellm_clients")
SECRET, KEY = "my password is hunter2-and-more", "test-key-123456"
STOP, CALLED = chunk(finish="stop"), chunk(finish="tool_calls")
DONE = stream(text("done"), STOP)
Script = Step | list[Step]


async def go(server: RawServer, **fields: Any) -> tuple[Result | ModelError, list[tuple[int, int]]]:
    """What one go brings, and the tool calls that ran. After an error the thread is as it was, and go works again."""
    ran = []

    def add(a: int = 0, b: int = 0) -> int:
        ran.append((a, b))
        return a + b

    thread = Thread(id="t", messages=[Message(role="user", content=SECRET)])
    store = await ThreadStore.create()
    settings: dict[str, Any] = {"model_name": "openai/m", "api_base": f"{server.url}/v1", "api_key": KEY, **fields}
    agent = Agent(tools=[add], thread_store=store, **settings)
    try:
        return await agent.go(thread), ran
    except ModelError as error:
        assert [m.text for m in thread.messages] == [SECRET]
        assert (await store.get_thread("t")).messages == thread.messages
        shown = str(error)
        assert not [secret for secret in ("hunter2", KEY) if secret in shown]
        assert "; " in shown, "it says the next step"
        return error, ran


async def answer(*scripts: Script, **fields: Any) -> tuple[str, list[tuple[int, int]]]:
    async with raw_server(*scripts) as server:
        result, ran = await go(server, **fields)
    assert isinstance(result, Result), result
    return f"{result.status}: {result.content}", ran


async def failure(error: type[ModelError], *scripts: Script, requests: int = 1, **fields: Any) -> ModelError:
    async with raw_server(*scripts) as server:
        result, ran = await go(server, **fields)
    assert type(result) is error, result
    assert server.requests == requests
    assert ran == []
    return result


def limited(**headers: str) -> bytes:
    return http(b'{"error": {"message": "slow down"}}', "429 Too Many Requests", **headers)


# -- how long to wait --------------------------------------------------------------------------------


async def test_a_wait_in_milliseconds_is_kept() -> None:
    error = await failure(ModelRateLimited, limited(retry_after_ms="10", retry_after="3600"), requests=3)
    assert error.retry_after_s == 0.01


async def test_a_long_wait_is_reported_in_seconds_however_it_is_written() -> None:
    asked = {"retry_after": formatdate(time.time() + 3600, usegmt=True)}, {"retry_after_ms": "3600000"}
    for headers in asked:
        error = await failure(ModelRateLimited, limited(**headers))
        assert error.retry_after_s == pytest.approx(3600, abs=60)


# -- statuses and errors -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["402 Payment Required", "405 Not Allowed", "422 Unprocessable", "451 Unavailable"])
async def test_what_is_refused_is_sent_once_and_its_reason_shown(status: str) -> None:
    error = await failure(ModelRefused, http(b'{"error": {"message": "no balance"}}', status))
    assert str(error).endswith("no balance")


async def test_redirects_in_circles_are_followed_once() -> None:
    error = await failure(ModelAnswerBroken, http(b"", "307 Temporary", location="/v1"), requests=21)
    assert "check its base URL" in str(error)


@pytest.mark.parametrize(("code", "error"), [(400, ModelRefused), ("401", ModelKeyError)])
async def test_an_error_in_the_stream_has_its_own_status(code: object, error: type[ModelError]) -> None:
    refused = {"error": {"message": f"no: {SECRET}", "code": code}}
    await failure(error, stream(refused))
    await failure(error, stream(text("a"), refused))


async def test_an_overload_in_the_stream_is_tried_again_before_the_first_piece_only() -> None:
    overload = {"error": {"message": "overloaded", "code": 529}}
    assert await answer(stream(overload), DONE) == ("completed: done", [])
    await failure(ModelUnavailable, stream(text("a"), overload))


async def test_silence_in_mid_stream_is_a_time_out() -> None:
    await failure(ModelUnavailable, [stream(text("a"), done=b""), "silence"], model_params={"timeout": 0.2})


@pytest.mark.parametrize(
    "body",
    [
        b"data: {oops\n\n",
        b"<html>\ndata: sign in\n\n",
        b"data: [1, 2]\n\n",
        b'data: {"choices": "none"}\n\n',
        b'data: {"choices": [null]}\n\n',
        b'data: {"choices": [{"delta": "a"}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "a\xff"}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": 5}}]}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": "add"}}]}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": [null]}}]}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c1"}]}}]}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": [{"index": {}, "function": {"name": "add"}}]}}]}\n\n',
    ],
)
async def test_a_piece_that_cannot_be_read_breaks_the_answer(body: bytes) -> None:
    """Left out, it would leave a shorter answer that looks whole."""
    assert (await failure(ModelAnswerBroken, stream(body, text("b"), STOP))).__cause__ is not None
    assert (await failure(ModelAnswerBroken, stream(text("a"), body, text("b"), STOP))).__cause__ is not None


# -- how an answer ended -----------------------------------------------------------------------------

WHOLE = ["stop", "STOP", "end_turn", "eos"]
LIMIT = ["length", "LENGTH", "max_tokens", "model_length", "model_context_window_exceeded"]
FILTER = ["content_filter", "SAFETY", "refusal", "sensitive"]
BROKEN = ["error", "network_error", "abort", "insufficient_system_resource", "MALFORMED_FUNCTION_CALL", "new", 5, ["a"]]


@pytest.mark.parametrize("reason", [*LIMIT, *FILTER, *BROKEN, ""])
async def test_a_call_runs_only_where_the_answer_is_known_to_be_whole(reason: Any) -> None:
    await failure(ModelAnswerBroken, stream(call(), chunk(finish=reason)))
    at_once = call()
    at_once["choices"][0]["finish_reason"] = reason
    await failure(ModelAnswerBroken, stream(at_once))


async def test_every_reason_counts() -> None:
    await failure(ModelAnswerBroken, stream(call(), chunk(finish="length"), CALLED))
    await failure(ModelAnswerBroken, stream(call(), CALLED, chunk(finish="length")))


@pytest.mark.parametrize("reason", [*WHOLE, "tool_calls", "tool_use", "function_call"])
async def test_a_whole_call_runs(reason: str) -> None:
    assert await answer(stream(call(), chunk(finish=reason)), DONE) == ("completed: done", [(1, 2)])


async def test_text_says_how_it_ended() -> None:
    for reason in WHOLE:
        assert (await answer(stream(text("a"), chunk(finish=reason))))[0] == "completed: a"
    for reason in LIMIT:
        assert (await answer(stream(text("a"), chunk(finish=reason))))[0] == "cut: a"
    for reason in FILTER:
        assert (await answer(stream(text("a"), chunk(finish=reason))))[0] == "filtered: a"


@pytest.mark.parametrize("reason", BROKEN)
async def test_text_that_ended_in_an_unknown_way_is_broken(reason: Any) -> None:
    await failure(ModelAnswerBroken, stream(text("a"), chunk(finish=reason)))


async def test_a_call_that_is_announced_and_missing_breaks_the_answer() -> None:
    await failure(ModelAnswerBroken, stream(text("I add them."), CALLED))


async def test_an_answer_without_a_word_says_why() -> None:
    thinking = chunk({"reasoning_content": "hm"})
    assert "max_tokens" in str(await failure(ModelAnswerBroken, stream(thinking, chunk(finish="length"))))
    assert "filter" in str(await failure(ModelAnswerBroken, stream(chunk(finish="content_filter"))))


async def test_an_answer_without_end_is_stopped() -> None:
    piece = "a" * 1_000_000
    error = await failure(ModelAnswerBroken, stream(*[text(f"{piece}{n}") for n in range(11)], STOP))
    assert "goes on beyond 10,000,000 characters" in str(error)


# -- what is meant -----------------------------------------------------------------------------------


async def test_calls_of_servers_that_bend_the_format() -> None:
    parsed = call({"a": 1, "b": 2}, call_id=7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await answer(stream(parsed, CALLED), DONE) == ("completed: done", [(1, 2)])


async def test_calls_without_index_are_told_apart_by_id() -> None:
    first = [call('{"a": ', index=None, call_id=call_id) for call_id in ("x", "y")]
    rest = [call(f"{n}}}", index=None, call_id=call_id, name=None) for n, call_id in ((1, "x"), (2, "y"))]
    assert await answer(stream(*first, *rest, CALLED), DONE) == ("completed: done", [(1, 0), (2, 0)])


async def test_a_refusal_and_text_in_parts_are_text() -> None:
    refusal = chunk({"refusal": "I will "}), chunk({"refusal": "not."})
    assert (await answer(stream(*refusal, STOP)))[0] == "completed: I will not."
    parts = chunk({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "yes"}]})
    assert (await answer(stream(parts, STOP)))[0] == "completed: yes"


@pytest.mark.parametrize(
    "usage",
    [
        5,
        [1],
        {"prompt_tokens": "12", "completion_tokens": "x", "total_tokens": None},
        {"prompt_tokens": -5, "completion_tokens": 1, "total_tokens": -4},
        {
            "prompt_tokens": 1,
            "completion_tokens": 1,
            "total_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": "x"},
        },
    ],
)
async def test_nonsense_for_usage_does_not_cost_the_answer(usage: Any) -> None:
    async with raw_server(stream(text("a"), {**STOP, "usage": usage})) as server:
        result, _ = await go(server)
    assert isinstance(result, Result)
    assert result.content == "a"
    assert result.usage.input_tokens >= 0


# -- other providers' formats ------------------------------------------------------------------------


SAID = block({"type": "text", "text": ""}, {"type": "text_delta", "text": "done"})
USED = block(
    {"type": "tool_use", "id": "u1", "name": "add", "input": {}},
    {"type": "input_json_delta", "partial_json": '{"a": 1, "b": 2}'},
)


FUNCTION = {"functionCall": {"name": "add", "args": {"a": 1, "b": 2}}}
PROVIDERS = {
    "anthropic/claude-sonnet-4-5": (
        anthropic(*SAID, reason="end_turn"),
        anthropic(*USED, reason="tool_use"),
        [anthropic(*SAID), anthropic(*USED)],
        [anthropic(*USED, reason=r) for r in ("max_tokens", "model_context_window_exceeded", "refusal", "pause_turn")],
    ),
    "gemini/gemini-2.5-flash": (
        gemini({"text": "done"}, reason="STOP"),
        gemini(FUNCTION, reason="STOP"),
        [gemini({"text": "done"}), gemini(FUNCTION)],
        [gemini(FUNCTION, reason=r) for r in ("MAX_TOKENS", "MALFORMED_FUNCTION_CALL", "SAFETY")],
    ),
}


@pytest.mark.parametrize("model_name", PROVIDERS)
async def test_other_formats_are_held_to_the_same_rule(model_name: str) -> None:
    said, used, cut, cut_calls = PROVIDERS[model_name]
    async with raw_server(used, said) as server:
        result, ran = await go(server, model_name=model_name, api_base=server.url)
    assert isinstance(result, Result), result
    assert (result.content, ran) == ("done", [(1, 2)])
    for script in (*cut, *cut_calls):
        async with raw_server(script) as server:
            error, ran = await go(server, model_name=model_name, api_base=server.url)
        assert (type(error), ran, server.requests) == (ModelAnswerBroken, [], 1), script


@pytest.mark.parametrize("model_name", PROVIDERS)
async def test_the_reason_is_shown_without_its_wrapping(model_name: str) -> None:
    body = b'{"type": "error", "error": {"code": 400, "message": "no such field", "type": "x"}}'
    async with raw_server(http(body, "400 Bad Request")) as server:
        error, _ = await go(server, model_name=model_name, api_base=server.url)
    assert str(error).endswith("change what is sent: no such field")


async def test_a_prompt_that_gemini_blocks() -> None:
    blocked = http(b'data: {"promptFeedback": {"blockReason": "SAFETY"}}\r\n\r\n')
    async with raw_server(blocked) as server:
        error, _ = await go(server, model_name="gemini/gemini-2.5-flash", api_base=server.url)
    assert "was stopped by its filter" in str(error)


async def test_an_agent_closed_twice_holds_no_connection_in_anthropics_format_either() -> None:
    clients = sys.modules["litellm"].in_memory_llm_clients_cache.cache_dict
    for _ in range(2):
        async with raw_server(anthropic(*SAID, reason="end_turn")) as server:
            model = {"model_name": "anthropic/claude-sonnet-4-5", "api_base": server.url, "api_key": KEY}
            async with Agent(**model) as agent:
                before = set(clients)
                await agent.go("hi")
                assert set(clients) - before, "its client is one of those that close() closes"
            assert not set(clients) - before
