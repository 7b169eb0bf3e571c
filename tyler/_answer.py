"""A model's answer put together from its pieces: a whole one, or ModelAnswerBroken.

The rule: an answer is whole only where every reason that the provider gave for its end is a word known to mean so.
Text that ended at a known limit or filter is marked as not whole. Any other word, be it an error's name ("error",
"network_error", "insufficient_system_resource", "MALFORMED_FUNCTION_CALL") or one that nobody here has seen, and no
word at all, make a broken answer. Tool calls are run out of a whole answer only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn

from narrator import ToolCall, Usage
from narrator.message import new_id
from tyler._reasoning import Thoughts, split_call_id
from tyler.errors import ModelAnswerBroken
from tyler.model import Reasoning, Reply

_Call = dict[str, str]

_MAX_ID_CHARS, _MAX_REASON_CHARS = 100, 60
MAX_ANSWER_CHARS = 10_000_000  # some twenty times what the longest answer of a model has; a stream may never end

# In lower case: providers differ in that alone.
_CALLS = {"tool_calls", "tool_use", "function_call"}
_WHOLE = {"stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", *_CALLS}
_LIMIT = {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded", "compaction"}
_FILTER = {
    "content_filter",
    "content_filtered",
    "refusal",
    "sensitive",
    "guardrail_intervened",
    "error_toxic",
    "safety",
    "recitation",
    "language",
    "blocklist",
    "prohibited_content",
    "spii",
}


class Answer:
    """Collects chunks of the chat-completions stream. `output_tool`: whose call is the answer itself."""

    def __init__(self, model: str, provider: str, output_tool: str | None = None) -> None:
        self._model = model
        self._output_tool = output_tool
        self._thoughts = Thoughts(provider)
        self._text: list[str] = []
        self._calls: list[_Call] = []
        self._at: dict[object, _Call] = {}  # index -> the call that is being written there
        self._chars = 0
        self.usage: Any = None  # what the provider counted, as it came

    @property
    def written(self) -> str:
        """All that the model wrote so far, its thoughts too: what its tokens can be counted by."""
        calls = [call["name"] + call["arguments"] for call in self._calls]
        return "".join([self._thoughts.text, *self._text, *calls])

    def take(self, chunk: Any) -> list[str | Reasoning]:
        """Add a chunk; its text and what it has of the reasoning, if it has any."""
        if getattr(chunk, "usage", None) is not None:
            self.usage = chunk.usage
        choices = getattr(chunk, "choices", None)
        delta = getattr(choices[0], "delta", None) if choices else None
        if delta is None:
            return []
        pieces: list[str | Reasoning] = []
        if (thought := self._thoughts.take(delta)) is not None:
            self._count(thought.text)
            pieces.append(thought)
        if text := delta.content:
            self._text.append(text)
            self._count(text)
            pieces.append(text)
        return pieces + [said for call in getattr(delta, "tool_calls", None) or () if (said := self._take_call(call))]

    def _take_call(self, piece: Any) -> str:
        """Add a piece of a call; its text where it belongs to the output tool's.

        Calls are told apart by index; where none is sent, litellm says 0 for all, and ids and names tell.
        """
        function = piece.function
        call = self._at.get(piece.index)
        if call is not None and piece.id and piece.id != call["id"]:
            same = [c for c in self._calls if c["id"] == piece.id and c["index"] == call["index"]]
            call = same[-1] if same else None if call["id"] and function and function.name else call
        if call is None:
            call = {"id": "", "name": "", "arguments": "", "index": str(piece.index), "signature": ""}
            self._calls.append(call)
        self._at[piece.index] = call
        call["id"] = call["id"] or piece.id or ""
        fields = getattr(piece, "provider_specific_fields", None) or {}
        call["signature"] = call["signature"] or str(fields.get("thought_signature") or "")
        if function is None:
            return ""
        call["name"] = call["name"] or function.name or ""
        call["arguments"] += function.arguments or ""
        self._count(function.arguments or "")
        is_output = call["name"] == self._output_tool and call is self._calls[0]
        return function.arguments or "" if is_output else ""

    def _count(self, text: str) -> None:
        self._chars += len(text)
        if self._chars > MAX_ANSWER_CHARS:
            raise self._broken(f"goes on beyond {MAX_ANSWER_CHARS:,} characters; set max_tokens in model_params")

    def reply(self, reasons: Sequence[object], usage: Callable[[Any], Usage]) -> Reply:
        """The whole answer; `reasons` are the provider's. Raises ModelAnswerBroken when it was cut off, or is none."""
        text = "".join(self._text)
        finish = self._finish(reasons, bool(text or self._calls))
        if self._calls and finish != "stop":
            self._refuse_calls(finish)
        if not text and not self._calls:
            self._refuse_nothing(finish)
        if not self._calls and any(_word(reason) in _CALLS for reason in reasons):
            raise self._broken("announced a tool call and sent none; call go() again")
        calls = [call for call in self._calls if call["name"] != self._output_tool]
        if self._calls and not calls:  # the output tool's alone; beside others it is too early, and dropped
            text = self._calls[0]["arguments"] or "{}"
        seen: set[str] = set()
        signatures = [call["signature"] or split_call_id(call["id"])[1] for call in calls]
        return Reply(
            content=text or None,
            tool_calls=[_tool_call(call, seen) for call in calls],
            usage=None if self.usage is None else usage(self.usage),
            finish=finish,
            reasoning=self._thoughts.reasoning(signatures),
        )

    def _finish(self, reasons: Sequence[object], begun: bool) -> Literal["stop", "length", "filtered"]:
        """How the answer ended. Raises ModelAnswerBroken for an answer without an end in order."""
        words = {_word(reason) for reason in reasons}
        if not words and not begun:
            raise self._broken("answered with something else than a chat completion; check its base URL")
        if not words:
            raise self._broken("stopped in the middle of its answer; call go() again")
        if unknown := words - _WHOLE - _LIMIT - _FILTER:
            raise self._broken(f"ended its answer with {min(unknown)!r}, so it may not be whole; call go() again")
        return "length" if words & _LIMIT else "filtered" if words & _FILTER else "stop"

    def _refuse_calls(self, finish: Literal["length", "filtered"]) -> NoReturn:
        if finish == "length":
            raise self._broken(
                "reached its length limit inside a tool call, which therefore was not run; "
                "raise max_tokens in model_params"
            )
        raise self._broken("was stopped by its filter inside a tool call, which therefore was not run; ask otherwise")

    def _refuse_nothing(self, finish: Literal["stop", "length", "filtered"]) -> NoReturn:
        if finish == "length":
            raise self._broken("reached its length limit before it said anything; raise max_tokens in model_params")
        if finish == "filtered":
            raise self._broken("was stopped by its filter before it said anything; ask otherwise")
        raise self._broken("gave an empty answer; call go() again")

    def _broken(self, what: str) -> ModelAnswerBroken:
        return ModelAnswerBroken(f"model {self._model!r} {what}")


def _word(reason: object) -> str:
    """The reason for comparing; a server may send anything."""
    return str(reason)[:_MAX_REASON_CHARS].lower()


def _tool_call(call: _Call, seen: set[str]) -> ToolCall:
    """The call, with an id that is its own in this message."""
    call_id = split_call_id(call["id"])[0]
    if not call_id or len(call_id) > _MAX_ID_CHARS or not call_id.isprintable() or call_id in seen:
        call_id = f"call_{new_id()}"
    seen.add(call_id)
    return ToolCall(id=call_id, name=call["name"], arguments=call["arguments"] or "{}")
