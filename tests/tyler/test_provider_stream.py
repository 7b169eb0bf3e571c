"""An answer in OpenAI's format is read as it came, and is the one that litellm would have made of it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from narrator import Usage
from tests.litellm_clients import litellm_clients
from tests.tyler.raw_server import Step, call, chunk, raw_server, stream, text
from tyler import ModelError
from tyler._litellm import LitellmModel
from tyler.model import Reasoning, Reply, Request

__all__ = ["litellm_clients"]

pytestmark = pytest.mark.usefixtures("litellm_clients")
STOP, CALLED = chunk(finish="stop"), chunk(finish="tool_calls")
COUNTED = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 60},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
ANSWERS: dict[str, Step | list[Step]] = {
    "text": stream(chunk({"role": "assistant", "content": ""}), text("Hello"), text(" you."), STOP),
    "usage with the end": stream(text("a"), {**STOP, "usage": COUNTED}),
    "usage by itself": stream(text("a"), STOP, {**chunk(), "choices": [], "usage": COUNTED}),
    "usage in each piece": stream(text("a", usage=COUNTED), text("b", usage=COUNTED), {**STOP, "usage": COUNTED}),
    "deepseek's cache": stream(text("a"), {**STOP, "usage": {**COUNTED, "prompt_cache_hit_tokens": 60}}),
    "not counted": stream(text("one two three"), STOP),
    "a call in pieces": stream(call(arguments='{"a":'), call(arguments=" 1}", call_id=None, name=None), CALLED),
    "two calls": stream(call(), call(index=1, call_id="c2"), CALLED),
    "calls without an index": stream(call(index=None), call(index=None, call_id="c2"), CALLED),
    "text and a call": stream(text("I look."), call(), CALLED),
    "thoughts": stream(chunk({"reasoning_content": "hm, "}), chunk({"reasoning_content": "so"}), text("a"), STOP),
    "thoughts by their other name": stream(chunk({"reasoning": "hm"}), text("a"), STOP),
    "a list of parts": stream(chunk({"content": [{"type": "text", "text": "a"}]}), STOP),
    "a refusal": stream(chunk({"refusal": "I will not."}), STOP),
    "no delta": stream({**chunk(), "choices": [{"index": 0}]}, text("a"), STOP),
    "cut off at the limit": stream(text("a"), chunk(finish="length")),
    "filtered": stream(text("a"), chunk(finish="content_filter")),
    "lost behind its end": [stream(text("a"), STOP, done=b""), "reset"],
    "an unknown end": stream(text("a"), chunk(finish="network_error")),
    "no end": stream(text("a")),
    "nothing": stream(STOP),
    "an error in the stream": stream(text("a"), {"error": {"message": "overloaded", "code": 529}}, done=b""),
    "a limit in the stream": stream({"error": {"message": "slow down", "code": "429"}}, done=b""),
    "broken": stream(b"data: {oops\n\n", STOP),
}


def uncounted(pieces: list[str | Reasoning], answer: Reply | str) -> tuple[list[str | Reasoning], Reply | str]:
    """Without the usage."""
    return pieces, answer if isinstance(answer, str) else replace(answer, usage=None)


def listen(monkeypatch: pytest.MonkeyPatch, listener: Any) -> None:
    """Register with litellm, which copies a listener from the first of its lists into the others."""
    import litellm

    for name in ("success_callback", "failure_callback", "_async_success_callback", "_async_failure_callback"):
        monkeypatch.setattr(litellm, name, [])
    monkeypatch.setattr(litellm, "callbacks", [listener])


async def reply(script: Step | list[Step]) -> tuple[list[str | Reasoning], Reply | str]:
    """The pieces, and the whole answer or its error."""
    pieces: list[str | Reasoning] = []
    async with raw_server(script) as server:
        model = LitellmModel("openai/m", api_base=f"{server.url}/v1", api_key="test-key", params={"timeout": 5})
        try:
            async for piece in model.stream(Request([{"role": "user", "content": "hi"}])):
                if isinstance(piece, Reply):
                    return pieces, piece
                pieces.append(piece)
        except ModelError as error:
            return pieces, f"{type(error).__name__}: {error}"
    raise AssertionError("neither an answer nor an error")


@pytest.mark.parametrize("name", ANSWERS)
async def test_it_is_what_litellm_makes_of_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from litellm.integrations.custom_logger import CustomLogger

    plain = await reply(ANSWERS[name])
    listen(monkeypatch, CustomLogger())  # for whom litellm makes an answer of its own
    theirs = await reply(ANSWERS[name])
    if "usage" not in name and "cache" not in name:  # estimates may differ
        plain, theirs = uncounted(*plain), uncounted(*theirs)
    assert plain == theirs


@pytest.mark.filterwarnings("ignore")  # of litellm's own modules, which a warning would keep from telling
async def test_who_listens_to_litellm_is_told_of_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from litellm.integrations.custom_logger import CustomLogger

    heard = asyncio.Queue[Any]()

    class Listener(CustomLogger):
        async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            await heard.put(response_obj)

    listen(monkeypatch, Listener())
    await reply(ANSWERS["text"])
    assert (await asyncio.wait_for(heard.get(), 20)).choices[0].message.content == "Hello you."


@pytest.mark.parametrize(("name", "output_tokens"), [("not counted", 3), ("thoughts", 4), ("a call in pieces", 7)])
async def test_what_nobody_counted_is_estimated(name: str, output_tokens: int) -> None:
    _, answer = await reply(ANSWERS[name])
    assert isinstance(answer, Reply)
    assert answer.usage == Usage(input_tokens=8, output_tokens=output_tokens)
