"""How long a provider asks to wait, out of its headers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds, of `retry-after-ms` (OpenAI's) or Retry-After in either form (RFC 9110, 10.2.3).

    None where there is none, or it is no time to wait: a negative number, NaN, infinity, a date that is past
    (here, or on a clock that is behind), another text.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    asked = headers.get("retry-after")
    seconds = _number(asked)
    return _until(asked) if seconds is None else seconds


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _until(date: str | None) -> float | None:
    """Seconds until an HTTP date that is to come."""
    try:
        when = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    if when.tzinfo is None:  # "-0000": UTC
        when = when.replace(tzinfo=UTC)
    seconds = (when - datetime.now(UTC)).total_seconds()
    return seconds if seconds > 0 else None
