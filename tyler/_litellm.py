"""litellm behind the Model protocol: requests, retries before the first piece, and whole answers only.

litellm is imported by the first call (3 to 8 s, 200 MB); nothing else in tyler knows it.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import ModuleType
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_exponential

from narrator import Usage
from tyler._answer import Answer
from tyler._daemon_thread import in_daemon_thread
from tyler._forbidden_calls import refuse_if_forbidden
from tyler._model_errors import classified
from tyler._provider_stream import ProviderStream
from tyler.errors import ModelNotFound, ModelRateLimited, ModelUnavailable
from tyler.model import Reply, Request

REQUEST_TIMEOUT_S = 600
_TRIES = 3
_GIVE_UP_AFTER_S = 60
_LONGEST_WAIT_S = 20.0


class LitellmModel:
    """A model by its litellm name ("gpt-4o", "anthropic/claude-sonnet-4-5", "openai/my-model").

    Keys and base URLs come from the environment unless given. `params` go to every request as they are.
    `vision`: whether it takes images; None asks litellm's list. Retries at most twice, before the first piece
    of the answer, on rate limits, lost connections, time-outs and server errors.
    """

    def __init__(
        self,
        name: str,
        *,
        api_base: str | None = None,
        api_key: str | None = None,
        params: Mapping[str, Any] | None = None,
        vision: bool | None = None,
    ) -> None:
        if not name:
            raise ModelNotFound("model_name is empty; name one as litellm does, for example 'gpt-4o'")
        self.name = name
        self._api_base = api_base
        self._api_key = api_key
        self._params = dict(params or {})
        self._vision = vision

    def __repr__(self) -> str:
        return f"LitellmModel({self.name!r})"

    def named(self, name: str) -> LitellmModel:
        """Another model with the same parameters; with the same key and address only if the provider is the same."""
        if _provider(name) != _provider(self.name):
            return LitellmModel(name, params=self._params)
        return LitellmModel(name, api_base=self._api_base, api_key=self._api_key, params=self._params)

    async def takes_images(self) -> bool:
        """As given, else what litellm's list of models says; False for a model it does not know."""
        if self._vision is None:
            litellm = await _litellm(self.name)
            self._vision = bool(litellm.supports_vision(self.name))
        return self._vision

    async def count_tokens(self, messages: Sequence[dict[str, Any]]) -> int:
        """By the model's own tokenizer where litellm has it, else by one that is near; offline."""
        litellm = await _litellm(self.name)
        return int(litellm.token_counter(model=self.name, messages=list(messages)))

    async def stream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """See Model.stream."""
        litellm = await _litellm(self.name)
        chunks, said, first = await self._open(litellm, request)
        answer = Answer(self.name)
        try:
            while first is not None:
                if piece := answer.take(first):
                    yield piece
                first = await anext(chunks, None)
        except _failures() as error:
            raise classified(error, self.name, request) from error
        finally:
            await chunks.aclose()
        yield answer.reply(said.reasons, lambda usage: self._usage(litellm, usage))

    async def close(self) -> None:
        """Close litellm's connections of this event loop, which all models share; the next request opens new ones.

        litellm's own function closes those of all loops, and goes on using them.
        """
        if "litellm" not in sys.modules:
            return
        clients = sys.modules["litellm"].in_memory_llm_clients_cache
        of_this_loop = f"-{id(asyncio.get_running_loop())}"
        for key in [key for key in clients.cache_dict if key.endswith(of_this_loop)]:
            client = clients.cache_dict.pop(key)
            closing = client.close() if hasattr(client, "close") else None
            if inspect.isawaitable(closing):
                await closing

    async def _open(self, litellm: ModuleType, request: Request) -> tuple[Any, ProviderStream, Any]:
        """The stream, what the provider says in it, and its first chunk, after at most two retries."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(_TRIES) | stop_after_delay(_GIVE_UP_AFTER_S),
            wait=_wait,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                try:
                    # litellm keeps the client of the first event loop for all (Anthropic's format): in another loop it
                    # closes the first one's connections, and nobody closes its own. Forgotten, it is one a loop.
                    vars(litellm).pop("module_level_aclient", None)
                    chunks = await litellm.acompletion(**self._arguments(litellm, request))
                    said = ProviderStream(chunks)
                    return chunks, said, await anext(chunks, None)
                except _failures() as error:
                    raise classified(error, self.name, request) from error
        raise AssertionError("tenacity ends by returning or raising")

    def _arguments(self, litellm: ModuleType, request: Request) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "timeout": REQUEST_TIMEOUT_S,
            **self._params,
            **request.params,
            "model": self.name,
            "messages": request.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            "num_retries": 0,  # tenacity is the only one who retries
            "max_retries": 0,
        }
        if request.tools:
            arguments["tools"] = request.tools
        if "stream_options" not in (litellm.get_supported_openai_params(self.name) or ()):
            # The usage is asked for by all the same. Not `drop_params`: with it litellm sends what was refused
            # with 422 once more, and then returns None.
            arguments["additional_drop_params"] = [*self._params.get("additional_drop_params", ()), "stream_options"]
        if self._api_base:
            arguments["api_base"] = self._api_base
        if self._api_key:
            arguments["api_key"] = self._api_key
        return arguments

    def _usage(self, litellm: ModuleType, usage: Any) -> Usage:
        details = getattr(usage, "prompt_tokens_details", None)
        reasoning = getattr(usage, "completion_tokens_details", None)
        asked = max(usage.prompt_tokens or 0, 0)
        tokens = Usage(
            input_tokens=asked,
            output_tokens=max(usage.completion_tokens or 0, 0),
            cached_tokens=min(max(getattr(details, "cached_tokens", None) or 0, 0), asked),
            reasoning_tokens=max(getattr(reasoning, "reasoning_tokens", None) or 0, 0),
        )
        return tokens.model_copy(update={"cost_usd": _cost(litellm, self.name, tokens)})


def _provider(name: str) -> str:
    """What stands in front of a litellm name; OpenAI's models need nothing there."""
    return name.partition("/")[0] if "/" in name else "openai"


async def _litellm(model: str) -> ModuleType:
    refuse_if_forbidden(model)
    # Not in the default executor: Ctrl-C in the first seconds of a program would wait for the end of the import.
    return await in_daemon_thread(_import_litellm)


def _import_litellm() -> ModuleType:
    # Else the import and the token counter go to the network.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import litellm

    litellm.suppress_debug_info = True  # it prints advice to the terminal otherwise
    return litellm


def _cost(litellm: ModuleType, name: str, usage: Usage) -> float | None:
    """USD where litellm knows the price, else None."""
    prices = litellm.model_cost.get(name) or {}
    per_input, per_output = prices.get("input_cost_per_token"), prices.get("output_cost_per_token")
    if per_input is None or per_output is None:
        return None
    per_cached = prices.get("cache_read_input_token_cost", per_input)
    fresh = usage.input_tokens - usage.cached_tokens
    return float(fresh * per_input + usage.cached_tokens * per_cached + usage.output_tokens * per_output)


def _failures() -> tuple[type[Exception], ...]:
    """What litellm raises: all its errors are the openai package's."""
    from openai import OpenAIError

    return OSError, ValueError, OpenAIError


def _may_pass(error: BaseException) -> bool:
    """Worth another request, within the time that a caller may be kept waiting."""
    if not isinstance(error, ModelRateLimited | ModelUnavailable):
        return False
    return error.retry_after_s is None or error.retry_after_s <= _LONGEST_WAIT_S


def _wait(state: Any) -> float:
    """What the provider asks for (Retry-After), else 0.5 s, 1 s, ..."""
    asked: float | None = state.outcome.exception().retry_after_s
    return asked if asked is not None else wait_exponential(multiplier=0.5, max=8)(state)
