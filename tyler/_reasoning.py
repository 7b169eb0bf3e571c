"""What a model thought: collected from its answer, and put into the next request in the form its provider wants.

A provider gets back what it made itself and nothing else: Claude its signed blocks, Gemini its signatures, and those
that ask for it the plain text. To the others it would be an unknown field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tyler._output_tool import is_claude
from tyler.model import Reasoning

_SEPARATOR = "__thought__"  # litellm puts Gemini's signature of a call behind this, into the call's id
_GOOGLE = ("gemini", "vertex_ai")
# They ask for `reasoning_content` between the calls of a turn, or make use of it; elsewhere it is refused, or in vain.
_WANT_TEXT = ("deepseek", "moonshot", "together_ai", "hosted_vllm")


class Thoughts:
    """Collects the reasoning in the pieces of one answer."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._text: list[str] = []
        self._blocks: list[dict[str, str]] = []
        self._open: list[str] = []  # the text of a block whose signature is still to come
        self._signatures: list[str] = []

    @property
    def text(self) -> str:
        """What was thought so far, in words."""
        return "".join(self._text)

    def take(self, delta: Any) -> Reasoning | None:
        """Add what a piece has of it; its text, if it has any."""
        blocks = getattr(delta, "thinking_blocks", None)
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, Mapping):
                self._take_block(block)
        fields = getattr(delta, "provider_specific_fields", None)
        signatures = _items(fields, "thought_signatures") if isinstance(fields, Mapping) else []
        self._signatures += [s for s in signatures if isinstance(s, str) and s not in self._signatures]
        text = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
        if not isinstance(text, str) or not text:
            return None
        self._text.append(text)
        return Reasoning(self._provider, text)

    def _take_block(self, block: Mapping[str, Any]) -> None:
        """A signature ends its block; litellm repeats the block's text with it, or leaves it out (Bedrock)."""
        text = _text(block, "thinking")
        if data := _text(block, "data"):
            self._blocks.append({"type": "redacted_thinking", "data": data})
        elif signature := _text(block, "signature"):
            whole = text or "".join(self._open)
            self._blocks.append({"type": "thinking", "thinking": whole, "signature": signature})
            self._open = []
        else:
            self._open.append(text)

    def reasoning(self, call_signatures: Sequence[str | None]) -> Reasoning | None:
        """All of it; `call_signatures` has one entry for each call of the answer. None where there is nothing."""
        own = [signature for signature in self._signatures if signature not in call_signatures]
        found = {
            "thinking_blocks": self._blocks,
            "thought_signatures": own,
            "call_signatures": list(call_signatures) if any(call_signatures) else [],
        }
        data = {key: value for key, value in found.items() if value}
        return Reasoning(self._provider, self.text, data) if self.text or data else None


def split_call_id(call_id: str) -> tuple[str, str | None]:
    """The id of a call without the signature in it, and the signature."""
    bare, separator, signature = call_id.partition(_SEPARATOR)
    return bare, signature if separator else None


def with_reasoning(messages: Sequence[dict[str, Any]], name: str, provider: str) -> list[dict[str, Any]]:
    """The messages as this model is sent them. The given ones are not changed."""
    return [_sent(message, name, provider) if "reasoning" in message else message for message in messages]


def _sent(message: dict[str, Any], name: str, provider: str) -> dict[str, Any]:
    sent = {key: value for key, value in message.items() if key != "reasoning"}
    reasoning = message["reasoning"]
    if not isinstance(reasoning, Mapping) or reasoning.get("provider") != provider:
        return sent
    data = reasoning.get("data")
    data = data if isinstance(data, Mapping) else {}
    blocks = [dict(block) for block in _items(data, "thinking_blocks") if _is_block(block)]
    if is_claude(name, provider) and blocks:
        sent["thinking_blocks"] = blocks
    elif provider in _GOOGLE:
        _sign(sent, data)
    elif provider in _WANT_TEXT and (text := _text(reasoning, "text")):
        sent["reasoning_content"] = text
    return sent


def _sign(message: dict[str, Any], data: Mapping[str, Any]) -> None:
    """Gemini's signatures on the parts that have them: the text, and calls."""
    if signatures := [item for item in _items(data, "thought_signatures") if isinstance(item, str)]:
        message["provider_specific_fields"] = {"thought_signatures": signatures}
    calls, signatures = message.get("tool_calls") or [], _items(data, "call_signatures")
    if calls and len(calls) == len(signatures):  # else somebody has edited the calls
        message["tool_calls"] = [
            {**call, "provider_specific_fields": {"thought_signature": signature}}
            if isinstance(signature, str)
            else call
            for call, signature in zip(calls, signatures, strict=True)
        ]


def turn_without_thought(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the turn that goes on has calls and no thinking block: Claude then refuses to think in it.

    It does where another model made the calls, or where thinking was off when they were made.
    """
    start = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=-1)
    turn = [message for message in messages[start + 1 :] if message["role"] == "assistant"]
    return any(m.get("tool_calls") for m in turn) and not any(m.get("thinking_blocks") for m in turn)


def _is_block(block: Any) -> bool:
    """Whether it is a block as they are stored; anybody may have edited it since."""
    fields = {"thinking": {"thinking", "signature"}, "redacted_thinking": {"data"}}
    return isinstance(block, Mapping) and any(
        block.get("type") == kind and all(isinstance(block.get(name), str) for name in names)
        for kind, names in fields.items()
    )


def _items(value: Mapping[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""
