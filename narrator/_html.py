"""A table for notebooks. Everything in it is escaped and shortened: messages come from models and strangers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from narrator.message import Message

MOST_CELL_CHARS = 2_000
MOST_MESSAGES = 200
# Notebooks set $...$ in HTML as formulas, and a formula can be a link that runs code: these classes say no.
_NO_FORMULAS = "class='tex2jax_ignore mathjax_ignore'"


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The rows as an HTML table; values are shown as text."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    lines = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f"<table {_NO_FORMULAS}><caption>{_text(caption)}</caption><tr>{head}</tr>{lines}</table>"


def message_rows(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Role and text of each message, the last ones of a long thread; tool calls with arguments, files by name."""
    left_out = max(len(messages) - MOST_MESSAGES, 0)
    before = [("…", f"{left_out:,} earlier messages")] if left_out else []
    return before + [_message_row(message) for message in messages[left_out:]]


def _message_row(message: Message) -> tuple[str, str]:
    called = [f"[calls {call.name}({call.arguments[:MOST_CELL_CHARS]})]" for call in message.tool_calls]
    attached = [f"[file {attachment.filename}, {attachment.size_bytes:,} bytes]" for attachment in message.attachments]
    return message.role, " ".join([message.text, *called, *attached]).strip()


def _cell(value: object) -> str:
    return f"<td style='text-align:left'>{_text(value)}</td>"


def _text(value: object) -> str:
    text = str(value)
    more = f"… ({len(text):,} characters)" if len(text) > MOST_CELL_CHARS else ""
    return escape(text[:MOST_CELL_CHARS]) + more
