"""A text file, read whole and within bounds: a regular file, UTF-8, of a limited size, or a reason in words."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from narrator._values import clean_text

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Not blocking: opening a FIFO would wait for a writer that may never come.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class TextUnreadable(Exception):
    """Why the file's text cannot be had, in words that follow its name."""


def read_text(path: Path, max_bytes: int) -> str:
    """The file's text, without a byte order mark; links are followed. TextUnreadable with the reason."""
    try:
        return _text_of(os.open(path, _FILE), max_bytes)
    except OSError as error:
        raise TextUnreadable(f"cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise TextUnreadable(f"cannot be read: {error}") from error


def read_text_beneath(folder: Path, parts: Sequence[str], max_bytes: int) -> str:
    """The text of the file `parts` in `folder`, reached without following any link, so that none leads out of it.

    TextUnreadable with the reason; each part must be a plain name.
    """
    if not parts or any(part in ("", ".", "..") or set(part) & {"/", "\\", "\0"} for part in parts):
        raise TextUnreadable("is no path inside the folder")
    try:
        at = os.open(folder, _DIRECTORY | os.O_NOFOLLOW)
        try:
            for part in parts[:-1]:
                inner = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
                os.close(at)
                at = inner
            return _text_of(os.open(parts[-1], _FILE | os.O_NOFOLLOW, dir_fd=at), max_bytes)
        finally:
            os.close(at)
    except OSError as error:
        raise TextUnreadable(f"cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a lone surrogate in the name
        raise TextUnreadable("cannot be read: its name is no text") from error


def _text_of(fd: int, max_bytes: int) -> str:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise TextUnreadable("is no regular file")
    with os.fdopen(fd, "rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise TextUnreadable(f"has more than {max_bytes:,} bytes; make it shorter")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextUnreadable(f"is not UTF-8 text (byte {error.start + 1})") from error
    if clean_text(text) != text:
        raise TextUnreadable("is no text: there is a NUL in it")
    return text
