"""The generated part of docs/performance.md: pure functions of the results."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.harness.figure import LIMIT, LITELLM, OURS, Figure
from benchmarks.harness.results import Measured, Results

BEGIN = "<!-- figures: written by the benchmarks, do not edit -->"
END = "<!-- figures: end -->"
NAMES = {OURS: "ours", LIMIT: "limit", LITELLM: "litellm alone"}


def replaced(page: str, part: str) -> str:
    """The page with its generated part replaced; ValueError where it has no place for one."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for figures: put {BEGIN!r} and {END!r} into it")
    return f"{before}{BEGIN}\n\n{part}\n{END}{after}"


def generated(results: Results, plots: str | None = None) -> str:
    """All tables; `plots`: the folder of the plots, as the page refers to it."""
    parts = [_about(results), _budgets(results)]
    for measured in results.measured:
        parts.append(f"### {measured.title}\n")
        parts.append(table(measured.figures))
        if plots and measured.plot:
            parts.append(f"![{measured.title}]({plots}/{measured.name}.svg)\n")
        parts.append(f"{measured.note} ({measured.seconds:.0f} s)\n")
    return "\n".join(parts)


def table(figures: Sequence[Figure]) -> str:
    """One case's rows; a column that no row has a value for is left out."""
    peers = list(dict.fromkeys(who for figure in figures for who in figure.values if who not in NAMES))
    columns = {"": [figure.what for figure in figures], "unit": [figure.unit for figure in figures]}
    for who in (*NAMES, *peers):
        columns[NAMES.get(who, who)] = [number(figure.values.get(who)) for figure in figures]
    for who in (LIMIT, LITELLM, *peers):
        columns[f"ours / {NAMES.get(who, who)}"] = [number(figure.ratio(who)) for figure in figures]
    columns["budget"] = [budget(figure) for figure in figures]
    columns["reads"] = [figure.reads for figure in figures]
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    rows = [[cells[n] for cells in shown.values()] for n in range(len(figures))]
    aligned = ("---|" if name in ("", "unit", "reads") else "--:|" for name in shown)
    lines = [f"| {' | '.join(shown)} |", "|" + "".join(aligned)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def budget(figure: Figure) -> str:
    """What is allowed, and whether it is met."""
    if figure.budget is None:
        return ""
    then = figure.budget.limit_then
    beside = f" where the limit is {number(then)}" if then is not None else ""
    verdict = f": {figure.verdict}" if figure.verdict else ""
    return f"{figure.budget.kind} {number(figure.budget.bound)}{beside}{verdict}"


def number(value: float | None) -> str:
    """Three digits, thousands apart; nothing for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _about(results: Results) -> str:
    return "One run: " + ", ".join(f"{name} {value}" for name, value in results.about.items()) + ".\n"


def _budgets(results: Results) -> str:
    judged = [(one, figure) for one in results.measured for figure in one.figures if figure.verdict]
    missed = [f"- {one.title}: {figure.what}" for one, figure in judged if figure.verdict == "missed"]
    scaled = sum(figure.verdict == "met, scaled" for _, figure in judged)
    line = f"Budgets: {len(judged) - len(missed)} of {len(judged)} are met"
    line += f", {scaled} of these only as the limit of this machine scales them." if scaled else "."
    return "\n".join([line, *(["", "Missed:", "", *missed] if missed else []), ""])


def seconds_of(measured: Sequence[Measured]) -> float:
    """How long they took in all."""
    return sum(one.seconds for one in measured)
