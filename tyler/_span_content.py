"""What was said, in the JSON that the GenAI conventions want on a span; nothing is asked for it unless that is wanted.

Shapes: gen-ai-input-messages.json and its kin in github.com/open-telemetry/semantic-conventions-genai. Files are
named by type and size, their bytes stay out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from narrator._values import clean_text
from tyler.model import Reply

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_ON_SPANS = ("true", "span_only", "span_and_event")


def is_wanted() -> bool:
    """Whether the environment asks for content on spans."""
    return os.environ.get(CAPTURE, "").strip().lower() in _ON_SPANS


def instructions(purpose: str) -> str:
    """The agent's purpose, as system instructions."""
    return _json([{"type": "text", "content": purpose}])


def input_messages(chats: Iterable[Mapping[str, Any]]) -> str:
    """Messages in the chat format."""
    return _json([_message(chat) for chat in chats])


def output_message(reply: Reply, finish_reason: str) -> str:
    """A model's answer, as the only choice."""
    parts = [{"type": "reasoning", "content": reply.reasoning.text}] if reply.reasoning else []
    parts += _parts(reply.content)
    parts += [_call(call.id, call.name, call.arguments) for call in reply.tool_calls]
    return _json([{"role": "assistant", "parts": parts, "finish_reason": finish_reason}])


def answer(text: str) -> str:
    """An agent's answer, as the only choice."""
    return _json([{"role": "assistant", "parts": _parts(text), "finish_reason": "stop"}])


def tool_definitions(definitions: Iterable[Mapping[str, Any]]) -> str:
    """The tools' names; the rest would be large, and is in the program."""
    return _json([{"type": "function", "name": definition["function"]["name"]} for definition in definitions])


def tool_arguments(arguments: str) -> str:
    """A call's arguments: an object where they are one, else the model's text."""
    return _json(_read(arguments))


def _message(chat: Mapping[str, Any]) -> dict[str, Any]:
    if chat["role"] == "tool":
        response = {"type": "tool_call_response", "id": chat.get("tool_call_id"), "response": chat.get("content")}
        return {"role": "tool", "parts": [response]}
    calls = chat.get("tool_calls") or ()
    asked = [_call(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls]
    return {"role": chat["role"], "parts": [*_parts(chat.get("content")), *asked]}


def _parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, list):
        return [_part(part) for part in content]
    return [{"type": "text", "content": content}] if content else []


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(text := part.get("text"), str):
        return {"type": "text", "content": text}
    shown = {"type": part.get("type", "unknown")}
    if isinstance(image := part.get("image_url"), Mapping):
        url = str(image.get("url"))
        head, is_data, data = url.partition(";base64,")
        if is_data:
            return {**shown, "mime_type": head.removeprefix("data:"), "size_bytes": len(data) * 3 // 4}
        return {"type": "uri", "modality": "image", "uri": url}
    return shown


def _call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"type": "tool_call", "id": id, "name": name, "arguments": _read(arguments)}


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _json(value: Any) -> str:
    try:
        return clean_text(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except (ValueError, TypeError, RecursionError) as error:  # anybody's arguments: NaN, or nested too deep
        return json.dumps(f"not shown: {type(error).__name__}")
