"""JSON in which an object has a name twice: readers disagree on which of the two counts."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any


def repeated_key(text: str) -> str | None:
    """A name that some object of the JSON text has twice; None too for what is no JSON."""
    found: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        found.extend(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)

    try:
        json.loads(text, object_pairs_hook=look)
    except (ValueError, RecursionError):
        return None
    return found[0] if found else None
