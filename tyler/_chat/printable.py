"""Strangers' text made safe for a terminal: nothing in it can steer the terminal or change the order of what is read.

Two forms: `printable` for text to read, where such characters are left out, and `escaped` for one line in which
each of them can be seen.
"""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"  # Persian and Indian scripts and emoji need them, and they move nothing
_TAGS = range(0xE0000, 0xF0000)  # unseen characters that spell text for models


def printable(text: str) -> str:
    """The text without control and formatting characters (escape sequences, bidi overrides); lines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_LINE_ENDS.get(char, char) for char in text if char in "\n\t" or char in _LINE_ENDS or _safe(char))


def escaped(text: str) -> str:
    """The whole text in one line: a character that could not be seen as itself is written as its escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char.isprintable() and ord(char) not in _TAGS else _escape(char) for char in text)


def shortened(text: str, most_chars: int) -> str:
    """The first characters of the text in one line, its spaces made single, an ellipsis for the rest."""
    head = text[: 4 * most_chars]  # before all else: the text may be megabytes
    line = escaped(" ".join(head.split()))
    return line if len(line) <= most_chars and len(head) == len(text) else line[: most_chars - 1] + "…"


_LINE_ENDS = {"\u2028": "\n", "\u2029": "\n"}
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _safe(char: str) -> bool:
    if char.isprintable() or char in _JOINERS:
        return True
    kind = unicodedata.category(char)
    # Spaces of other widths, and emoji that are newer than this Python or from a font's private range.
    return kind == "Zs" or (kind in ("Cn", "Co") and ord(char) not in _TAGS)


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    number = ord(char)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
