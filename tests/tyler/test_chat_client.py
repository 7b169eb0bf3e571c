"""The client for OpenAI's format: it sends what litellm alone would send, to where litellm would send it."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.litellm_clients import litellm_clients
from tests.tyler.raw_server import RawServer, chunk, raw_server, stream, text
from tyler import Agent
from tyler._litellm import LitellmModel
from tyler.model import Request

__all__ = ["litellm_clients"]

pytestmark = pytest.mark.usefixtures("litellm_clients")
KEY = "test-key-123456"
ANSWER = stream(text("done"), chunk(finish="stop"))
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
SYSTEM = {"role": "system", "content": "Be kind. \N{GREEK SMALL LETTER ALPHA}\N{ROCKET}"}
USER = {"role": "user", "content": "hi", "name": "ann"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "see"}, IMAGE, FILE]}
ASSISTANT = {"role": "assistant", "content": "well"}
CALLING = [
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "2"},
]
THOUGHT = {"role": "assistant", "content": "x", "reasoning_content": "hm", "thinking_blocks": [{"type": "thinking"}]}
UNKNOWN = {"role": "user", "content": "x", "not_of_the_format": {"cache_control": {"type": "ephemeral"}}}


def sent(server: RawServer) -> tuple[Any, list[bytes]]:
    """The body and the headers, sorted, of the last request; what is another in each request left out."""
    head, *headers = server.heads[-1].strip().split(b"\r\n")
    passing = (b"host", b"content-length", b"user-agent")
    return json.loads(server.bodies[-1]), [head, *sorted(h for h in headers if not h.lower().startswith(passing))]


@pytest.mark.parametrize("model", ["openai/m", "gpt-4o", "o3-mini", "gpt-5", "openai/ft:gpt-3.5-turbo:x"])
@pytest.mark.parametrize(
    "messages",
    [[SYSTEM, USER], [PARTS, ASSISTANT, USER], [USER, *CALLING, USER], [USER, THOUGHT, USER], [UNKNOWN]],
    ids=["text", "parts", "calls", "thought", "unknown fields"],
)
async def test_it_sends_what_litellm_alone_would_send(model: str, messages: list[dict[str, Any]]) -> None:
    import litellm

    params: dict[str, Any] = {
        "seed": 1,
        "extra_body": {"priority": 3, "metadata": {"a": "b"}},
        "extra_headers": {"x-of-mine": "yes"},
    }
    async with raw_server(ANSWER) as server:
        place = {"api_base": f"{server.url}/v1", "api_key": KEY}
        request = Request(messages, [TOOL], params=params)
        async for _ in LitellmModel(model, **place).stream(request):
            pass
        ours = sent(server)
        alone = {"stream": True, "stream_options": {"include_usage": True}, "num_retries": 0, "max_retries": 0}
        alone |= {"additional_drop_params": []}
        async for _ in await litellm.acompletion(
            model=model, messages=messages, tools=[TOOL], **alone, **params, **place
        ):
            pass
        assert ours == sent(server)
    assert len(ours[0]["messages"]) == len(messages)


@pytest.mark.parametrize("how", ["field", "param", "variable", "older variable", "litellm's own"])
async def test_it_is_sent_where_litellm_would_send_it(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import litellm

    async with raw_server(ANSWER) as server:
        url, fields = f"{server.url}/v1", {}
        for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        if how == "field":
            fields = {"api_base": url}
        elif how == "param":
            fields = {"model_params": {"base_url": url}}
        elif how == "litellm's own":
            monkeypatch.setattr(litellm, "api_base", url)  # a setting of litellm's
        else:
            monkeypatch.setenv("OPENAI_BASE_URL" if how == "variable" else "OPENAI_API_BASE", url)
        assert (await Agent(model_name="openai/m", **fields).go("hi")).content == "done"
        assert f"authorization: Bearer {KEY}".encode().lower() in server.heads[0].lower()


async def test_a_client_of_the_callers_own_is_taken() -> None:
    from openai import AsyncOpenAI

    async with (
        raw_server(ANSWER) as server,
        AsyncOpenAI(api_key=KEY, base_url=f"{server.url}/v1", default_headers={"x-client": "own"}) as client,
    ):
        agent = Agent(model_name="openai/m", model_params={"client": client})
        assert (await agent.go("hi")).content == "done"
        assert b"x-client: own" in server.heads[0].lower()


async def test_an_organization_is_named() -> None:
    async with raw_server(ANSWER) as server:
        agent = Agent(
            model_name="openai/m", api_base=server.url, api_key=KEY, model_params={"organization": "org-of-mine"}
        )
        assert (await agent.go("hi")).content == "done"
        assert b"openai-organization: org-of-mine" in server.heads[0].lower()


async def test_a_model_that_litellm_asks_by_the_responses_api_still_is() -> None:
    events: Sequence[dict[str, Any]] = [
        {"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "content_index": 0, "delta": "done"},
        {"type": "response.completed", "response": _RESPONSE},
    ]
    async with raw_server(stream(*events, done=b"")) as server:
        agent = Agent(
            model_name="openai/gpt-5.4",
            api_base=f"{server.url}/v1",
            api_key=KEY,
            tools=[add],
            model_params={"reasoning_effort": "low"},
        )
        assert (await agent.go("hi")).content == "done"
    assert server.heads[0].startswith(b"POST /v1/responses ")


def add(a: int) -> int:
    """Add."""
    return a


_RESPONSE = {
    "id": "r",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-5.4",
    "output": [
        {
            "type": "message",
            "id": "i",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "done", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
}
