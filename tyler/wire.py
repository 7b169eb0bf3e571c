"""Message -> the chat-completions format, and the one place that makes every request valid (promise P7). Pure.

Whatever was trimmed, edited by hand or lost: each call has exactly one result right behind it, in the view
that a model gets. Stored messages are not touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from narrator import Message

Chat = dict[str, Any]

NO_RESULT = "No result of this call was recorded; whether it had an effect is unknown."
_EMPTY = "(empty message)"
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def to_chat(message: Message, file_parts: Sequence[Chat] = ()) -> Chat:
    """One message in the chat format; `file_parts` are its attachments as content parts."""
    chat: Chat = {"role": message.role}
    content: Any = message.content
    if file_parts:
        own = [{"type": "text", "text": content}] if isinstance(content, str) and content else content or []
        content = [*own, *file_parts]
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
    return chat


def valid_chat(messages: Sequence[Chat]) -> list[Chat]:
    """The same conversation in a form that providers accept; a valid one comes back unchanged.

    Results move behind their calls; a call without one gets NO_RESULT; results without a call, and messages
    that say nothing, are left out; repeated call ids are renamed; arguments that are no JSON object become {}.
    """
    results = _Results(messages)
    valid: list[Chat] = []
    used_ids: set[str] = set()
    for index, message in enumerate(messages):
        role = message["role"]
        if role == "tool":
            continue  # placed with its call
        chat = _plain(message)
        if role != "assistant" or not message.get("tool_calls"):
            if chat is not None:
                valid.append(chat)
            continue
        calls, answers = [], []
        for call in message["tool_calls"]:
            found = results.take(call["id"], after=index)
            mended = _mended_call(call, used_ids)
            calls.append(mended)
            answers.append(_result(mended["id"], found))
        valid.append({**(chat or {"role": "assistant"}), "tool_calls": calls})
        valid += answers
    return valid


class _Results:
    """The tool messages by call id, each given out once: to the nearest call before it that asks."""

    def __init__(self, messages: Sequence[Chat]) -> None:
        self._found: dict[str, list[tuple[int, Chat]]] = {}
        self._asked: dict[str, list[int]] = {}
        for index, message in enumerate(messages):
            if message["role"] == "tool":
                self._found.setdefault(str(message.get("tool_call_id")), []).append((index, message))
            for call in message.get("tool_calls") or ():
                self._asked.setdefault(call["id"], []).append(index)

    def take(self, call_id: str, after: int) -> Chat | None:
        candidates = self._found.get(call_id, [])
        next_ask = min((i for i in self._asked.get(call_id, []) if i > after), default=None)
        for place, (index, message) in enumerate(candidates):
            if index > after and (next_ask is None or index < next_ask):
                del candidates[place]
                return message
        return None


def _plain(message: Chat) -> Chat | None:
    """The message without its calls, its content mended; None if it says nothing."""
    content = message.get("content")
    mended = _parts(content) if isinstance(content, list) else content
    chat = {key: value for key, value in message.items() if key not in ("tool_calls", "tool_call_id", "content")}
    if "name" in chat and not _NAME.fullmatch(chat["name"]):
        del chat["name"]
    if not mended:
        if message["role"] != "user":
            return None
        mended = _EMPTY
    if mended == content and len(chat) + 1 == len(message):
        return message
    return {**chat, "content": mended}


def _parts(parts: Iterable[Any]) -> list[Chat]:
    """The parts that the format knows; others are shown as text."""
    return [mended for part in parts if (mended := _part(part)) is not None]


def _part(part: Any) -> Chat | None:
    kind = part.get("type")
    if kind == "text":
        return part if isinstance(part.get("text"), str) and part["text"] else None
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else None
        if isinstance(url, str) and url.startswith(("https://", "http://", "data:image/")):
            return dict(part)
    if kind in ("input_audio", "file") and isinstance(part.get(kind), dict):
        return dict(part)
    return {"type": "text", "text": json.dumps(part, ensure_ascii=False)}


def _mended_call(call: Chat, used_ids: set[str]) -> Chat:
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    call_id = base = call["id"] or "call"
    number = 2
    while call_id in used_ids:
        call_id, number = f"{base}-{number}", number + 1
    used_ids.add(call_id)
    if not _NAME.fullmatch(name):
        name = re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or "unnamed"
    if not _is_object(arguments):
        arguments = "{}"
    if (call_id, name, arguments) == (call["id"], call["function"]["name"], call["function"]["arguments"]):
        return call
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_constant=_refuse), dict)
    except (ValueError, RecursionError):
        return False


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _result(call_id: str, found: Chat | None) -> Chat:
    content = NO_RESULT if found is None else found.get("content")
    if isinstance(content, list):
        content = "\n".join(part["text"] for part in _parts(content) if part["type"] == "text")
    if found is not None and found.get("tool_call_id") == call_id and content and content == found.get("content"):
        return found if set(found) == {"role", "content", "tool_call_id"} else _tool_chat(call_id, content)
    return _tool_chat(call_id, content or "(no output)")


def _tool_chat(call_id: str, content: str) -> Chat:
    return {"role": "tool", "content": content, "tool_call_id": call_id}
