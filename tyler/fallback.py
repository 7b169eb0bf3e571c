"""FallbackModel: several models as one; the next is asked where one cannot answer."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from narrator._logs import log
from narrator.errors import ConfigurationError
from tyler._litellm import LitellmModel
from tyler.errors import (
    ModelAnswerBroken,
    ModelError,
    ModelKeyError,
    ModelNotFound,
    ModelRateLimited,
    ModelUnavailable,
)
from tyler.model import Model, Reasoning, Reply, Request

logger = logging.getLogger("tyler")

_NEXT = (ModelAnswerBroken, ModelKeyError, ModelNotFound, ModelRateLimited, ModelUnavailable)


class FallbackModel:
    """Asks the first model; where that one cannot be reached, has no key or no quota, or breaks off, the next.

    Only as long as no text was passed on: an answer is one model's. What a model refuses (ModelRefused,
    ContextTooLong) is raised at once, for it is the request that is wrong. Each request begins with the first model
    again. Who answered is `Reply.model`, and the message's `metadata["model"]`. When none answers, the last one's
    error is raised, with the others' as notes. Names are taken as litellm's. ConfigurationError without a model.
    """

    def __init__(self, models: Sequence[Model | str]) -> None:
        if isinstance(models, str) or not models:
            raise ConfigurationError(f"FallbackModel takes a list of models, not {models!r}; name at least one")
        self.models: list[Model] = [LitellmModel(model) if isinstance(model, str) else model for model in models]
        self.name = self.models[0].name

    def __repr__(self) -> str:
        return f"FallbackModel({self.models!r})"

    def named(self, name: str) -> FallbackModel:
        """The same fallbacks behind another first model, which is at the first one's address if it may be."""
        return FallbackModel([named(self.models[0], name), *self.models[1:]])

    async def takes_images(self) -> bool:
        """What the first model says; one that does not see is told that there is an image."""
        return await self.models[0].takes_images()

    async def count_tokens(self, messages: Sequence[dict[str, Any]]) -> int:
        """What the first model says."""
        return await self.models[0].count_tokens(messages)

    async def stream(self, request: Request) -> AsyncGenerator[str | Reasoning | Reply, None]:
        """See Model.stream. Thoughts of a model that then fails may come before the next one's answer."""
        failed: list[ModelError] = []
        for model, following in zip(self.models, [*self.models[1:], None], strict=True):
            spoken = False
            try:
                async with aclosing(model.stream(await _fitting(model, request))) as pieces:
                    async for piece in pieces:
                        spoken = spoken or (isinstance(piece, str) and bool(piece))
                        yield _signed(piece, model) if isinstance(piece, Reply) else piece
                return
            except _NEXT as error:
                if spoken or following is None:
                    for earlier in failed:
                        error.add_note(f"before it: {type(earlier).__name__}: {earlier}")
                    raise
                failed.append(error)
                told = (type(error).__name__, model.name, following.name)
                log(logger, logging.WARNING, None, "%s of model %r; %r is asked", *told)

    async def close(self) -> None:
        """Close all of them."""
        for model in self.models:
            await model.close()


def named(model: Model, name: str) -> Model:
    """The model of this name beside another: with its key and address only where the provider is the same."""
    return model.named(name) if isinstance(model, LitellmModel | FallbackModel) else LitellmModel(name)


def _signed(reply: Reply, model: Model) -> Reply:
    return replace(reply, model=reply.model or model.name)


async def _fitting(model: Model, request: Request) -> Request:
    """The request, with words in the place of images where the model does not see."""
    if not any(_images(message) for message in request.messages) or await model.takes_images():
        return request
    return replace(request, messages=[_without_images(message) for message in request.messages])


def _images(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    return [part for part in content if part.get("type") == "image_url"] if isinstance(content, list) else []


def _without_images(message: dict[str, Any]) -> dict[str, Any]:
    if not _images(message):
        return message
    told = {"type": "text", "text": "[an image is attached here, which is not shown to this model]"}
    return {**message, "content": [told if part.get("type") == "image_url" else part for part in message["content"]]}
