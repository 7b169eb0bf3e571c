"""A path as the model wrote it, split into names beneath the opened folder; names as they may be shown.

Only text is looked at here; what the names lead to on the disk is `root.py`'s.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from lye.errors import PathRefused

_MAX_PATH_CHARS = 4_096
_MAX_NAMES = 100  # a write holds a descriptor for each folder on the way
_JOINERS = "\u200c\u200d"  # part of ordinary words in Persian and of emoji; the other format characters only hide
_UNSEEN_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")


@dataclass(frozen=True)
class FilePath:
    """The names from the opened folder down; none for the folder itself."""

    parts: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join(self.parts) or "."

    def __truediv__(self, name: str) -> FilePath:
        return FilePath((*self.parts, name))

    @property
    def shown(self) -> str:
        """Text that is safe in a listing: a name with control characters is escaped."""
        return "/".join(map(shown_name, self.parts)) or "."


def parse_path(text: str, root_places: Iterable[str]) -> FilePath:
    """The names of `text`; PathRefused where it could lead out, or is no plain text.

    `root_places` are the absolute paths of the opened folder: an absolute path below one of them is taken.
    """
    if len(text) > _MAX_PATH_CHARS:
        raise PathRefused(f"the path {text[:60]!r}... has {len(text):,} characters; the limit is {_MAX_PATH_CHARS:,}")
    if not is_plain(text):
        raise PathRefused(f"{text!r} has control or invisible characters; use a path without them")
    if not text.strip():
        raise PathRefused(f"{text!r} is no path; use one such as 'notes.txt', or '.' for the opened folder")
    relative = _relative(text, root_places) if text.startswith("/") else text
    parts = tuple(part for part in relative.split("/") if part not in ("", "."))
    if len(parts) > _MAX_NAMES:
        raise PathRefused(f"the path {text[:60]!r}... has {len(parts):,} names; the limit is {_MAX_NAMES}")
    if ".." in parts:
        raise PathRefused(f"{text!r} has '..' in it; write the path from the opened folder down, without '..'")
    return FilePath(parts)


def is_plain(name: str) -> bool:
    """Whether a name can be shown and asked for as it is: no control, direction or other unseen characters."""
    if name.isascii():
        return name.isprintable()
    return not any(char not in _JOINERS and unicodedata.category(char) in _UNSEEN_CATEGORIES for char in name)


def shown_name(name: str) -> str:
    """The name, or an escaped form of it in quotes that no path stands for."""
    return name if is_plain(name) else ascii(name)


def _relative(text: str, root_places: Iterable[str]) -> str:
    for place in root_places:
        if text == place or text.startswith(place.rstrip("/") + "/"):
            return text[len(place.rstrip("/")) :] or "."
    raise PathRefused(f"{text!r} is outside of the opened folder; write the path from that folder down: 'notes.txt'")


def absolute(place: str | os.PathLike[str]) -> str:
    """The absolute path, links not followed."""
    return os.path.abspath(os.fspath(place))
