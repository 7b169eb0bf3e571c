"""For tests of agents: a model that follows a script instead of thinking."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any

from narrator import ToolCall
from narrator.message import new_id
from tyler.model import Reply, Request, estimated_tokens

Line = str | Reply | Exception | Callable[[Request], "str | Reply"]


def calls(*wanted: tuple[str, dict[str, Any]], content: str | None = None) -> Reply:
    """A reply that calls tools: `calls(("add", {"a": 1}), ("now", {}))`."""
    return Reply(
        content=content,
        tool_calls=[
            ToolCall(id=f"call_{new_id()}", name=name, arguments=json.dumps(arguments)) for name, arguments in wanted
        ],
    )


class ScriptedModel:
    """A model for `Agent(model=...)` that gives the script's lines in order, whoever asks.

    A line is text, a Reply (see `calls`), an exception to raise, or a function of the request. Text is streamed
    word by word. `requests` keeps what was asked. `delay_s` is waited before each answer.
    """

    name = "scripted"

    def __init__(self, script: Iterable[Line], *, takes_images: bool = False, delay_s: float = 0) -> None:
        self._script = list(script)
        self._takes_images = takes_images
        self._delay_s = delay_s
        self.requests: list[Request] = []

    async def takes_images(self) -> bool:
        """As given."""
        return self._takes_images

    async def count_tokens(self, messages: Sequence[dict[str, Any]]) -> int:
        """An estimate from the length."""
        return estimated_tokens(messages)

    async def stream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """The next line; AssertionError when the script is over."""
        self.requests.append(request)
        if not self._script:
            raise AssertionError(f"the script is over, and the model is asked {request.messages[-1:]!r}")
        line = self._script.pop(0)
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        if callable(line):
            line = line(request)
        if isinstance(line, Exception):
            raise line
        reply = Reply(content=line) if isinstance(line, str) else line
        for piece in re.findall(r"\s*\S+\s*$|\s*\S+", reply.content or ""):
            yield piece
        yield reply

    async def close(self) -> None:
        """Nothing is held."""

    def assert_done(self) -> None:
        """AssertionError unless every line of the script was used."""
        assert not self._script, f"{len(self._script)} lines of the script were not used: {self._script!r}"
