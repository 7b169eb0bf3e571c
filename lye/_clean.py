"""Text from outside, without what steers a terminal or hides from a reader."""

from __future__ import annotations

import re

# Controls but \n and \t; direction overrides and tag characters, which hide text from the people who approve it.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\U000e0000-\U000e007f]")


def clean(text: str) -> str:
    """The text without control characters but newline and tab, and without invisible ones that mislead."""
    return _UNSEEN.sub("", re.sub(r"\r\n?", "\n", text))
