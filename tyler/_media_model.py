"""Models that make or read images and sound, by their litellm names: what lye's media tools ask through.

Settings, errors, retries and the switch that forbids model calls are those of the agent's own requests
(`_litellm.py`). Whether what came is an image or a sound at all is left to the caller.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from narrator import Usage
from tyler._daemon_thread import in_daemon_thread
from tyler._litellm import _failures, _litellm, _prefix, _provider, may_pass, retrying
from tyler._model_errors import _causes, _reason, classified
from tyler._usage import usage_of
from tyler.errors import ModelAnswerBroken, ModelError, ModelKeyError, ModelNotFound, ModelRateLimited, ModelRefused
from tyler.model import Request

if TYPE_CHECKING:
    from tyler._openai_client import Arriving

Call = Literal["acompletion", "aimage_generation", "atranscription", "aspeech"]

_NOT_BEGUN = (429, 503)  # what a provider answers before it makes anything
_REFUSED_CONTENT = ("content_policy_violation", "content_filter", "moderation_blocked")
_MOST_WORDS_BYTES = 5_000_000


@dataclass(frozen=True)
class Words:
    """What a model said of a file. `whole`: it came to its own end, not to a limit or a filter."""

    text: str
    usage: Usage | None
    whole: bool = True


@dataclass(frozen=True)
class MadeImage:
    """An image as the provider gives it: its bytes in base64, or a URL; `prompt` is what it made of the prompt."""

    base64: str | None
    url: str | None
    prompt: str | None
    usage: Usage | None


class MediaModel:
    """A model by its litellm name. Raises ModelError for whatever fails, ModelCallForbidden where a test forbids calls.

    What reads is tried again as an agent's request is. What makes something costs money each time: it is tried again
    only where the provider says that it did not begin (429, 503). `timeout_s` is between two bytes; the caller
    bounds the whole. OpenAI's models, and those behind its format ("openai/..."), answer with at most `max_bytes`,
    over a connection that ends with the call; other providers' answers come through litellm's own clients.
    """

    def __init__(
        self, name: str, *, api_key: str | None = None, api_base: str | None = None, timeout_s: float = 600
    ) -> None:
        if not name:
            raise ModelNotFound("the model's name is empty; name one as litellm does, for example 'gpt-image-2'")
        self.name = name
        self._api_key = api_key
        self._api_base = api_base
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"MediaModel({self.name!r})"

    async def load(self) -> None:
        """Import litellm (3 to 8 s the first time in a process), so that it takes nothing of a call's own time."""
        await _litellm(self.name)
        await in_daemon_thread(lambda: importlib.import_module("tyler._openai_client"))

    async def describe(self, instructions: str, question: str, image: str, max_tokens: int) -> Words:
        """What a model with vision answers about the image (a data URL)."""
        parts = [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": image}}]
        messages = [{"role": "system", "content": instructions}, {"role": "user", "content": parts}]
        arguments = {"model": self.name, "messages": messages, "max_tokens": max_tokens}
        litellm, answer = await self._ask("acompletion", arguments, said=question)
        choice = next(iter(answer.choices or ()), None)
        text = getattr(getattr(choice, "message", None), "content", None)
        finish = str(getattr(choice, "finish_reason", ""))
        if not isinstance(text, str) or not text.strip():
            if finish == "content_filter":
                raise ModelRefused(f"the filter of model {self.name!r} stopped its answer; ask something else")
            raise self._broken("gave no text" + (" within its limit of tokens" if finish == "length" else ""))
        counted = getattr(answer, "usage", None)
        usage = usage_of(litellm, self.name, _provider(litellm, self.name), counted, {}) if counted else None
        return Words(text, usage, finish == "stop")

    async def make_image(self, prompt: str, params: Mapping[str, str], max_bytes: int) -> MadeImage:
        """One image; `params` are `size` and the like, as the provider names them."""
        arguments = {"model": self.name, "prompt": prompt, "n": 1, **params}
        _, answer = await self._ask("aimage_generation", arguments, said=prompt, max_bytes=max_bytes, makes=True)
        image = next(iter(answer.data or ()), None)
        base64, url = getattr(image, "b64_json", None), getattr(image, "url", None)
        if not base64 and not url:
            raise self._broken("gave no image")
        return MadeImage(base64, url, getattr(image, "revised_prompt", None), _counted(answer))

    async def transcribe(self, content: bytes, filename: str, mime_type: str, language: str | None) -> Words:
        """The words of a recording; `filename` only says its format."""
        # Of OpenAI's models litellm asks for "verbose_json" by itself, which only the oldest one knows.
        arguments = {"response_format": "json"} if _prefix(self.name) == "openai" else {}
        arguments |= {"language": language} if language else {}
        # The file by position: of one by name litellm counts the seconds, with a decoder in this process.
        _, answer = await self._ask("atranscription", arguments, self.name, (filename, content, mime_type))
        if not isinstance(answer.text, str):
            raise self._broken("gave no text")
        return Words(answer.text, _counted(answer))

    async def speak(self, text: str, voice: str, audio_format: str, max_bytes: int) -> bytes:
        """The text as sound. No provider counts tokens for it."""
        arguments = {"model": self.name, "input": text, "voice": voice, "response_format": audio_format}
        _, answer = await self._ask("aspeech", arguments, said=text, max_bytes=max_bytes, makes=True)
        return bytes(answer.content)

    async def _ask(
        self,
        call: Call,
        arguments: Mapping[str, Any],
        *args: Any,
        said: str = "",
        max_bytes: int = _MOST_WORDS_BYTES,
        makes: bool = False,
    ) -> tuple[ModuleType, Any]:
        """litellm, and its answer. Of what was `said`, and of the key, no error quotes anything."""
        await self.load()
        litellm = await _litellm(self.name)
        from tyler._openai_client import Arriving

        hidden = Request([{"role": "user", "content": said}])
        async for attempt in retrying(_did_not_begin if makes else may_pass):
            with attempt:
                arriving = Arriving(self.name, max_bytes)
                try:
                    async with self._connection(litellm, arriving) as connection:
                        common = {**connection, "timeout": self._timeout_s, "num_retries": 0}
                        return litellm, await getattr(litellm, call)(*args, **arguments, **common)
                except _failures() as error:
                    raise self._failed(litellm, error, arriving, hidden) from error
        raise AssertionError("tenacity ends by returning or raising")

    @asynccontextmanager
    async def _connection(self, litellm: ModuleType, arriving: Arriving) -> AsyncIterator[dict[str, Any]]:
        """What tells litellm how to reach the provider."""
        given = {"api_key": self._api_key, "api_base": self._api_base}
        connection: dict[str, Any] = {name: value for name, value in given.items() if value}
        if _provider(litellm, self.name) != "openai":
            yield connection
            return
        from tyler._openai_client import openai_client

        async with openai_client(litellm, arriving, self._api_key, self._api_base) as client:
            yield {**connection, "client": client}

    def _failed(self, litellm: ModuleType, error: Exception, arriving: Arriving, hidden: Request) -> ModelError:
        if arriving.refused is not None:
            return arriving.refused
        if arriving.whole:
            return self._broken("gave an answer that cannot be read")
        secrets = [self._api_key] if self._api_key else []
        typed = classified(error, self.name, hidden, secrets)
        if isinstance(typed, ModelKeyError):
            return self._key_error(litellm)
        if isinstance(typed, ModelRefused) and _is_about_content(error):
            return ModelRefused(
                f"the content rules of model {self.name!r} refuse this; ask for something else: "
                f"{_reason(str(error), hidden, secrets)}"
            )
        return typed

    def _key_error(self, litellm: ModuleType) -> ModelKeyError:
        """Which variable is missing; the provider's own words may quote the key."""
        missing: list[str] = litellm.validate_environment(self.name)["missing_keys"]
        variable = f"{_provider(litellm, self.name).upper()}_API_KEY"
        if missing and not self._api_key:
            return ModelKeyError(
                f"the key for model {self.name!r} is missing; the developer can set {' and '.join(missing)} or pass "
                "api_key="
            )
        given = "api_key" if self._api_key else variable
        return ModelKeyError(
            f"the provider refuses the key for model {self.name!r}; the developer has to check {given}, and that the "
            "key may use this model"
        )

    def _broken(self, what: str) -> ModelAnswerBroken:
        return ModelAnswerBroken(f"model {self.name!r} {what}; check that it is a model for this, or try again")


def _did_not_begin(error: BaseException) -> bool:
    status = getattr(error.__cause__, "status_code", None)
    return may_pass(error) and (isinstance(error, ModelRateLimited) or status in _NOT_BEGUN)


def _is_about_content(error: Exception) -> bool:
    from litellm.exceptions import ContentPolicyViolationError

    return any(
        isinstance(cause, ContentPolicyViolationError) or getattr(cause, "code", None) in _REFUSED_CONTENT
        for cause in _causes(error)
    )


def _counted(answer: Any) -> Usage | None:
    """The provider's numbers, None where there are none: litellm says 0 tokens then."""
    usage = getattr(answer, "usage", None)
    numbers = [getattr(usage, name, None) for name in ("input_tokens", "output_tokens")]
    asked, made = (max(number, 0) if isinstance(number, int) else 0 for number in numbers)
    cost_usd = _cost_usd(answer)  # known without tokens, where images or seconds are paid for
    if not asked and not made and cost_usd is None:
        return None
    return Usage(input_tokens=asked, output_tokens=made, cost_usd=cost_usd)


def _cost_usd(answer: Any) -> float | None:
    """litellm's price of this answer; it says 0 for a price that it does not know."""
    cost = getattr(answer, "_hidden_params", {}).get("response_cost")
    return float(cost) if isinstance(cost, int | float) and math.isfinite(cost) and cost > 0 else None
