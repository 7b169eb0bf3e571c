"""The one boundary for values: what every backend takes, refuses and returns alike (promise P10).

Text is repaired (NUL and lone surrogates become U+FFFD); ids, names and keys are refused instead;
metadata must be JSON, and a value that is not is named by its path.
"""

from __future__ import annotations

import json
import math
import unicodedata
from datetime import UTC, datetime
from typing import Any

MAX_ID_CHARS = 255
MAX_JSON_DEPTH = 64
_MAX_INT_DIGITS = 4000  # under Python's own limit for int <-> str, so that the JSON codec never refuses it


def clean_text(text: str) -> str:
    """The text with NUL and lone surrogates replaced by U+FFFD; other text is returned as it is."""
    if "\x00" in text:
        text = text.replace("\x00", "�")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def check_id(value: str, what: str) -> str:
    """The id, or ValueError: 1 to 255 characters, none of them a control character or lone surrogate."""
    if not value:
        raise ValueError(f"{what} is empty; give it 1 to {MAX_ID_CHARS} characters")
    if len(value) > MAX_ID_CHARS:
        raise ValueError(f"{what} {value[:40]!r}... has {len(value)} characters; at most {MAX_ID_CHARS} are allowed")
    if bad := next((c for c in value if unicodedata.category(c) in ("Cc", "Cs")), None):
        raise ValueError(f"{what} {value!r} contains {bad!r}; control characters and surrogates are not allowed")
    return value


def clean_name(value: str, what: str) -> str:
    """A label for people (a filename): repaired text, 1 to 255 characters, never used as a path."""
    if not value:
        raise ValueError(f"{what} is empty")
    if len(value) > MAX_ID_CHARS:
        raise ValueError(f"{what} {value[:40]!r}... has {len(value)} characters; at most {MAX_ID_CHARS}")
    return clean_text(value)


def utc(value: datetime) -> datetime:
    """The same instant in UTC; a naive datetime is taken as UTC."""
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC, fold=0)
    try:
        return value.astimezone(UTC).replace(fold=0)
    except OverflowError:
        raise ValueError(f"{value.isoformat()} is outside the years 1 to 9999 in UTC") from None


def utc_now() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)


def to_json(value: Any) -> str:
    """Compact JSON text; keys keep their order."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def check_number(value: int | float, path: str) -> int | float:
    """The number as a plain int or float, or ValueError for NaN, infinities and ints over 4,000 digits."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{path} is {value!r}, which JSON does not have; use null or a string")
        return float(value)
    if value.bit_length() > _MAX_INT_DIGITS * 3:
        raise ValueError(f"{path} is an integer of more than {_MAX_INT_DIGITS} digits; store it as a string")
    return int(value)
