"""A model's answer put together from its pieces: a whole one, or ModelAnswerBroken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narrator import ToolCall, Usage
from narrator.message import new_id
from tyler.errors import ModelAnswerBroken
from tyler.model import Reply

_MAX_ID_CHARS = 100


class Answer:
    """Collects chunks of the chat-completions stream."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._calls: dict[object, dict[str, str]] = {}
        self._last_key: object = None
        self._finish: str | None = None
        self._usage: Any = None

    def take(self, chunk: Any) -> str | None:
        """Add a chunk; its text, if it has any."""
        if getattr(chunk, "usage", None) is not None:
            self._usage = chunk.usage
        if not chunk.choices:
            return None
        choice = chunk.choices[0]
        self._finish = choice.finish_reason or self._finish
        for piece in choice.delta.tool_calls or ():
            self._take_call(piece)
        text: str | None = choice.delta.content
        if text:
            self._text.append(text)
        return text

    def _take_call(self, piece: Any) -> None:
        """Calls are told apart by index; where a provider sends none, a new id starts a new call."""
        key: object = piece.index
        if key is None:
            key = piece.id or self._last_key
        self._last_key = key
        call = self._calls.setdefault(key, {"id": "", "name": "", "arguments": ""})
        call["id"] = call["id"] or piece.id or ""
        if piece.function is not None:
            call["name"] = call["name"] or piece.function.name or ""
            call["arguments"] += piece.function.arguments or ""

    def reply(self, model: str, usage: Callable[[Any], Usage]) -> Reply:
        """The whole answer. Raises ModelAnswerBroken when it was cut off, or is none."""
        if self._finish is None:
            raise ModelAnswerBroken(f"model {model!r} stopped in the middle of its answer; call go() again")
        cut = self._finish == "length"
        if cut and self._calls:
            raise ModelAnswerBroken(
                f"model {model!r} reached its length limit inside a tool call, which therefore was not run; "
                "raise max_tokens in model_params"
            )
        text = "".join(self._text)
        if not text and not self._calls:
            raise ModelAnswerBroken(f"model {model!r} gave an empty answer ({self._finish}); call go() again")
        seen: set[str] = set()
        return Reply(
            content=text or None,
            tool_calls=[_tool_call(call, seen) for call in self._calls.values()],
            usage=None if self._usage is None else usage(self._usage),
            finish="length" if cut else "filtered" if self._finish == "content_filter" else "stop",
        )


def _tool_call(call: dict[str, str], seen: set[str]) -> ToolCall:
    """The call, with an id that is its own in this message."""
    call_id = call["id"]
    if not call_id or len(call_id) > _MAX_ID_CHARS or not call_id.isprintable() or call_id in seen:
        call_id = f"call_{new_id()}"
    seen.add(call_id)
    return ToolCall(id=call_id, name=call["name"], arguments=call["arguments"] or "{}")
