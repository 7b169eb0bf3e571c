"""What an answer has used and cost, in each provider's own numbers."""

from typing import Any

import pytest

from narrator import Message, Thread, ThreadStore, Usage
from tests.litellm_clients import litellm_clients
from tests.tyler.provider_formats import anthropic, block, gemini
from tests.tyler.raw_server import Step, chunk, raw_server, stream, text
from tyler import Agent

__all__ = ["litellm_clients"]

pytestmark = pytest.mark.usefixtures("litellm_clients")
CLAUDE, GEMINI = "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"
SAID = block({"type": "text", "text": ""}, {"type": "text_delta", "text": "hi"})


async def usage(name: str, script: Step, **params: Any) -> Usage:
    async with raw_server(script) as server:
        base = server.url + ("" if name in (CLAUDE, GEMINI) else "/v1")
        result = await Agent(model_name=name, api_base=base, api_key="k", model_params=params).go("hi")
    return result.usage


def openai(**counts: Any) -> bytes:
    return stream(text("hi"), {**chunk(finish="stop"), "usage": {"total_tokens": 1100, **counts}})


CACHED = {
    "prompt_tokens": 1000,
    "completion_tokens": 100,
    "prompt_tokens_details": {"cached_tokens": 400},
    "completion_tokens_details": {"reasoning_tokens": 60},
}


@pytest.mark.parametrize("name", ["gpt-4o", "openai/gpt-4o"])
async def test_tokens_from_the_cache_are_cheaper(name: str) -> None:
    found = await usage(name, openai(**CACHED))
    assert found.cost_usd == pytest.approx(600 * 2.5e-6 + 400 * 1.25e-6 + 100 * 10e-6)
    assert (found.input_tokens, found.output_tokens) == (1000, 100)
    assert (found.cached_tokens, found.cache_write_tokens, found.reasoning_tokens) == (400, 0, 60)


async def test_tokens_written_to_claudes_cache_cost_more() -> None:
    script = anthropic(
        *SAID, reason="end_turn", input_tokens=50, cache_creation_input_tokens=2000, cache_read_input_tokens=3000
    )
    found = await usage(CLAUDE, script)
    assert found.cost_usd == pytest.approx(50 * 3e-6 + 2000 * 3.75e-6 + 3000 * 0.3e-6 + 5 * 15e-6)
    assert (found.input_tokens, found.output_tokens) == (5050, 5)
    assert (found.cached_tokens, found.cache_write_tokens) == (3000, 2000)


async def test_the_tier_has_its_price() -> None:
    usual = await usage("gpt-5", openai(**CACHED))
    flexible = await usage("gpt-5", openai(**CACHED), service_tier="flex")
    assert usual.cost_usd
    assert flexible.cost_usd == pytest.approx(usual.cost_usd / 2)


async def test_gemini_counts_its_thoughts() -> None:
    counted = b'data: {"usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 40, '
    counted += b'"thoughtsTokenCount": 60, "totalTokenCount": 1100, "cachedContentTokenCount": 400}}\r\n\r\n'
    found = await usage(GEMINI, gemini({"text": "hi"}, reason="STOP") + counted)
    assert (found.input_tokens, found.output_tokens, found.cached_tokens) == (1000, 100, 400)
    assert found.reasoning_tokens == 60
    assert found.cost_usd == pytest.approx(600 * 0.3e-6 + 400 * 0.03e-6 + 100 * 2.5e-6)


@pytest.mark.parametrize("name", ["openai/my-own", "azure/my-deployment", "hosted_vllm/m"])
async def test_what_is_not_in_the_list_has_no_price(name: str) -> None:
    found = await usage(name, openai(**CACHED), **({"api_version": "2024-10-21"} if "azure" in name else {}))
    assert (found.input_tokens, found.cost_usd) == (1000, None)


async def test_a_price_that_is_half_known_is_unknown() -> None:
    """litellm takes the missing half for 0."""
    import litellm

    litellm.register_model({"openai/half": {"litellm_provider": "openai", "output_cost_per_token": 1e-6}})
    try:
        assert (await usage("openai/half", openai(**CACHED))).cost_usd is None
    finally:
        del litellm.model_cost["openai/half"]


def test_usage_adds_up_and_is_one_price_unknown_so_is_the_sum() -> None:
    one = Usage(input_tokens=10, cached_tokens=4, cache_write_tokens=5, cost_usd=0.5)
    assert one + one == Usage(input_tokens=20, cached_tokens=8, cache_write_tokens=10, cost_usd=1.0)
    assert (one + Usage()).cost_usd is None


async def test_cache_writes_are_stored(store: ThreadStore) -> None:
    counted = Usage(input_tokens=10, cache_write_tokens=5)
    await store.save_thread(Thread(id="t", messages=[Message(role="assistant", content="hi", usage=counted)]))
    assert (await store.get_thread("t")).messages[0].usage == counted
