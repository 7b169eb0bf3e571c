"""Patterns of names: `*.py` fits at any depth, `src/**/*.py` from the folder down."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Self

from lye.errors import FileFailed

_MAX_PATTERN_CHARS = 300
_MAX_STARS = 10  # more could make one long name slow to compare


@dataclass(frozen=True)
class Glob:
    """A compiled pattern; None stands for `**`: any number of folders."""

    names: tuple[re.Pattern[str] | None, ...]

    @classmethod
    def of(cls, pattern: str) -> Self:
        """FileFailed for what is no pattern."""
        parts = [part for part in pattern.removeprefix("./").split("/") if part]
        if not parts or len(pattern) > _MAX_PATTERN_CHARS or pattern.count("*") > _MAX_STARS or ".." in parts:
            raise FileFailed(
                f"pattern={pattern[:100]!r} is no pattern of names; use one such as '*.py' or 'src/**/*.py',"
                f" at most {_MAX_PATTERN_CHARS} characters and {_MAX_STARS} stars"
            )
        if len(parts) == 1 and parts[0] != "**":
            parts.insert(0, "**")
        return cls(tuple(None if part == "**" else re.compile(translate(part)) for part in parts))

    def fits(self, names: Sequence[str]) -> bool:
        """Whether the names, from the folder down, fit."""
        reached = {0}
        for name in names:
            reached = self._past_stars(reached)
            reached = {
                place if self.names[place] is None else place + 1
                for place in reached
                if place < len(self.names) and self._takes(place, name)
            }
        return len(self.names) in self._past_stars(reached)

    def _takes(self, place: int, name: str) -> bool:
        regex = self.names[place]
        return regex is None or regex.match(name) is not None

    def _past_stars(self, places: set[int]) -> set[int]:
        """The places reached, and those behind a `**` that stands for no folder."""
        reached = set(places)
        for place, regex in enumerate(self.names):
            if place in reached and regex is None:
                reached.add(place + 1)
        return reached
