"""Whatever a tool returns, as one bounded text and the files that go with it.

Nothing a tool returns can break the conversation: text is repaired and capped here, unknown objects
are shown by their str(), and what cannot be shown is said in words.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json, to_jsonable_python

from narrator._values import clean_text
from narrator.attachment import Attachment
from narrator.message import Usage
from tyler._daemon_thread import in_daemon_thread

MAX_OUTPUT_CHARS = 100_000
MAX_FILE_BYTES = 50_000_000
MAX_STREAM_ITEMS = 10_000
MAX_STREAM_CHARS = 1_000_000
_EMPTY = "(no output)"


@dataclass(frozen=True)
class ToolResult:
    """What the model reads about a call (`content`), the files that go with it, and whether it failed.

    `usage`: what models took that the tool asked; it counts as the run's. `error_type`: the name of the exception that
    made it fail, for logs and traces.
    """

    content: str
    attachments: list[Attachment] = field(default_factory=list)
    failed: bool = False
    usage: Usage | None = None
    error_type: str | None = field(default=None, compare=False)


def to_result(tool_name: str, value: Any) -> ToolResult:
    """One well-formed result for any value; a generator must have been through `drain` first.

    Text stays as it is; None and "" become "(no output)"; bytes become text if they are UTF-8, else a
    file; attachments, alone or in a list, tuple or dict, are kept as files and named in the text;
    everything else becomes JSON. A file over 50 MB is not kept, and the result says so and is failed.
    """
    if isinstance(value, ToolResult):
        given = value
        text, files = _as_text(value.content), list(value.attachments)
    else:
        given = ToolResult("")
        text, files = _text_and_files(tool_name, value)
    failed = given.failed
    kept = [file for file in files if file.size_bytes <= MAX_FILE_BYTES]
    if len(kept) < len(files):
        failed, text = True, f"{text}\n(files over {MAX_FILE_BYTES:,} bytes were not kept)"
    return ToolResult(cap_output(clean_text(text)) or _EMPTY, kept, failed, given.usage, given.error_type)


def cap_output(text: str, max_chars: int = MAX_OUTPUT_CHARS) -> str:
    """The text, or its head and tail around a line that says how many characters were left out.

    The same text always gives the same result, so that a request's prefix stays the same (prompt caches).
    """
    if len(text) <= max_chars:
        return text
    marker = f"\n[... {len(text) - max_chars:,} characters left out ...]\n"
    half = max(max_chars - len(marker) - 16, 0) // 2
    marker = f"\n[... {len(text) - 2 * half:,} characters left out ...]\n"
    return text[:half] + marker + text[len(text) - half :]


async def drain(value: Any) -> Any:
    """The items of an iterator, sync (in a thread) or async, as one text or list; other values unchanged.

    Stops after 10,000 items or 1,000,000 characters, says so in the last item, and closes a generator.
    """
    if isinstance(value, AsyncIterator):
        return await _drain_async(value)
    return await in_daemon_thread(lambda: _drain_sync(value)) if isinstance(value, Iterator) else value


def _drain_sync(stream: Iterator[Any]) -> Any:
    items = _Items()
    try:
        for item in stream:
            if items.is_full_after(item):
                break
    finally:
        if isinstance(stream, Generator):
            stream.close()
    return items.joined()


async def _drain_async(stream: AsyncIterator[Any]) -> Any:
    items = _Items()
    try:
        async for item in stream:
            if items.is_full_after(item):
                break
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
    return items.joined()


class _Items:
    """The items of one stream, within bounds."""

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._chars = 0
        self._full = False

    def is_full_after(self, item: Any) -> bool:
        self._items.append(item)
        self._chars += len(item) if isinstance(item, str | bytes) else 0
        self._full = len(self._items) >= MAX_STREAM_ITEMS or self._chars >= MAX_STREAM_CHARS
        return self._full

    def joined(self) -> Any:
        note = [f"[stopped after {len(self._items):,} items]"] if self._full else []
        if all(isinstance(item, str) for item in self._items):
            return "\n".join(["".join(self._items), *note])
        return self._items + note


def _text_and_files(tool_name: str, value: Any) -> tuple[str, list[Attachment]]:
    if isinstance(value, dict):
        files = [item for item in value.values() if isinstance(item, Attachment)]
        return "\n".join([_as_text(value), *map(_name_file, files)]), files
    items = value if isinstance(value, list | tuple) else [value]
    items = [_bytes_to_text_or_file(tool_name, item) for item in items]
    files = [item for item in items if isinstance(item, Attachment)]
    if files:
        lines = [_name_file(item) if isinstance(item, Attachment) else _as_text(item) for item in items]
        return "\n".join(lines), files
    return _as_text(items if isinstance(value, list | tuple) else items[0]), []


def _bytes_to_text_or_file(tool_name: str, value: Any) -> Any:
    if not isinstance(value, bytes | bytearray | memoryview):
        return value
    content = bytes(value)
    try:
        if b"\x00" not in content:
            return content.decode()
    except UnicodeDecodeError:
        pass
    return Attachment(filename=f"{tool_name}.bin", content=content)


def _name_file(file: Attachment) -> str:
    return f"[file: {file.filename}, {file.mime_type}, {file.size_bytes:,} bytes]"


def _as_text(value: Any) -> str:
    """JSON, but a value that is one JSON string (a date, an unknown object's str) without its quotes."""
    if value is None:
        return _EMPTY
    if isinstance(value, str):
        return str.__str__(value)  # a subclass (a string enum, say) may print itself otherwise, or fail to
    try:
        text = to_json(value, inf_nan_mode="strings", serialize_unknown=True).decode()
        return str(json.loads(text)) if text.startswith('"') else text
    except (ValueError, RecursionError):
        return _as_lenient_json(value)


def _as_lenient_json(value: Any) -> str:
    """For what `to_json` refuses: lone surrogates, bytes that are no text (base64 then), cycles (words)."""
    try:
        plain = to_jsonable_python(value, bytes_mode="base64", serialize_unknown=True)
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        return f"(not all of this can be shown: {error})\n{reprlib.repr(value)}"
