"""ScriptedModel: a model that follows a script instead of thinking."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from tyler.model import Reply, Request, estimated_tokens
from tyler.testing._lines import Line, check_line, spoken
from tyler.testing._shown import shown

_MAX_CHARS = 120


class ScriptedModel:
    """A model for `Agent(model=...)` that gives the script's lines in order, to whoever asks, from any thread or loop.

    A line is text, a Reply (see `calls`), an exception to raise, Pieces, any of them Delayed, or a function (sync or
    async) of the request that returns one. Text is streamed word by word, Pieces as they are. `requests` keeps what
    was asked, in the order of the lines. `delay_s` is waited before each answer.
    """

    name = "scripted"

    def __init__(self, script: Iterable[Line], *, takes_images: bool = False, delay_s: float = 0) -> None:
        self._script = list(script)
        for place, line in enumerate(self._script, 1):
            check_line(line, f"line {place} of the script")
        self._used = 0
        self._lock = threading.Lock()
        self._takes_images = takes_images
        self._delay_s = delay_s
        self.requests: list[Request] = []

    def __repr__(self) -> str:
        return f"ScriptedModel({self._used} of {len(self._script)} lines used)"

    async def takes_images(self) -> bool:
        """As given."""
        return self._takes_images

    async def count_tokens(self, messages: Sequence[dict[str, Any]]) -> int:
        """An estimate from the length."""
        return estimated_tokens(messages)

    async def stream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """The next line; AssertionError when the script is over."""
        line = self._next(request)
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        async with aclosing(spoken(line, request)) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        """Nothing is held."""

    def assert_done(self) -> None:
        """AssertionError unless every line of the script was used."""
        if left := self._script[self._used :]:
            raise AssertionError(
                f"{len(left)} of {len(self._script)} lines of the script were not used; the next one is "
                f"{shown(repr(left[0]), _MAX_CHARS)}"
            )

    def _next(self, request: Request) -> Line:
        """The line of this request; both are counted in one, whoever else asks at the same time."""
        with self._lock:
            self.requests.append(request)
            if self._used == len(self._script):
                raise AssertionError(
                    f"the script of {len(self._script)} lines is over, and request {len(self.requests)} came, behind "
                    f"{last_message(request)}; add a line, or see why the model is asked once more"
                )
            self._used += 1
            return self._script[self._used - 1]


def last_message(request: Request) -> str:
    """Who said what at the end of the request, in one line, without pictures."""
    if not request.messages:
        return "no message at all"
    last = request.messages[-1]
    content = last.get("content") or ""
    if isinstance(content, list):
        content = " ".join(str(part.get("text", f"[{part.get('type')}]")) for part in content)
    called = "".join(f" [calls {call['function']['name']}]" for call in last.get("tool_calls") or ())
    return f"the {last['role']} message {shown(repr(content + called), _MAX_CHARS)}"
