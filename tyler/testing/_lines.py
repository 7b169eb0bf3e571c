"""The lines of a script: what a ScriptedModel may be told to say, and how it says it."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from narrator import ToolCall, Usage
from narrator.message import new_id
from tyler.model import Reasoning, Reply, Request


@dataclass(frozen=True)
class Delayed:
    """A line, or one of Pieces, that comes `seconds` later: `Delayed(0.5, "Hello")`."""

    seconds: float
    line: Line

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < float("inf"):
            raise ValueError(f"Delayed({self.seconds!r}, ...): the seconds must be a number from 0")
        check_line(self.line, "what Delayed holds")


class Pieces:
    """An answer in exactly these pieces: `Pieces("Once ", Delayed(0.2, "upon "), ModelUnavailable("gone"))`.

    An exception as the last one is raised there, and no whole answer comes. A Reply as the last one says what comes
    with the text: tool calls, usage, reasoning; its content is the pieces' text.
    """

    def __init__(self, *parts: str | Exception | Delayed | Reply) -> None:
        for place, part in enumerate(parts, 1):
            inner = _undelayed(part)
            if not isinstance(inner, str | Exception | Reply):
                raise TypeError(f"Pieces takes text and a last exception or Reply, not a {type(inner).__name__}")
            if not isinstance(inner, str) and place < len(parts):
                raise ValueError(f"nothing comes behind the {type(inner).__name__} in Pieces; put it last")
            if isinstance(inner, Reply) and inner.content is not None:
                raise ValueError("a Reply in Pieces has no content of its own; its content is the pieces before it")
        self.parts: Sequence[str | Exception | Delayed | Reply] = parts

    def __repr__(self) -> str:
        return f"Pieces({', '.join(map(repr, self.parts))})"


Line = str | Reply | Exception | Delayed | Pieces | Callable[[Request], "Line | Awaitable[Line]"]


def calls(
    *wanted: tuple[str, dict[str, Any]],
    content: str | None = None,
    usage: Usage | None = None,
    reasoning: Reasoning | None = None,
) -> Reply:
    """A reply that calls tools: `calls(("add", {"a": 1}), ("now", {}))`."""
    tool_calls = [
        ToolCall(id=f"call_{new_id()}", name=name, arguments=json.dumps(arguments)) for name, arguments in wanted
    ]
    return Reply(content=content, tool_calls=tool_calls, usage=usage, reasoning=reasoning)


def check_line(line: object, where: str) -> None:
    """TypeError for what is no line of a script."""
    if not (isinstance(line, str | Reply | Exception | Delayed | Pieces) or callable(line)):
        kinds = "text, a Reply, an exception, Pieces, Delayed, or a function of the request"
        raise TypeError(f"{where} is a {type(line).__name__}; give {kinds}")


async def spoken(line: Line, request: Request) -> AsyncGenerator[str | Reply, None]:
    """The line as a model's stream: pieces of text, then the whole Reply; or the line's exception."""
    while callable(line) or isinstance(line, Delayed):
        if isinstance(line, Delayed):
            await asyncio.sleep(line.seconds)
            line = line.line
            continue
        said = line(request)
        line = await said if inspect.isawaitable(said) else said
        check_line(line, "what a function of the script returned")
    text, whole = "", Reply()
    for planned in line.parts if isinstance(line, Pieces) else _parts(line):
        part: object = planned
        while isinstance(part, Delayed):
            await asyncio.sleep(part.seconds)
            part = part.line
        if isinstance(part, Exception):
            raise part
        if isinstance(part, Reply):
            whole = part
        elif part:
            text += str(part)
            yield str(part)
    yield whole if whole.content is not None or not text else replace(whole, content=text)


def _parts(line: str | Reply | Exception) -> list[str | Reply | Exception | Delayed]:
    """Text word by word, and the Reply."""
    if isinstance(line, Exception):
        return [line]
    reply = Reply(content=line) if isinstance(line, str) else line
    return [*re.findall(r"\s*\S+\s*$|\s*\S+", reply.content or ""), reply]


def _undelayed(part: object) -> object:
    while isinstance(part, Delayed):
        part = part.line
    return part
