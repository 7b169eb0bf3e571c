"""Samples by who made them, taken in turn so that the machine's noise falls on all alike; medians at the end."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Awaitable
from time import perf_counter
from typing import Any

from benchmarks.harness.figure import LIMIT, OURS, Figure


class Samples:
    """What was measured for one row, by ours, the limit and others."""

    def __init__(self) -> None:
        self._taken: dict[str, list[float]] = defaultdict(list)

    def add(self, who: str, value: float) -> None:
        """One more sample."""
        self._taken[who].append(value)

    async def time(self, who: str, work: Awaitable[object], *, rounds: int = 1) -> None:
        """Add the milliseconds that the work takes, divided among its rounds."""
        started = perf_counter()
        await work
        self.add(who, (perf_counter() - started) * 1000 / rounds)

    def last(self, who: str) -> float:
        """The newest sample."""
        return self._taken[who][-1]

    def median(self, who: str) -> float:
        """Of the samples so far."""
        return statistics.median(self._taken[who])

    def longest(self, who: str) -> float:
        """The largest sample."""
        return max(self._taken[who])

    def figure(self, what: str, unit: str, **place: Any) -> Figure:
        """The row of the medians; `place` is the rest of Figure's fields."""
        values = {who: significant(self.median(who)) for who in self._taken}
        return Figure(what, unit, values, quartiles={who: _quartiles(v) for who, v in self._taken.items()}, **place)


def beside_the_limit(ours: float, limit: float) -> dict[str, float]:
    """The values of a row that has just these two."""
    return {OURS: significant(ours), LIMIT: significant(limit)}


def significant(value: float) -> float:
    """Three digits: more would be noise."""
    return float(f"{value:.3g}") if abs(value) < 1000 else float(round(value))


def _quartiles(values: list[float]) -> tuple[float, float]:
    if len(values) == 1:
        return significant(values[0]), significant(values[0])
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return significant(low), significant(high)
