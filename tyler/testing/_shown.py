"""Text of strangers in the messages of tests: short, and without what would steer a terminal."""

from __future__ import annotations


def shown(text: str, max_chars: int) -> str:
    """The text in one line of at most so many characters; control characters are escaped."""
    cut = text if len(text) <= max_chars else f"{text[: max_chars - 3]}..."
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)
