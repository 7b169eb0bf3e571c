"""Which screen: rich's where stdout is a terminal that can move its cursor, else plain text."""

from __future__ import annotations

import os
import sys

from tyler._chat.plain_screen import PlainScreen
from tyler._chat.screen import Screen


def make_screen() -> Screen:
    """The screen for this process's stdout."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "").lower() in ("", "dumb", "unknown"):
        return PlainScreen(sys.stdout, sys.stderr)
    from tyler._chat.rich_screen import RichScreen

    return RichScreen()
