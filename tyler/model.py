"""The Model protocol: what the loop asks of a language model. litellm is behind it in `_litellm.py`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from narrator import ToolCall, Usage


@dataclass(frozen=True)
class Request:
    """One request: valid messages in the chat format, the tools' definitions, further provider parameters."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Reply:
    """A whole answer. `finish`: "length" when the model stopped at its limit."""

    content: str | None = None
    tool_calls: list[ToolCall] = field(default_factory=list)
    usage: Usage | None = None
    finish: Literal["stop", "length", "filtered"] = "stop"


class Model(Protocol):
    """A language model. One object may answer any number of requests at once."""

    name: str

    async def takes_images(self) -> bool:
        """Whether images may be sent."""

    def stream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """The answer's text in pieces, then the whole Reply. Raises ModelError, and then no Reply came."""

    async def close(self) -> None:
        """Give back the connections of this event loop; the model may be used again."""
