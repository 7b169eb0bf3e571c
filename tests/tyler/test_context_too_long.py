"""A request that does not fit into the model's context window is told apart from what is refused otherwise."""

import json

import pytest

from tests.litellm_clients import litellm_clients
from tests.tyler.raw_server import http, raw_server, stream
from tyler import Agent, ContextTooLong, ModelError, ModelRateLimited, ModelRefused

__all__ = ["litellm_clients"]

pytestmark = pytest.mark.usefixtures("litellm_clients")
SECRET = "my password is hunter2, the prompt is too long"
GEMINI = "gemini/gemini-2.5-flash"
OPENAI = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
WORDS = {
    OPENAI: "openai/m",
    "Your input exceeds the context window of this model. Please adjust your input and try again.": "openai/m",
    "Input tokens exceed the configured limit of 272000 tokens; maximum context length": "openai/m",
    "the request exceeds the available context size. try increasing the context size": "openai/m",  # llama.cpp
    "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it": "openai/m",
    "The prompt (length 9000) is longer than the maximum model length of 8192. context length": "openai/m",  # vLLM
    "Please reduce the length of the messages or completion.": "openai/m",  # Groq
    "This model's maximum prompt length is 131072 but the request contains 140000 tokens.": "openai/m",  # xAI
    "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context": "openai/m",
    "the input length exceeds the context length": "openai/m",  # Ollama
    "prompt is too long: 210000 tokens > 200000 maximum": "anthropic/claude-sonnet-4-5",
    "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000": "anthropic/claude-sonnet-4-5",
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).": GEMINI,
    "The input token count exceeds the maximum number of tokens allowed 1048576.": GEMINI,
}


async def error_of(
    body: object, name: str = "openai/m", status: str = "400 Bad Request", question: str = "hunter2"
) -> ModelError:
    async with raw_server(http(json.dumps(body).encode(), status)) as server:
        base = server.url + ("/v1" if name == "openai/m" else "")
        with pytest.raises(ModelError) as caught:
            await Agent(model_name=name, api_base=base, api_key="k").go(question)
    assert server.requests == 1
    assert "hunter2" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("words", WORDS)
async def test_what_providers_say(words: str) -> None:
    error = await error_of({"error": {"type": "invalid_request_error", "code": 400, "message": words}}, WORDS[words])
    assert type(error) is ContextTooLong
    assert "shorten it, or take a model with a larger context window" in str(error)


async def test_openais_code_is_enough() -> None:
    body = {"error": {"message": "Zu lang.", "code": "context_length_exceeded"}}
    assert type(await error_of(body)) is ContextTooLong


async def test_a_server_error_may_say_it_too() -> None:
    body = {"error": {"message": "the request exceeds the available context size"}}
    assert type(await error_of(body, status="500 Internal Server Error")) is ContextTooLong


async def test_an_error_in_the_stream_may_say_it_too() -> None:
    async with raw_server(stream({"error": {"message": OPENAI, "code": 400}})) as server:
        with pytest.raises(ContextTooLong):
            await Agent(model_name="openai/m", api_base=f"{server.url}/v1", api_key="k").go("hi")


@pytest.mark.parametrize("name", ["openai/m", "anthropic/claude-sonnet-4-5"])
async def test_words_of_the_conversation_do_not_count(name: str) -> None:
    """Some providers quote it in their reason."""
    refused = {"error": {"message": f"not allowed: {SECRET}", "type": "invalid_request_error"}}
    error = await error_of(refused, name, question=SECRET)
    assert type(error) is ModelRefused


@pytest.mark.parametrize("words", ["Unsupported parameter: 'temperature'", "max_tokens is too large: 99999"])
async def test_other_refusals_are_no_matter_of_length(words: str) -> None:
    assert type(await error_of({"error": {"message": words}})) is ModelRefused


async def test_too_many_tokens_a_minute_is_a_rate_limit() -> None:
    body = {"error": {"message": "Request too large for gpt-4o on tokens per min (TPM): context length 8192"}}
    async with raw_server(http(json.dumps(body).encode(), "429 Too Many Requests", retry_after="3600")) as server:
        with pytest.raises(ModelRateLimited):
            await Agent(model_name="openai/m", api_base=f"{server.url}/v1", api_key="k").go("hi")
