"""What an answer has used: the provider's numbers as Usage, and their price by litellm's own price function."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from narrator import Usage


def usage_of(litellm: ModuleType, name: str, provider: str, counted: Any, params: Mapping[str, Any]) -> Usage:
    """Usage of what was `counted`. Tokens read from a cache and written to one are among the input's."""
    counted = litellms_usage(litellm, counted)
    details = getattr(counted, "prompt_tokens_details", None)
    thought = getattr(counted, "completion_tokens_details", None)
    asked = max(counted.prompt_tokens or 0, 0)
    cached = min(_count(details, "cached_tokens"), asked)
    written = max(
        _count(details, "cache_creation_tokens"),
        _count(details, "cache_write_tokens"),
        _count(counted, "cache_creation_input_tokens"),
    )
    return Usage(
        input_tokens=asked,
        output_tokens=max(counted.completion_tokens or 0, 0),
        cached_tokens=cached,
        cache_write_tokens=min(written, asked - cached),
        reasoning_tokens=_count(thought, "reasoning_tokens"),
        cost_usd=_cost_usd(litellm, name, provider, counted, params),
    )


def litellms_usage(litellm: ModuleType, counted: Any) -> Any:
    """The openai package's numbers as litellm's, which has what other providers of that format say in places of its
    own; litellm's as they are."""
    return counted if isinstance(counted, litellm.Usage) else litellm.Usage(**counted.model_dump())


def estimated_usage(litellm: ModuleType, name: str, sent: Sequence[Mapping[str, Any]], written: str) -> Any:
    """For a provider that counts nothing; blocking, a tokenizer takes a while for a long conversation."""
    asked = litellm.token_counter(model=name, messages=sent)
    answered = litellm.token_counter(model=name, text=written, count_response_tokens=True)
    return litellm.Usage(prompt_tokens=asked, completion_tokens=answered, total_tokens=asked + answered)


def _count(numbers: Any, name: str) -> int:
    count = getattr(numbers, name, None)
    return max(count, 0) if isinstance(count, int) else 0


def _cost_usd(litellm: ModuleType, name: str, provider: str, counted: Any, params: Mapping[str, Any]) -> float | None:
    """The price, None where litellm has none: its function takes a price that is missing for 0."""
    from openai import OpenAIError

    unknown = (litellm.exceptions.ModelNotMappedError, OpenAIError, ValueError, LookupError, TypeError, AttributeError)
    tier = params.get("service_tier")
    try:
        info = litellm.get_model_info(model=name, custom_llm_provider=provider)
        prices = litellm.model_cost.get(info["key"]) or {}
        if None in (prices.get("input_cost_per_token"), prices.get("output_cost_per_token")):
            return None
        costs = litellm.cost_per_token(
            model=name,
            custom_llm_provider=provider,
            usage_object=counted,
            service_tier=tier if isinstance(tier, str) else None,
        )
    except unknown:
        return None
    cost = float(sum(costs))
    return cost if math.isfinite(cost) and cost >= 0 else None
