"""A figure: one row of results, what is allowed for it, and its JSON.

Everything that reaches the page goes through here; a peer prints the same JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

OURS, LIMIT, LITELLM = "ours", "limit", "litellm"
Verdict = Literal["met", "met, scaled", "missed"]


@dataclass(frozen=True)
class Budget:
    """What the design allows. `limit_then`: the limit on the machine that the budget was written on.

    A machine whose own limit is higher gets as much more: the promise is a ratio, whatever the machine.
    """

    bound: float
    kind: Literal["at most", "at least"] = "at most"
    limit_then: float | None = None

    def verdict(self, values: Mapping[str, float]) -> Verdict:
        """How `values[OURS]` stands to the bound; "met, scaled" where only the slower machine allows it."""
        if self._holds(values[OURS], self.bound):
            return "met"
        limit = values.get(LIMIT)
        if self.limit_then is None or limit is None:
            return "missed"
        slower = limit / self.limit_then if self.kind == "at most" else min(1.0, limit / self.limit_then)
        return "met, scaled" if self._holds(values[OURS], self.bound * slower) else "missed"

    def _holds(self, value: float, bound: float) -> bool:
        return value <= bound if self.kind == "at most" else value >= bound


@dataclass(frozen=True)
class Figure:
    """One row: `what` was measured, in `unit`, by whom. `values`: OURS, LIMIT, LITELLM and peers by their names.

    `quartiles` say how much the samples behind a median differ. `series` and `x` are its place in the case's plot;
    a figure without `x` is in none. `reads`: by which indexes the database finds it.
    """

    what: str
    unit: str
    values: dict[str, float]
    budget: Budget | None = None
    quartiles: dict[str, tuple[float, float]] = field(default_factory=dict)
    series: str = ""
    x: float | str | None = None
    reads: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """Whether the budget is met; None without one."""
        return self.budget.verdict(self.values) if self.budget and OURS in self.values else None

    def ratio(self, who: str) -> float | None:
        """Ours divided by theirs; None where one of the two was not measured or is 0."""
        ours, theirs = self.values.get(OURS), self.values.get(who)
        return ours / theirs if ours is not None and theirs else None

    def as_json(self) -> dict[str, Any]:
        """For the results file, the verdict with it."""
        return {**asdict(self), "verdict": self.verdict}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The figure that `as_json` wrote."""
        fields = {name: value for name, value in data.items() if name != "verdict"}
        if fields.get("budget"):
            fields["budget"] = Budget(**fields["budget"])
        fields["quartiles"] = {who: (low, high) for who, (low, high) in fields.get("quartiles", {}).items()}
        return cls(**fields)


def with_peer(figures: list[Figure], name: str, theirs: list[Figure]) -> list[Figure]:
    """Our figures with a peer's values beside them, matched by `what`; ValueError for a row that we don't have."""
    by_what = {figure.what: figure for figure in theirs}
    if unknown := by_what.keys() - {figure.what for figure in figures}:
        raise ValueError(f"peer {name!r} measured {sorted(unknown)!r}, which is no row of ours: use the same words")
    return [_beside(figure, name, by_what.get(figure.what)) for figure in figures]


def _beside(figure: Figure, name: str, theirs: Figure | None) -> Figure:
    if theirs is None:
        return figure
    values = {**figure.values, name: theirs.values[OURS]}
    return replace(figure, values=values)
