"""Where a new message stands: integers with wide gaps, so that an insert anywhere writes one row (P2)."""

from __future__ import annotations

GAP = 1 << 32  # between neighbours at the end of a thread: 2 ** 31 appends fit a 64-bit column
STRIDE = 1 << 16  # between neighbours put in between others, so that thousands follow one another


def after_tail(tail: int, count: int) -> list[int]:
    """Positions for `count` messages behind the last one."""
    return [tail + GAP * (i + 1) for i in range(count)]


def between(before: int, behind: int, count: int) -> list[int] | None:
    """Positions for `count` messages in a gap, close behind the first neighbour; None if it is too narrow."""
    stride = min(STRIDE, (behind - before) // (count + 1))
    return [before + stride * (i + 1) for i in range(count)] if stride else None
