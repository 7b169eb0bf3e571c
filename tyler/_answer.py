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
        self._calls: list[dict[str, str]] = []
        self._at: dict[object, dict[str, str]] = {}  # index -> the call that is being written there
        self._usage: Any = None
        self.finish: str | None = None

    def take(self, chunk: Any) -> str | None:
        """Add a chunk; its text, if it has any."""
        if getattr(chunk, "usage", None) is not None:
            self._usage = chunk.usage
        if not chunk.choices:
            return None
        choice = chunk.choices[0]
        self.finish = choice.finish_reason or self.finish
        for piece in choice.delta.tool_calls or ():
            self._take_call(piece)
        text: str | None = choice.delta.content
        if text:
            self._text.append(text)
        return text

    def _take_call(self, piece: Any) -> None:
        """Calls are told apart by index; where none is sent, litellm says 0 for all, and a new id and name tell."""
        function = piece.function
        call = self._at.get(piece.index)
        if call is None or (piece.id and call["id"] and piece.id != call["id"] and function and function.name):
            call = self._at[piece.index] = {"id": "", "name": "", "arguments": ""}
            self._calls.append(call)
        call["id"] = call["id"] or piece.id or ""
        if function is not None:
            call["name"] = call["name"] or function.name or ""
            call["arguments"] += function.arguments or ""

    def reply(self, model: str, usage: Callable[[Any], Usage]) -> Reply:
        """The whole answer. Raises ModelAnswerBroken when it was cut off, or is none."""
        text = "".join(self._text)
        if self.finish is None and not text and not self._calls:
            raise ModelAnswerBroken(
                f"model {model!r} answered with something else than a chat completion; check its base URL"
            )
        if self.finish is None:
            raise ModelAnswerBroken(f"model {model!r} stopped in the middle of its answer; call go() again")
        cut = self.finish == "length"
        if cut and self._calls:
            raise ModelAnswerBroken(
                f"model {model!r} reached its length limit inside a tool call, which therefore was not run; "
                "raise max_tokens in model_params"
            )
        if not text and not self._calls:
            raise ModelAnswerBroken(f"model {model!r} gave an empty answer ({self.finish}); call go() again")
        seen: set[str] = set()
        return Reply(
            content=text or None,
            tool_calls=[_tool_call(call, seen) for call in self._calls],
            usage=None if self._usage is None else usage(self._usage),
            finish="length" if cut else "filtered" if self.finish == "content_filter" else "stop",
        )


def _tool_call(call: dict[str, str], seen: set[str]) -> ToolCall:
    """The call, with an id that is its own in this message."""
    call_id = call["id"]
    if not call_id or len(call_id) > _MAX_ID_CHARS or not call_id.isprintable() or call_id in seen:
        call_id = f"call_{new_id()}"
    seen.add(call_id)
    return ToolCall(id=call_id, name=call["name"], arguments=call["arguments"] or "{}")
