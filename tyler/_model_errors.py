"""litellm's exceptions as tyler's errors: typed by status and text, with a next step, and without quotations.

A provider's reason may quote the conversation or the key. Our messages must not (promise P16): what a reason
shares with the conversation is masked. The exception itself stays the `__cause__`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from tyler._retry_after import retry_after_s
from tyler.errors import (
    ContextTooLong,
    ModelAnswerBroken,
    ModelError,
    ModelKeyError,
    ModelNotFound,
    ModelRateLimited,
    ModelRefused,
    ModelUnavailable,
)
from tyler.model import Request

_MAX_REASON_CHARS = 300
_SHORTEST_QUOTE, _SHORTEST_TEXT = 10, 3
_MASK = "[...]"
# What providers say of a request that does not fit: OpenAI, vLLM, Anthropic, Bedrock, Gemini, llama.cpp, Ollama,
# Mistral, Groq, Together, Cohere, xAI. In lower case.
_TOO_LONG = (
    "context_length_exceeded",
    "context length",
    "context window",
    "context size",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "input length and `max_tokens` exceed context limit",
    "input token count exceeds",
    "input token count (",
    "reduce the length of the messages",
    "maximum prompt length",
    "too many tokens",
    "too large for model with",
)
_PASSING = (408, 409, 425)  # statuses below 500 that are worth another request
# In a body that litellm quotes whole (Anthropic's, Gemini's).
_MESSAGE = re.compile(r"""(?:^| - )(?:b')?\{.*?"message"\s*:\s*"((?:[^"\\]|\\.)+)\"""")
_PREFIXES = re.compile(r"^(?:(?:litellm\.)?\w*(?:Error|Exception|Timeout)(?:: | - ))+")
_TELLING = re.compile(r"[\w.@-]*\d[\w.@-]*")  # numbers, passwords, addresses: quoted even if short
_KEY = re.compile(r"\b(?:sk|pk|key|gsk|AIza|Bearer)[-_ ][\w*.-]{4,}|[\w-]*\*{3,}[\w-]*")


def classified(error: BaseException, name: str, request: Request, secrets: Sequence[str] = ()) -> ModelError:
    """The typed error; litellm's types alone do not tell, so status, text and causes decide. No secret is quoted."""
    causes = _causes(error)
    status, text = _status(error, causes), str(error)
    lower = text.lower()
    reason = _reason(text, request, secrets)
    if status in (401, 403) or "missing credentials" in lower or "api_key client option" in lower:
        return ModelKeyError(
            f"the key for model {name!r} is missing or refused; set the provider's variable "
            "(OPENAI_API_KEY, ANTHROPIC_API_KEY, ...) or pass api_key="
        )
    if status == 404 or "llm provider not provided" in lower:
        return ModelNotFound(
            f"model {name!r} is not known; name it as litellm does, with its provider in front ('openai/my-model'): "
            f"{reason}"
        )
    if status == 429:
        limited = ModelRateLimited(f"model {name!r} takes no more requests at present; try again later: {reason}")
        limited.retry_after_s = _retry_after_s(causes)
        return limited
    if (status is None or status >= 400) and _is_too_long(error, causes, reason):
        return ContextTooLong(
            f"the conversation is too long for model {name!r}; shorten it, or take a model with a larger context "
            f"window: {reason}"
        )
    if status is not None and 400 <= status < 500 and status not in _PASSING:
        return ModelRefused(f"model {name!r} refuses the request ({status}); change what is sent: {reason}")
    return _failed(error, causes, status, f"model {name!r}", reason)


def _failed(
    error: BaseException, causes: list[BaseException], status: int | None, model: str, reason: str
) -> ModelError:
    """A model that is away, or that gave something else than an answer."""
    if (status in _PASSING or (status or 0) >= 500 or isinstance(error, OSError)) and not _unreadable(causes):
        away = ModelUnavailable(
            f"{model} cannot be reached or failed ({status or type(error).__name__}); check its address, "
            f"or try again later: {reason}"
        )
        away.retry_after_s = _retry_after_s(causes)
        return away
    what = "gave an answer that cannot be read; call go() again"
    if status is not None and 300 <= status < 400:
        what = "is not where it was asked; check its base URL"
    return ModelAnswerBroken(f"{model} {what}: {reason}")


def _causes(error: BaseException) -> list[BaseException]:
    """The exception and all that led to it, the outermost first."""
    causes: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is not None and cause not in causes:
            causes.append(cause)
            waiting += [getattr(cause, "original_exception", None), cause.__cause__, cause.__context__]
    return causes


def _status(error: BaseException, causes: list[BaseException]) -> int | None:
    """The HTTP status. An error object in a stream with status 200 has its own, as `code`; litellm says 500 for it."""
    import httpx
    from openai import APIError

    for cause in causes:
        body = getattr(cause, "body", None) if type(cause) is APIError else None
        code = str(body.get("code")) if isinstance(body, dict) else ""
        if re.fullmatch(r"[45]\d\d", code):
            return int(code)
    if any(isinstance(cause, httpx.TooManyRedirects) for cause in causes):
        return 302
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _is_too_long(error: BaseException, causes: list[BaseException], reason: str) -> bool:
    """By OpenAI's code, or the words of the reason, in which what the conversation says is masked.

    litellm's class goes by words alone: it counts where none of them can be the conversation's.
    """
    from litellm.exceptions import ContextWindowExceededError

    lower = reason.lower()
    return (
        (isinstance(error, ContextWindowExceededError) and _MASK not in reason)
        or any(getattr(cause, "code", None) == "context_length_exceeded" for cause in causes)
        or any(words in lower for words in _TOO_LONG)
    )


def _unreadable(causes: list[BaseException]) -> bool:
    """Whether an answer broke off although connection and provider are well: what came is not in the format.

    litellm says "connection error, 500" for this too. What tells is that none of the causes is one.
    """
    import aiohttp
    import httpx
    from litellm.exceptions import MidStreamFallbackError
    from openai import APIError

    others = [cause for cause in causes if not type(cause).__module__.startswith("litellm.exceptions")]
    lost = (OSError, httpx.TransportError, aiohttp.ClientError, APIError)
    failed = any(isinstance(cause, lost) or hasattr(cause, "status_code") for cause in others)
    return isinstance(causes[0], MidStreamFallbackError) and not failed


def _retry_after_s(causes: list[BaseException]) -> float | None:
    """litellm keeps the provider's headers here or there, apart from its own response's."""
    for cause in causes:
        response = getattr(cause, "response", None)
        for place in (getattr(cause, "litellm_response_headers", None), getattr(response, "headers", None)):
            if place and (seconds := retry_after_s(place)) is not None:
                return seconds
    return None


def _reason(text: str, request: Request, secrets: Sequence[str] = ()) -> str:
    """The provider's first line, with what it shares with the conversation or the secrets masked."""
    first = _PREFIXES.sub("", next(iter(text.splitlines()), "")).partition(" Original exception:")[0]
    if message := _MESSAGE.search(first):
        first = message[1]
    first = first[: 2 * _MAX_REASON_CHARS]
    hidden = [False] * len(first)
    texts = [t for t in _strings([m.get("content") for m in request.messages]) if len(t) >= _SHORTEST_TEXT]
    texts += _strings([m.get("tool_calls") for m in request.messages])
    texts += [secret for secret in secrets if len(secret) >= _SHORTEST_TEXT]
    for start in range(len(first) - _SHORTEST_QUOTE + 1):
        if any(first[start : start + _SHORTEST_QUOTE] in text for text in texts):
            hidden[start : start + _SHORTEST_QUOTE] = [True] * _SHORTEST_QUOTE
    telling = [word for word in _TELLING.findall(first) if any(word in text for text in texts)]
    for short in [*(t for t in texts if len(t) < _SHORTEST_QUOTE), *telling, *_keys()]:
        for found in re.finditer(re.escape(short), first):
            hidden[found.start() : found.end()] = [True] * len(short)
    shown = "".join("\x00" if hide else char for char, hide in zip(first, hidden, strict=True))
    shown = _KEY.sub(_MASK, re.sub("\x00+", _MASK, shown))
    return shown[:_MAX_REASON_CHARS].strip() or "no reason given"


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _keys() -> Iterator[str]:
    return (value for name, value in os.environ.items() if name.endswith("_API_KEY") and len(value) >= 8)
