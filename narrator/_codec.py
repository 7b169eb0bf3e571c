"""Message <-> stored row. A plain text message needs no JSON at all."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from narrator._tracked import TrackedDict, TrackedItems, wrap
from narrator._values import to_json
from narrator.attachment import Attachment
from narrator.message import Message, ToolCall, Usage

M = TypeVar("M", bound=BaseModel)

_FIELDS = set(Message.model_fields)  # shared by all loaded messages: it holds every field, so nothing changes it
_CALL_FIELDS = set(ToolCall.model_fields)

PARTS = '{"parts":'  # how the detail of a message begins whose content is a list
_NO_DETAIL: dict[str, Any] = {}


class StoredMessage(NamedTuple):
    """One row of a thread. `detail` is the JSON of every field that is not at its default."""

    position: int
    id: str
    role: str
    content: str | None
    detail: str | None
    created_at: datetime
    revision: int


def encode(message: Message, position: int = 0, revision: int = 0) -> StoredMessage:
    """The row of a message."""
    detail: dict[str, Any] = {}
    content = message.content
    if isinstance(content, list):
        detail["parts"], content = content, None
    if message.name is not None:
        detail["name"] = message.name
    if message.tool_calls:
        detail["tool_calls"] = [[call.id, call.name, call.arguments] for call in message.tool_calls]
    if message.tool_call_id is not None:
        detail["tool_call_id"] = message.tool_call_id
    if message.attachments:
        detail["attachments"] = [attachment.model_dump() for attachment in message.attachments]
    if message.metadata:
        detail["metadata"] = message.metadata
    if message.usage is not None:
        detail["usage"] = message.usage.model_dump(exclude_defaults=True)
    return StoredMessage(
        position,
        message.id,
        message.role,
        content,
        to_json(detail) if detail else None,
        message.created_at,
        revision,
    )


def decode(row: StoredMessage, edited: set[str]) -> Message:
    """The message of a row, its edits noted in `edited`.

    Built without validation, which the values passed on their way in: a thread of 10,000 opens 3 times faster.
    """
    _, id, role, content, detail, created_at, _ = row
    watch = (edited, id)
    parts, rest = content, _NO_DETAIL
    tool_calls, attachments, metadata = TrackedItems(), TrackedItems(), TrackedDict()
    if detail is not None:  # most messages have none, and a thread can have 10,000
        rest = json.loads(detail)
        parts = wrap(rest["parts"], watch) if "parts" in rest else content
        if "tool_calls" in rest:
            tool_calls = TrackedItems([_tool_call(*call) for call in rest["tool_calls"]])
        if "attachments" in rest:
            attachments = TrackedItems([Attachment(**one) for one in rest["attachments"]])
        if "metadata" in rest:
            metadata = wrap(rest["metadata"], watch)
    tool_calls._watch = attachments._watch = metadata._watch = watch
    usage = rest.get("usage")
    values = {
        "id": id,
        "role": role,
        "content": parts,
        "name": rest.get("name"),
        "tool_calls": tool_calls,
        "tool_call_id": rest.get("tool_call_id"),
        "attachments": attachments,
        "metadata": metadata,
        "usage": None if usage is None else Usage(**usage),
        "created_at": created_at,
    }
    message = _built(Message, values, _FIELDS)
    object.__setattr__(message, "_watch", watch)
    return message


def _tool_call(id: str, name: str, arguments: str) -> ToolCall:
    return _built(ToolCall, {"id": id, "name": name, "arguments": arguments}, _CALL_FIELDS)


def _built(kind: type[M], values: dict[str, Any], fields: set[str]) -> M:
    """A model as pydantic's `model_construct` makes it, which takes three times as long to look up defaults."""
    model = kind.__new__(kind)
    object.__setattr__(model, "__dict__", values)
    object.__setattr__(model, "__pydantic_fields_set__", fields)
    object.__setattr__(model, "__pydantic_extra__", None)
    object.__setattr__(model, "__pydantic_private__", None)
    return model
