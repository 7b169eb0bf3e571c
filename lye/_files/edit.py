"""One exact replacement in a file's raw text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from lye._files.path import FilePath
from lye.errors import FileFailed

_MAX_OLD_CHARS = 20_000  # comparing more at each of many near matches would take minutes
_MAX_COUNTED = 1_000
_LINES_NAMED = 20


@dataclass(frozen=True)
class Edited:
    """The new text, and the line where it differs."""

    text: str
    line: int


def edit_text(text: str, old: str, new: str, path: FilePath) -> Edited:
    r"""`text` with its one `old` replaced; FileFailed when `old` is absent, not unique, or equal to `new`.

    Line ends stay as they are: where a file ends its lines with \r\n, so do `old` and `new`.
    """
    if not old or len(old) > _MAX_OLD_CHARS:
        raise FileFailed(f"old has {len(old):,} characters; pass 1 to {_MAX_OLD_CHARS:,} of the file's text")
    if old == new:
        raise FileFailed(f"old and new are the same, {old[:100]!r}; nothing was changed")
    old, new = _line_ends(text, old, new)
    starts = list(itertools.islice(_places(text, old), _MAX_COUNTED + 1))
    if not starts:
        raise FileFailed(
            f"old={old[:100]!r} is not in {path.shown!r}; read the file and copy the text exactly, with its spaces"
        )
    if len(starts) > 1:
        raise FileFailed(
            f"old={old[:100]!r} is in {path.shown!r} {_count(starts)} times, at lines {_lines(text, starts)};"
            " pass more of the text around the one to change"
        )
    (start,) = starts
    return Edited(text[:start] + new + text[start + len(old) :], text.count("\n", 0, start) + 1)


def _line_ends(text: str, old: str, new: str) -> tuple[str, str]:
    if "\r\n" not in text:
        return old, new
    is_mixed = text.count("\n") != text.count("\r\n")
    if is_mixed and old in text:
        return old, new
    return _with_crlf(old), _with_crlf(new)


def _with_crlf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\n", "\r\n")


def _places(text: str, old: str) -> Iterator[int]:
    """Where `old` begins; places that overlap are different ones."""
    start = text.find(old)
    while start >= 0:
        yield start
        start = text.find(old, start + 1)


def _count(starts: list[int]) -> str:
    return f"over {_MAX_COUNTED:,}" if len(starts) > _MAX_COUNTED else str(len(starts))


def _lines(text: str, starts: list[int]) -> str:
    numbers = dict.fromkeys(text.count("\n", 0, start) + 1 for start in starts[:_LINES_NAMED])
    return ", ".join(map(str, numbers)) + (", ..." if len(starts) > _LINES_NAMED else "")
