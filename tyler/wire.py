"""Message -> the chat-completions format, and the one place that makes every request valid (promise P7). Pure.

Whatever was trimmed, edited by hand or lost: each call has exactly one result right behind it, in the view
that a model gets. Stored messages are not touched. What a part of a message's content may be is in `_parts.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from narrator import Message
from narrator._values import clean_text
from tyler._parts import mended_parts

Chat = dict[str, Any]

NO_RESULT = "No result of this call was recorded; whether it had an effect is unknown."
_NO_TEXT = {"user": "(empty message)", "tool": "(no output)"}
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MAX_CALL_ID = 40  # OpenAI refuses longer ones
_MAX_CALLS = 128  # in one message


def to_chat(message: Message, file_parts: Sequence[Chat] = ()) -> Chat:
    """One message in the chat format; `file_parts` are its attachments as content parts."""
    chat: Chat = {"role": message.role}
    content: Any = message.content
    if file_parts:
        own = [{"type": "text", "text": content}] if isinstance(content, str) and content else content or []
        content = [*own, *file_parts]
        if message.role == "tool":  # most providers take a result as text only
            content = "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))
    if content is not None:
        chat["content"] = content
    if message.name is not None and message.role != "tool":
        chat["name"] = message.name
    if message.tool_calls:
        chat["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        chat["tool_call_id"] = message.tool_call_id
    if message.role == "assistant" and isinstance(reasoning := message.metadata.get("reasoning"), dict):
        chat["reasoning"] = reasoning
    return chat


def valid_chat(messages: Sequence[Chat]) -> list[Chat]:
    """The same conversation in a form that providers accept; a valid one comes back unchanged.

    Results move behind their calls; a call without one gets NO_RESULT; results without a call, and messages
    that say nothing, are left out; call ids that repeat or are too long are renamed; arguments that are no
    JSON object become {}.
    """
    results = _Results(messages)
    valid: list[Chat] = []
    used_ids: set[str] = set()
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            continue  # placed with its call
        calls = message.get("tool_calls") if message["role"] == "assistant" else None
        chat = _plain(message, keep_empty=bool(calls))
        if not calls:
            if chat is not None:
                valid.append(chat)
            continue
        mended = [_mended_call(call, used_ids) for call in calls]
        found = [results.take(call["id"], after=index) for call in calls]
        for start in range(0, len(mended), _MAX_CALLS):
            head = chat if start == 0 and chat is not None else {"role": "assistant"}
            some = slice(start, start + _MAX_CALLS)
            valid.append({**head, "tool_calls": mended[some]})
            valid += _answers(mended[some], found[some])
    return valid


def _answers(calls: Sequence[Chat], found: Sequence[tuple[int, Chat] | None]) -> list[Chat]:
    """One result a call, in the order in which they stand in the thread if all are there, else in the calls'."""
    pairs = list(zip(calls, found, strict=True))
    if None not in found:
        pairs.sort(key=lambda pair: pair[1][0] if pair[1] else 0)
    return [_result(call["id"], place and place[1]) for call, place in pairs]


class _Results:
    """The tool messages by call id, each given out once: to the nearest call before it that asks."""

    def __init__(self, messages: Sequence[Chat]) -> None:
        self._found: dict[str | None, list[tuple[int, Chat]]] = {}
        self._asked: dict[str, list[int]] = {}
        for index, message in enumerate(messages):
            if message["role"] == "tool":
                self._found.setdefault(message.get("tool_call_id"), []).append((index, message))
            for call in message.get("tool_calls") or ():
                self._asked.setdefault(call["id"], []).append(index)

    def take(self, call_id: str, after: int) -> tuple[int, Chat] | None:
        """The place of the result, and the result."""
        candidates = self._found.get(call_id, [])
        next_ask = min((i for i in self._asked.get(call_id, []) if i > after), default=None)
        for place, (index, message) in enumerate(candidates):
            if index > after and (next_ask is None or index < next_ask):
                del candidates[place]
                return index, message
        return None


def _plain(message: Chat, *, keep_empty: bool) -> Chat | None:
    """The message without its calls, its content mended; None if it says nothing."""
    role, content = message["role"], message.get("content")
    mended = mended_parts(content, role) if isinstance(content, list) else content
    chat = {key: value for key, value in message.items() if key not in ("tool_calls", "tool_call_id")}
    if "name" in chat and not _NAME.fullmatch(chat["name"]):
        del chat["name"]
    if not mended and not keep_empty:
        if role not in _NO_TEXT:
            return None
        mended = _NO_TEXT[role]
    if mended != content or mended == []:
        chat["content"] = mended or None
    return message if chat == message else chat


def _mended_call(call: Chat, used_ids: set[str]) -> Chat:
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    call_id = base = call["id"] if 0 < len(call["id"]) <= _MAX_CALL_ID else _short_id(call["id"])
    number = 2
    while call_id in used_ids:
        suffix = f"-{number}"
        call_id, number = base[: _MAX_CALL_ID - len(suffix)] + suffix, number + 1
    used_ids.add(call_id)
    if not _NAME.fullmatch(name):
        name = re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or "unnamed"
    arguments = _mended_arguments(arguments)
    if (call_id, name, arguments) == (call["id"], call["function"]["name"], call["function"]["arguments"]):
        return call
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _short_id(call_id: str) -> str:
    """An id of the right length that is the same in every request (prompt caches)."""
    return f"call_{hashlib.sha256(call_id.encode()).hexdigest()[:32]}"


def _mended_arguments(text: str) -> str:
    """JSON text of an object, with nothing in it that a provider refuses; {} if it is none."""
    try:
        arguments = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        if not isinstance(arguments, dict):
            return "{}"
        clean = _clean(arguments) if "\\u" in text else arguments
        return text if clean == arguments else json.dumps(clean, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "{}"


def _clean(value: Any) -> Any:
    """An escaped NUL or half a surrogate pair hides in JSON text until it is read."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(key): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits} is too large for a number")
    return value


def _result(call_id: str, found: Chat | None) -> Chat:
    if found is None:
        return {"role": "tool", "content": NO_RESULT, "tool_call_id": call_id}
    mended = {**(_plain(found, keep_empty=False) or {}), "tool_call_id": call_id}
    return found if mended == found else mended
