"""The model server as litellm sees it, found by the environment alone; and litellm's traps that tyler must know of."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.model_server import ModelServer, Reply, fixtures

# litellm asks each streamed tool call for a pydantic field in a deprecated way; as an error it would break the stream.
pytestmark = pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning")
model_server = fixtures.model_server
MESSAGES = [{"role": "user", "content": "hi there"}]
TOOLS = [{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}]


@pytest.fixture
async def litellm(model_server: ModelServer) -> AsyncIterator[Any]:
    """litellm, imported under the server's environment; its cached connections are closed in this test's loop."""
    import litellm

    litellm.suppress_debug_info = True
    yield litellm
    await litellm.close_litellm_async_clients()  # type: ignore[attr-defined, no-untyped-call]


async def streamed(litellm: Any, **fields: Any) -> tuple[Any, list[Any]]:
    stream = await litellm.acompletion(
        model="gpt-4",
        messages=MESSAGES,
        stream=True,
        stream_options={"include_usage": True},
        num_retries=0,
        **fields,
    )
    return stream, [chunk async for chunk in stream]


async def test_streaming_round_trip(model_server: ModelServer, litellm: Any) -> None:
    stream, chunks = await streamed(litellm)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "echo: hi there"
    assert stream.received_finish_reason == "stop"
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (2, 3)
    (recorded,) = model_server.requests
    assert recorded.messages == MESSAGES
    assert recorded.headers["authorization"] == "Bearer test-key"
    assert recorded.finished


async def test_tool_calls_round_trip(model_server: ModelServer, litellm: Any) -> None:
    model_server.reply(tool_calls=[("search", {"q": "x"}, "call_1")])
    fields: dict[str, Any] = {"model": "gpt-4", "tools": TOOLS, "num_retries": 0}
    first = await litellm.acompletion(messages=MESSAGES, **fields)
    message = first.choices[0].message
    assert message.tool_calls[0].function.arguments == '{"q": "x"}'
    answered = {"role": "tool", "tool_call_id": "call_1", "content": "found"}
    dumped = message.model_dump()
    with pytest.raises(litellm.BadRequestError, match=r"messages\[1\]\.provider_specific_fields: unknown field"):
        await litellm.acompletion(messages=[*MESSAGES, dumped, answered], **fields)
    called = {field: dumped[field] for field in ("role", "content", "tool_calls")}
    second = await litellm.acompletion(messages=[*MESSAGES, called, answered], **fields)
    assert second.choices[0].message.content == "echo: hi there"


async def test_a_refusal_arrives_as_bad_request(model_server: ModelServer, litellm: Any) -> None:
    with pytest.raises(litellm.BadRequestError, match="messages: must be a non-empty list"):
        await litellm.acompletion(model="gpt-4", messages=[], num_retries=0)
    assert len(model_server.refused) == 1


async def test_a_cut_stream_looks_finished_but_for_one_attribute(model_server: ModelServer, litellm: Any) -> None:
    """litellm invents finish_reason "stop" and a usage; only `received_finish_reason` tells."""
    model_server.reply("a b c d", broken="cut", broken_after=2)
    stream, chunks = await streamed(litellm)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == 2
    assert stream.received_finish_reason is None


async def test_a_page_of_html_streams_as_an_empty_answer(model_server: ModelServer, litellm: Any) -> None:
    model_server.reply(html="<html>proxy</html>")
    stream, chunks = await streamed(litellm)
    assert chunks[0].choices[0].finish_reason == "stop"
    assert stream.received_finish_reason is None


async def test_calls_without_index_all_get_index_0(model_server: ModelServer, litellm: Any) -> None:
    calls = [("search", {"q": "x"}), ("search", {"q": "y"})]
    model_server.reply(tool_calls=calls, call_chunks="no_index")
    _, chunks = await streamed(litellm, tools=TOOLS)
    pieces = [piece for chunk in chunks for piece in chunk.choices[0].delta.tool_calls or ()]
    assert {piece.index for piece in pieces} == {0}
    assert len({piece.id for piece in pieces if piece.id}) == 2


async def test_retry_after_is_in_litellm_response_headers(model_server: ModelServer, litellm: Any) -> None:
    model_server.reply(status=429, retry_after=7)
    with pytest.raises(litellm.RateLimitError) as caught:
        await streamed(litellm)
    assert caught.value.litellm_response_headers["retry-after"] == "7"
    assert "retry-after" not in caught.value.response.headers


@pytest.mark.parametrize("after", [0, 2])
async def test_a_reset_in_mid_stream_tells_what_came_before(
    model_server: ModelServer, litellm: Any, after: int
) -> None:
    model_server.reply(Reply("a b c", broken="reset", broken_after=after))
    with pytest.raises(litellm.exceptions.MidStreamFallbackError) as caught:
        await streamed(litellm)
    assert caught.value.is_pre_first_chunk is (after == 0)
    assert caught.value.generated_content == ("a b" if after else "")
