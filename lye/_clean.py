"""Text from outside, without what steers a terminal or hides from a reader."""

from __future__ import annotations

import re

# Controls but \n and \t; direction overrides; tags and other characters without a shape, which hide text from the
# people who approve it; and long runs of joiners and variation selectors, of which emoji need two at most.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
    "|[\u200b-\u200f\ufe00-\ufe0f]{3,}"
)


def clean(text: str) -> str:
    """The text without control characters but newline and tab, and without invisible ones that mislead."""
    return _UNSEEN.sub("", re.sub(r"\r\n?", "\n", text))
