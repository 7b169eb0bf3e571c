"""What an MCP tool answers, as a ToolResult: text for the model, the rest as files."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import mimetypes
import re
from typing import Any
from urllib.parse import urlsplit

import mcp_types as types

from narrator import Attachment
from tyler._raw_schema import clean_words
from tyler._tool_output import ToolResult, to_result

_MAX_BLOCKS = 1_000
_MAX_NAME_CHARS = 100


def to_tool_result(name: str, answer: types.CallToolResult) -> ToolResult:
    """One result: text as it is, images, sounds and embedded resources as files, JSON where there is no text."""
    items: list[Any] = [_item(block, number) for number, block in enumerate(answer.content[:_MAX_BLOCKS], start=1)]
    if len(answer.content) > _MAX_BLOCKS:
        items.append(f"[{len(answer.content) - _MAX_BLOCKS:,} more pieces were left out]")
    has_text = any(isinstance(block, types.TextContent) and block.text for block in answer.content)
    if not has_text and answer.structured_content is not None:
        items.insert(0, answer.structured_content)
    value: Any = items[0] if len(items) == 1 else items
    if items and all(isinstance(item, str) for item in items):
        value = "\n".join(items)
    return dataclasses.replace(to_result(name, value if items else None), failed=bool(answer.is_error))


def _item(block: types.ContentBlock, number: int) -> str | Attachment:
    match block:
        case types.TextContent():
            return block.text
        case types.ImageContent() | types.AudioContent():
            return _file(f"{block.type}-{number}", block.mime_type, block.data)
        case types.EmbeddedResource(resource=types.BlobResourceContents() as resource):
            return _file(_name_in(resource.uri, number), resource.mime_type, resource.blob)
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            name, kind = _name_in(resource.uri, number), _mime_type(resource.mime_type) or "text/plain"
            return Attachment(filename=_with_ending(name, kind), mime_type=kind, content=resource.text)
        case types.ResourceLink():
            return f"[resource {clean_words(block.name)}: {clean_words(block.uri)}]"
    return f"[a piece of an unknown kind, {type(block).__name__}, was left out]"


def _file(name: str, mime_type: str | None, data: str) -> str | Attachment:
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return f"[{name} was left out: it is no valid base64]"
    kind = _mime_type(mime_type)
    return Attachment(filename=_with_ending(name, kind), mime_type=kind, content=content)


def _mime_type(given: str | None) -> str:
    kind = (given or "").partition(";")[0].strip().lower()
    return kind if re.fullmatch(r"[\w.+-]{1,60}/[\w.+-]{1,60}", kind, re.ASCII) else ""


def _name_in(uri: str, number: int) -> str:
    try:
        path = urlsplit(uri).path
    except ValueError:
        path = ""
    name = re.sub(r"[^\w.-]+", "_", path.rstrip("/").rpartition("/")[2])[-_MAX_NAME_CHARS:].strip("._")
    return name or f"resource-{number}"


def _with_ending(name: str, mime_type: str) -> str:
    return name if "." in name else f"{name}{mimetypes.guess_extension(mime_type) or ''}"
