"""Several models as one: who is asked, when, and what the next one gets to see."""

import json
import logging
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from narrator import Attachment, Message, Thread, ThreadStore
from narrator.errors import ConfigurationError
from tests.litellm_clients import litellm_clients
from tests.model_server import ModelServer
from tests.tyler.provider_formats import anthropic, block
from tests.tyler.raw_server import chunk, http, raw_server, stream, text
from tyler import (
    Agent,
    ContextTooLong,
    FallbackModel,
    LitellmModel,
    ModelAnswerBroken,
    ModelError,
    ModelKeyError,
    ModelNotFound,
    ModelRateLimited,
    ModelRefused,
    ModelUnavailable,
    Reasoning,
    ReasoningDelta,
    Reply,
    Request,
    TextDelta,
)
from tyler.testing import ScriptedModel, calls

__all__ = ["litellm_clients"]

NEXT = [ModelUnavailable, ModelRateLimited, ModelKeyError, ModelNotFound, ModelAnswerBroken]
SECRET = "my password is hunter2"
PNG = b"\x89PNG\r\n\x1a\n"


class Breaking(ScriptedModel):
    """Says what it is given, then fails."""

    name = "breaking"

    def __init__(self, *pieces: str | Reasoning) -> None:
        super().__init__([])
        self._pieces = pieces

    async def stream(self, request: Request) -> AsyncGenerator[str | Reasoning | Reply, None]:  # type: ignore[override]
        for piece in self._pieces:
            yield piece
        raise ModelAnswerBroken("model 'breaking' stopped in the middle of its answer; call go() again")


@pytest.mark.parametrize("error", NEXT)
async def test_the_next_is_asked_where_one_cannot_answer(
    error: type[ModelError], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = ScriptedModel([error("no")]), ScriptedModel(["yes"])
    with caplog.at_level(logging.DEBUG):
        result = await Agent(model=first, fallback_models=[second]).go(SECRET)
    assert result.content == "yes"
    assert result.new_messages[0].metadata == {"model": "scripted"}
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    text, _, ids = warning.getMessage().partition(" [")
    assert text == f"{error.__name__} of model 'scripted'; 'scripted' is asked"
    assert ids == f"run_id={warning.run_id!r} thread_id={result.thread.id!r} step=1]"  # type: ignore[attr-defined]
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("error", [ModelRefused, ContextTooLong])
async def test_what_is_refused_is_nobody_elses(error: type[ModelError]) -> None:
    second = ScriptedModel(["yes"])
    with pytest.raises(error):
        await Agent(model=ScriptedModel([error("no")]), fallback_models=[second]).go("hi")
    assert second.requests == []


async def test_an_answer_is_one_models() -> None:
    second = ScriptedModel(["yes"])
    agent = Agent(model=Breaking("I will "), fallback_models=[second])
    thread = Thread(messages=[Message(role="user", content="hi")])
    with pytest.raises(ModelAnswerBroken):
        await agent.go(thread)
    assert (second.requests, len(thread.messages)) == ([], 1)


async def test_thoughts_are_no_answer_yet() -> None:
    agent = Agent(model=Breaking(Reasoning("p", "Hm."), ""), fallback_models=[ScriptedModel(["yes"])])
    events = [event async for event in agent.stream("hi")]
    shown = [event for event in events if isinstance(event, ReasoningDelta | TextDelta) and event.text]
    assert shown == [ReasoningDelta("Hm."), TextDelta("yes")]


async def test_each_request_begins_with_the_first() -> None:
    def look() -> str:
        return "seen"

    first = ScriptedModel([ModelUnavailable("no"), "done"])
    second = ScriptedModel([calls(("look", {}))])
    first.name, second.name = "first", "second"
    result = await Agent(model=first, fallback_models=[second], tools=[look]).go("hi")
    answers = [message for message in result.new_messages if message.role == "assistant"]
    assert [message.metadata["model"] for message in answers] == ["second", "first"]


async def test_when_none_answers_the_last_error_is_raised_with_the_others() -> None:
    errors = [ModelRateLimited("one"), ModelUnavailable("two"), ModelKeyError("three")]
    models = [ScriptedModel([error]) for error in errors]
    with pytest.raises(ModelKeyError) as caught:
        await Agent(model=models[0], fallback_models=models[1:]).go("hi")
    assert caught.value is errors[-1]
    assert caught.value.__notes__ == ["before it: ModelRateLimited: one", "before it: ModelUnavailable: two"]


@pytest.mark.parametrize("models", [[], "gpt-4", ()])
def test_it_needs_models(models: Any) -> None:
    with pytest.raises(ConfigurationError, match="name at least one"):
        FallbackModel(models)


async def test_who_does_not_see_is_told_that_there_is_an_image() -> None:
    seeing, blind = ScriptedModel([ModelUnavailable("no")], takes_images=True), ScriptedModel(["I see none."])
    message = Message(role="user", content="What is it?")
    message.add_attachment(Attachment(filename="a.png", content=PNG, mime_type="image/png"))
    result = await Agent(model=seeing, fallback_models=[blind]).go(Thread(messages=[message]))
    assert result.content == "I see none."
    shown, told = seeing.requests[0].messages[0]["content"], blind.requests[0].messages[0]["content"]
    assert [part["type"] for part in shown] == ["text", "image_url"]
    assert told == [shown[0], {"type": "text", "text": "[an image is attached here, which is not shown to this model]"}]


@pytest.mark.usefixtures("litellm_clients")
async def test_a_models_object_for_one_run_has_no_fallbacks_and_a_name_has() -> None:
    second = ScriptedModel(["from the second"])
    agent = Agent(model=ScriptedModel([]), fallback_models=[second])
    with pytest.raises(ModelUnavailable):
        await agent.go("hi", model=ScriptedModel([ModelUnavailable("no")]))
    result = await agent.go("hi", model="no-such-model-anywhere")
    assert result.content == "from the second"


async def test_it_is_closed_with_its_models() -> None:
    closed = []

    class Closing(ScriptedModel):
        async def close(self) -> None:
            closed.append(self)

    models = [Closing([]), Closing([])]
    async with Agent(model=models[0], fallback_models=models[1:]):
        pass
    assert closed == models


# -- through litellm ---------------------------------------------------------------------------------

KEY = "agents-own-key-123"
SAID = anthropic(*block({"type": "text", "text": ""}, {"type": "text_delta", "text": "yes"}), reason="end_turn")
REFUSED_KEY = http(b'{"error": {"message": "no"}}', "401 Unauthorized")


@pytest.mark.usefixtures("litellm_clients")
async def test_another_provider_gets_neither_key_nor_address_nor_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(REFUSED_KEY) as first, raw_server(SAID) as second:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "anthropics-key")
        monkeypatch.setenv("ANTHROPIC_API_BASE", second.url)
        agent = Agent(
            model_name="openai/m",
            api_base=f"{first.url}/v1",
            api_key=KEY,
            model_params={"temperature": 0.5, "extra_headers": {"X-Secret": "hunter2"}, "service_tier": "flex"},
            fallback_models=["anthropic/claude-sonnet-4-5"],
        )
        result = await agent.go("hi")
    assert (result.content, first.requests, second.requests) == ("yes", 1, 1)
    head = second.heads[0].decode().lower()
    assert "anthropics-key" in head
    assert KEY not in head
    assert "hunter2" not in head
    body = json.loads(second.bodies[0])
    assert body["temperature"] == 0.5
    assert "service_tier" not in body
    assert result.new_messages[0].metadata["model"] == "anthropic/claude-sonnet-4-5"


@pytest.mark.usefixtures("litellm_clients")
async def test_the_same_provider_gets_key_and_address_and_leaves_out_what_it_does_not_know() -> None:
    overload = http(b'{"error": {"message": "busy"}}', "429 Too Many Requests", retry_after="3600")
    said = stream(text("yes"), chunk(finish="stop"))
    async with raw_server(overload, said) as server:
        agent = Agent(
            model_name="openai/m",
            api_base=f"{server.url}/v1",
            api_key=KEY,
            model_params={"temperature": 0.5, "max_tokens": 9},
            fallback_models=["openai/o3"],  # which takes no temperature
        )
        assert (await agent.go("hi")).content == "yes"
    assert KEY.encode() in server.heads[1]
    first, second = (json.loads(body) for body in server.bodies)
    assert (first["model"], first["temperature"]) == ("m", 0.5)
    assert second["model"] == "o3"
    assert "temperature" not in second
    assert 9 in second.values()


@pytest.mark.usefixtures("litellm_clients")
async def test_a_dead_address_and_then_one_that_answers(model_server: ModelServer) -> None:
    dead = LitellmModel("openai/m", api_base="http://127.0.0.1:9/v1", api_key="k")
    async with await ThreadStore.create() as store:
        result = await Agent(model=dead, fallback_models=[LitellmModel("gpt-4")], thread_store=store).go("hi")
        stored = (await store.get_thread(result.thread.id)).messages[-1]
    assert stored.text == "echo: hi"
    assert stored.metadata == {"model": "gpt-4"}
    assert [recorded.messages for recorded in model_server.requests] == [[{"role": "user", "content": "hi"}]]
