"""litellm's exceptions as tyler's errors: typed by status and text, with a next step, and without quotations.

A provider's reason may quote the conversation or the key. Our messages must not (promise P16): what a reason
shares with the conversation is masked. The exception itself stays the `__cause__`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from tyler.errors import (
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
_PREFIXES = re.compile(r"^(?:(?:litellm\.)?\w*(?:Error|Exception|Timeout)(?:: | - ))+")
_TELLING = re.compile(r"[\w.@-]*\d[\w.@-]*")  # numbers, passwords, addresses: quoted even if short
_KEY = re.compile(r"\b(?:sk|pk|key|gsk|AIza|Bearer)[-_ ][\w*.-]{4,}|[\w-]*\*{3,}[\w-]*")


def classified(error: BaseException, name: str, request: Request) -> ModelError:
    """The typed error; litellm's types alone do not tell, so status and text decide."""
    status, text = getattr(error, "status_code", None), str(error)
    lower = text.lower()
    reason = _reason(text, request)
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
        limited.retry_after_s = _retry_after(error)
        return limited
    if status in (400, 413, 422):
        return ModelRefused(f"model {name!r} refuses the request ({status}); change what is sent: {reason}")
    if status in (408, 409) or (isinstance(status, int) and status >= 500) or isinstance(error, OSError):
        away = ModelUnavailable(
            f"model {name!r} cannot be reached or failed ({status or type(error).__name__}); check its address, "
            f"or try again later: {reason}"
        )
        away.retry_after_s = _retry_after(error)
        return away
    return ModelAnswerBroken(f"model {name!r} gave an answer that cannot be read; call go() again: {reason}")


def _retry_after(error: BaseException) -> float | None:
    """Seconds; litellm keeps the provider's headers apart from its own response."""
    headers = getattr(error, "litellm_response_headers", None) or {}
    try:
        return max(float(headers.get("retry-after", "")), 0)
    except ValueError:
        return None


def _reason(text: str, request: Request) -> str:
    """The provider's first line, with what it shares with the conversation masked."""
    first = _PREFIXES.sub("", next(iter(text.splitlines()), "")).partition(" Original exception:")[0]
    first = first[: 2 * _MAX_REASON_CHARS]
    hidden = [False] * len(first)
    texts = [t for t in _strings([m.get("content") for m in request.messages]) if len(t) >= _SHORTEST_TEXT]
    texts += _strings([m.get("tool_calls") for m in request.messages])
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
