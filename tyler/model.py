"""The Model protocol: what the loop asks of a language model. litellm is behind it in `_litellm.py`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from narrator import ToolCall, Usage


@dataclass(frozen=True)
class OutputSchema:
    """The form that an answer must have: a JSON schema of type object. How a model is held to it is its own affair."""

    name: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One request: valid messages in the chat format, the tools' definitions, what is wanted for this run.

    An assistant message may carry "reasoning", as `Reasoning` was stored: a model sends back what its own provider
    made, and leaves the rest out. `output`: the answer's content is to be JSON of this schema. `params`: provider
    parameters of this run, stronger than the model's own.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)
    output: OutputSchema | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reasoning:
    """What a model thought before it answered.

    `provider` made it; `data` is JSON that this provider wants back in the next request (signatures, whole blocks).
    """

    provider: str
    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """A whole answer. `finish`: "length" when the model stopped at its limit.

    `model`: the name of who answered, where it was not plain who would.
    """

    content: str | None = None
    tool_calls: list[ToolCall] = field(default_factory=list)
    usage: Usage | None = None
    finish: Literal["stop", "length", "filtered"] = "stop"
    reasoning: Reasoning | None = None
    model: str | None = None


class Model(Protocol):
    """A language model. One object may answer any number of requests at once."""

    name: str

    async def takes_images(self) -> bool:
        """Whether images may be sent."""

    async def count_tokens(self, messages: Sequence[dict[str, Any]]) -> int:
        """How many tokens these messages have; an estimate where nobody knows."""

    def stream(self, request: Request) -> AsyncGenerator[str | Reasoning | Reply, None]:
        """The answer's text in pieces, then the whole Reply. Raises ModelError, and then no Reply came.

        What the model thinks may come in pieces too, as Reasoning with a text; the Reply has all of it.
        """

    async def close(self) -> None:
        """Give back the connections of this event loop; the model may be used again."""


def estimated_tokens(messages: Sequence[dict[str, Any]]) -> int:
    """Tokens without a tokenizer: four bytes each (some 20 % off in English), and 1,000 an image."""
    return sum(4 + -(-_bytes_in(message) // 4) for message in messages)


def _bytes_in(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, Mapping):
        return 4000 if value.get("type") == "image_url" else sum(_bytes_in(item) for item in value.values())
    return sum(_bytes_in(item) for item in value) if isinstance(value, list | tuple) else 0
