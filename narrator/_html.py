"""A table for notebooks. Everything in it is escaped: messages come from models and strangers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from narrator.message import Message


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The rows as an HTML table; values are shown as text."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    lines = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{lines}</table>"


def message_row(message: Message) -> tuple[str, str]:
    """Role and text of a message; tool calls and files by name."""
    called = [f"[calls {call.name}]" for call in message.tool_calls]
    attached = [f"[file {attachment.filename}]" for attachment in message.attachments]
    return message.role, " ".join([message.text, *called, *attached]).strip()


def _cell(value: object) -> str:
    return f"<td style='text-align:left'>{escape(str(value))}</td>"
