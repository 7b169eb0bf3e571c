"""Prompt caches live on requests that begin alike: measured on the bytes that reach a provider."""

import copy
import json
from itertools import pairwise
from typing import Any

import pytest

from narrator import Attachment, Message, Thread, ThreadStore
from tests.litellm_clients import litellm_clients
from tests.tyler.provider_formats import anthropic, block, gemini
from tests.tyler.raw_server import call, chunk, raw_server, stream, text
from tyler import Agent, LitellmModel, Request

__all__ = ["litellm_clients"]

pytestmark = pytest.mark.usefixtures("litellm_clients")
ADD = '{"a": 1, "b": 2}'
CLAUDE, GEMINI = "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"
SCRIPTS = {
    "openai/m": (
        stream(chunk({"reasoning_content": "Hm."}), call(), call(index=1, call_id="c2"), chunk(finish="tool_calls")),
        stream(text("It is 3."), chunk(finish="stop")),
        "messages",
    ),
    CLAUDE: (
        anthropic(
            *block(
                {"type": "thinking", "thinking": "", "signature": ""},
                {"type": "thinking_delta", "thinking": "Hm."},
                {"type": "signature_delta", "signature": "U0lH"},
            ),
            *block(
                {"type": "tool_use", "id": "u1", "name": "add", "input": {}},
                {"type": "input_json_delta", "partial_json": ADD},
            ),
            reason="tool_use",
        ),
        anthropic(*block({"type": "text", "text": ""}, {"type": "text_delta", "text": "It is 3."}), reason="end_turn"),
        "messages",
    ),
    GEMINI: (
        gemini({"functionCall": {"name": "add", "args": {"a": 1, "b": 2}}, "thoughtSignature": "U0lH"}, reason="STOP"),
        gemini({"text": "It is 3."}, reason="STOP"),
        "contents",
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_each_request_begins_with_the_one_before(name: str) -> None:
    """Three turns with calls, each by an agent that is new and a thread that is loaded anew."""

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    used, said, field = SCRIPTS[name]
    async with raw_server(*[used, used, said] * 3) as server, await ThreadStore.create() as store:
        await store.save_thread(Thread(id="t"))
        for turn in range(3):
            thread = await store.get_thread("t")
            question = Message(role="user", content=f"Question {turn}: 1 + 2?")
            question.add_attachment(Attachment(filename="notes.txt", content=f"{turn}, ünï"))
            thread.add_message(question)
            base = server.url + ("/v1" if name == "openai/m" else "")
            agent = Agent(
                model_name=name, api_base=base, api_key="k", purpose="To add.", tools=[add], thread_store=store
            )
            await agent.go(thread)
    bodies = [json.loads(body) for body in server.bodies]
    assert len(bodies) == 9
    for before, after in pairwise(bodies):
        assert after[field][: len(before[field])] == before[field]
        assert {k: v for k, v in after.items() if k != field} == {k: v for k, v in before.items() if k != field}
    texts = [json.dumps(body[field]) for body in bodies]
    shares = [_common(a, b) / (len(a) - 1) for a, b in pairwise(texts)]
    print(f"{name}: {min(shares):.1%} of each request's {field} begin the next one")
    assert min(shares) == 1  # byte by byte, up to the bracket that closes the list


def _common(one: str, other: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


async def test_claudes_cache_is_asked_for_by_model_params() -> None:
    points = [{"location": "message", "role": "system"}, {"location": "message", "index": -1}]
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "To add."},
        {"role": "user", "content": [{"type": "text", "text": "1 + 2?"}]},
    ]
    before = copy.deepcopy(messages)
    async with raw_server(SCRIPTS[CLAUDE][1]) as server:
        params = {"cache_control_injection_points": points}
        model = LitellmModel(CLAUDE, api_base=server.url, api_key="k", params=params)
        for _ in range(2):
            assert [piece async for piece in model.stream(Request(messages))]
    for body in map(json.loads, server.bodies):
        mark = {"cache_control": {"type": "ephemeral"}}
        assert body["system"] == [{"type": "text", "text": "To add.", **mark}]
        assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "1 + 2?", **mark}]}]
    assert messages == before, "the mark is put on a copy: else it would stay where it was, in each later request"
    assert points == [{"location": "message", "role": "system"}, {"location": "message", "index": -1}]
