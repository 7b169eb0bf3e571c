"""litellm behind the Model protocol: requests, retries before the first piece, and whole answers only.

litellm is imported by the first call (3 to 8 s, 200 MB); nothing else in tyler knows it.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tyler import _output_tool
from tyler._answer import Answer
from tyler._daemon_thread import in_daemon_thread
from tyler._forbidden_calls import refuse_if_forbidden
from tyler._model_errors import _strings, classified
from tyler._provider_stream import ProviderStream
from tyler._reasoning import turn_without_thought, with_reasoning
from tyler._usage import estimated_usage, usage_of
from tyler.errors import ModelNotFound, ModelRateLimited, ModelUnavailable
from tyler.model import Reasoning, Reply, Request

if TYPE_CHECKING:
    from tenacity import AsyncRetrying

REQUEST_TIMEOUT_S = 600
_TRIES = 3
_GIVE_UP_AFTER_S = 60
_LONGEST_WAIT_S = 20.0

# What another model may be given of this one's parameters: each means the same everywhere, and none is a secret.
_COMMON = (
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "reasoning_effort",
    "stop",
    "seed",
    "parallel_tool_calls",
    "timeout",
)

# With one of these the caller has chosen the client, or its connections, himself.
_OF_A_CLIENT = {"client", "shared_session", "organization"}


class LitellmModel:
    """A model by its litellm name ("gpt-4o", "anthropic/claude-sonnet-4-5", "openai/my-model").

    Keys and base URLs come from the environment unless given. `params` go to every request as they are.
    `vision`: whether it takes images; None asks litellm's list. `json_schema`: whether the provider itself holds an
    answer to a schema, with tools beside it (`response_format`); None asks litellm's list, and a tool whose arguments
    are the answer serves where it does not. With Claude's models it always does. Retries at most twice, before the
    first piece of the answer, on rate limits, lost connections, time-outs and server errors.
    """

    def __init__(
        self,
        name: str,
        *,
        api_base: str | None = None,
        api_key: str | None = None,
        params: Mapping[str, Any] | None = None,
        vision: bool | None = None,
        json_schema: bool | None = None,
    ) -> None:
        if not name:
            raise ModelNotFound("model_name is empty; name one as litellm does, for example 'gpt-4o'")
        self.name = name
        self._api_base = api_base
        self._api_key = api_key
        self._params = dict(params or {})
        self._vision = vision
        self._json_schema = json_schema
        self._inherits = False  # its parameters are another model's

    def __repr__(self) -> str:
        return f"LitellmModel({self.name!r})"

    def named(self, name: str) -> LitellmModel:
        """Another model with this one's parameters; with its key and address only if the provider is the same.

        Another provider gets those that mean the same everywhere (`temperature`, `max_tokens`, `reasoning_effort`,
        ...). Of these each model leaves out what it does not know.
        """
        if _prefix(name) == _prefix(self.name):
            other = LitellmModel(name, api_base=self._api_base, api_key=self._api_key, params=self._params)
        else:
            other = LitellmModel(name, params={key: self._params[key] for key in _COMMON if key in self._params})
        other._inherits = True
        return other

    async def takes_images(self) -> bool:
        """As given, else what litellm's list of models says; False for a model it does not know."""
        if self._vision is None:
            litellm = await _litellm(self.name)
            self._vision = bool(litellm.supports_vision(self.name))
        return self._vision

    async def count_tokens(self, messages: Sequence[dict[str, Any]]) -> int:
        """By the model's own tokenizer where litellm has it, else by one that is near; offline."""
        litellm = await _litellm(self.name)
        sent = with_reasoning(messages, self.name, _provider(litellm, self.name))
        return int(litellm.token_counter(model=self.name, messages=sent))

    async def stream(self, request: Request) -> AsyncGenerator[str | Reasoning | Reply, None]:
        """See Model.stream."""
        litellm = await _litellm(self.name)
        provider = _provider(litellm, self.name)
        output_tool = self._output_tool(litellm, provider, request)
        chunks, said, first = await self._open(litellm, provider, request, output_tool)
        answer = Answer(self.name, provider, output_tool)
        try:
            while first is not None:
                for piece in answer.take(first):
                    yield piece
                first = await anext(chunks, None)
        except _failures() as error:
            raise classified(error, self.name, request, self._secrets(request)) from error
        finally:
            await chunks.aclose()
        if answer.usage is None:
            sent = with_reasoning(request.messages, self.name, provider)
            answer.usage = await in_daemon_thread(lambda: estimated_usage(litellm, self.name, sent, answer.written))
        params = {**self._params, **request.params}
        yield answer.reply(said.reasons, lambda counted: usage_of(litellm, self.name, provider, counted, params))

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

    async def _open(
        self, litellm: ModuleType, provider: str, request: Request, output_tool: str | None
    ) -> tuple[Any, ProviderStream, Any]:
        """The stream, what the provider says in it, and its first chunk, after at most two retries."""
        async for attempt in retrying():
            with attempt:
                try:
                    # litellm keeps the client of the first event loop for all (Anthropic's format): in another loop it
                    # closes the first one's connections, and nobody closes its own. Forgotten, it is one a loop.
                    vars(litellm).pop("module_level_aclient", None)
                    chunks = await litellm.acompletion(**self._arguments(litellm, provider, request, output_tool))
                    said = ProviderStream(chunks, plain=provider == "openai" and not _is_listened_to(litellm))
                    return said.chunks, said, await anext(said.chunks, None)
                except _failures() as error:
                    raise classified(error, self.name, request, self._secrets(request)) from error
        raise AssertionError("tenacity ends by returning or raising")

    def _output_tool(self, litellm: ModuleType, provider: str, request: Request) -> str | None:
        """The tool whose call is to be the answer, None where none is needed."""
        if request.output is None:
            return None
        if _output_tool.takes_schema(litellm, self.name, provider, request, self._json_schema):
            return None
        return _output_tool.tool_name(request.tools)

    def _secrets(self, request: Request) -> list[str]:
        """What was passed to this model and is nobody's to read; providers quote it in their errors."""
        given = [{"api_key": self._api_key}, self._params, request.params]
        places = [params.get(name) for params in given for name in ("api_key", "extra_headers", "headers")]
        return [word for text in _strings(places) for word in {text, text.removeprefix("Bearer ")}]

    def _own_params(self, litellm: ModuleType, provider: str, known: Sequence[str]) -> dict[str, Any]:
        """What another model's parameters are good for here."""
        taken = {*known, "timeout"}
        if provider in ("openai", "azure") and litellm.supports_reasoning(self.name):
            taken -= {"temperature", "top_p"}  # in litellm's list, but nothing other than 1 is taken
        return {name: value for name, value in self._params.items() if name in taken or name not in _COMMON}

    def _arguments(
        self, litellm: ModuleType, provider: str, request: Request, output_tool: str | None
    ) -> dict[str, Any]:
        known = litellm.get_supported_openai_params(self.name) or ()
        own = self._own_params(litellm, provider, known) if self._inherits else self._params
        arguments: dict[str, Any] = {
            "timeout": REQUEST_TIMEOUT_S,
            **own,
            **request.params,
            "model": self.name,
            "messages": with_reasoning(request.messages, self.name, provider),
            "stream": True,
            "stream_options": {"include_usage": True},
            "num_retries": 0,  # tenacity is the only one who retries
            "max_retries": 0,
        }
        tools = copy.deepcopy(list(request.tools))  # litellm edits schemas in place (Gemini)
        if _output_tool.is_claude(self.name, provider) and turn_without_thought(arguments["messages"]):
            for name in ("thinking", "reasoning_effort"):
                arguments.pop(name, None)
        if request.output is not None and output_tool is None:
            arguments["response_format"] = _output_tool.response_format(request.output)
        elif request.output is not None and output_tool is not None:
            tools.append(_output_tool.definition(output_tool, request.output))
            if _output_tool.may_force(litellm, self.name, provider, arguments):
                arguments.setdefault("tool_choice", "required")
        if tools:
            arguments["tools"] = tools
        if "stream_options" not in known:
            # The usage is asked for by all the same. Not `drop_params`: with it litellm sends what was refused
            # with 422 once more, and then returns None.
            arguments["additional_drop_params"] = [*arguments.get("additional_drop_params", ()), "stream_options"]
        if self._api_base:
            arguments["api_base"] = self._api_base
        if self._api_key:
            arguments["api_key"] = self._api_key
        if provider == "openai" and not arguments.keys() & _OF_A_CLIENT:
            from tyler._chat_client import chat_client

            api_base = arguments.get("base_url") or arguments.get("api_base")
            arguments["client"] = chat_client(litellm, arguments.get("api_key"), api_base)
        return arguments


def _prefix(name: str) -> str:
    """What stands in front of a litellm name; OpenAI's models need nothing there."""
    return name.partition("/")[0] if "/" in name else "openai"


def _provider(litellm: ModuleType, name: str) -> str:
    """litellm's name of the provider ("anthropic" for "claude-sonnet-4-5" too)."""
    from openai import OpenAIError

    if "/" in name and (prefix := _prefix(name)) in litellm.provider_list:
        return prefix
    try:
        return str(litellm.get_llm_provider(name)[1])
    except (OpenAIError, ValueError):
        return _prefix(name)  # the request itself will say that nobody knows it


async def _litellm(model: str) -> ModuleType:
    refuse_if_forbidden(model)
    if _imported:
        return _imported[0]
    # Not in the default executor: Ctrl-C in the first seconds of a program would wait for the end of the import.
    return await in_daemon_thread(_import_litellm)


_imported: list[ModuleType] = []  # litellm, once its import has come to its end; a thread for each request costs 0.2 ms


def _import_litellm() -> ModuleType:
    # Else the import and the token counter go to the network.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import litellm

    import tyler._chat_client  # noqa: F401  it imports of openai what the first request would, for a second

    litellm.suppress_debug_info = True  # it prints advice to the terminal otherwise
    _imported.append(litellm)
    return litellm


def _is_listened_to(litellm: ModuleType) -> bool:
    """Whether somebody has asked litellm to tell of answers, or to keep them."""
    lists = ("callbacks", "success_callback", "failure_callback", "_async_success_callback", "_async_failure_callback")
    # litellm itself puts "cache" among them (for Gemini), and does nothing with it without a cache.
    return litellm.cache is not None or any(told != "cache" for name in lists for told in getattr(litellm, name))


def _failures() -> tuple[type[Exception], ...]:
    """What litellm raises: all its errors are the openai package's."""
    from openai import OpenAIError

    return OSError, ValueError, OpenAIError


def retrying(worth_it: Callable[[BaseException], bool] | None = None) -> AsyncRetrying:
    """At most two more tries, for errors that are `worth_it`: those that may pass, unless the caller is stricter."""
    # It imports tornado where that is installed: not before the first request.
    from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, stop_after_delay

    return AsyncRetrying(
        retry=retry_if_exception(worth_it or may_pass),
        stop=stop_after_attempt(_TRIES) | stop_after_delay(_GIVE_UP_AFTER_S),
        wait=_wait,
        reraise=True,
    )


def may_pass(error: BaseException) -> bool:
    """Worth another request, within the time that a caller may be kept waiting."""
    if not isinstance(error, ModelRateLimited | ModelUnavailable):
        return False
    return error.retry_after_s is None or error.retry_after_s <= _LONGEST_WAIT_S


def _wait(state: Any) -> float:
    """What the provider asks for (Retry-After), else 0.5 s, 1 s, ..."""
    from tenacity import wait_exponential

    asked: float | None = state.outcome.exception().retry_after_s
    return asked if asked is not None else wait_exponential(multiplier=0.5, max=8)(state)
