"""Message <-> stored row. A plain text message needs no JSON at all."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from narrator._tracked import TrackedDict, TrackedItems, Watch, wrap
from narrator._values import to_json
from narrator.attachment import Attachment
from narrator.message import Message, ToolCall, Usage

_FIELDS = set(Message.model_fields)  # shared by all loaded messages: it holds every field, so nothing changes it

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
    watch = (edited, row.id)
    detail = json.loads(row.detail) if row.detail else _NO_DETAIL
    usage = detail.get("usage")
    message = Message.__new__(Message)
    values = {
        "id": row.id,
        "role": row.role,
        "content": wrap(detail["parts"], watch) if "parts" in detail else row.content,
        "name": detail.get("name"),
        "tool_calls": _items(
            [ToolCall.model_construct(id=i, name=n, arguments=a) for i, n, a in detail.get("tool_calls", ())],
            watch,
        ),
        "tool_call_id": detail.get("tool_call_id"),
        "attachments": _items([Attachment(**a) for a in detail.get("attachments", ())], watch),
        "metadata": wrap(detail["metadata"], watch) if "metadata" in detail else _empty(watch),
        "usage": None if usage is None else Usage(**usage),
        "created_at": row.created_at,
    }
    object.__setattr__(message, "__dict__", values)
    object.__setattr__(message, "__pydantic_fields_set__", _FIELDS)
    object.__setattr__(message, "__pydantic_extra__", None)
    object.__setattr__(message, "__pydantic_private__", None)
    object.__setattr__(message, "_watch", watch)
    return message


def _items(values: list[Any], watch: Watch) -> TrackedItems:
    items = TrackedItems(values)
    items._watch = watch
    return items


def _empty(watch: Watch) -> TrackedDict:
    empty = TrackedDict()
    empty._watch = watch
    return empty
