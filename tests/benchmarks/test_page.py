"""The page and the plots are pure functions of the results; budgets are judged as ratios."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.harness import page, plots
from benchmarks.harness.figure import Budget, Figure, with_peer
from benchmarks.harness.results import ROOT, Results

FIGURES = [
    {
        "what": "SQLite, 10 messages: time",
        "unit": "ms",
        "values": {"ours": 1234.5, "limit": 2.0, "litellm": 600.0, "otherwise": 2469.0},
        "budget": {"bound": 1000.0, "kind": "at most", "limit_then": 1.0},
        "quartiles": {"ours": [1200.0, 1300.0]},
        "series": "SQLite",
        "x": 10,
    },
    {
        "what": "SQLite, 100 messages: time",
        "unit": "ms",
        "values": {"ours": 12.0, "limit": 3.0},
        "budget": {"bound": 11.0, "kind": "at most", "limit_then": None},
        "quartiles": {},
        "series": "SQLite",
        "x": 100,
    },
    {"what": "SQLite: errors", "unit": "errors", "values": {"ours": 0}, "budget": {"bound": 0, "kind": "at most"}},
]
RESULTS = {
    "about": {"date": "2026-01-02", "cores": "2"},
    "cases": [
        {
            "name": "turns",
            "title": "Turns",
            "note": "A note.",
            "plot": {"x_label": "messages", "y_label": "ms", "kind": "lines", "log_x": True, "log_y": True},
            "figures": FIGURES,
            "seconds": 12.3,
        }
    ],
}
PAGE = """One run: date 2026-01-02, cores 2.

Budgets: 2 of 3 are met, 1 of these only as the limit of this machine scales them.

Missed:

- Turns: SQLite, 100 messages: time

### Turns

|  | unit | ours | limit | litellm alone | otherwise | ours / limit | ours / litellm alone | ours / otherwise | budget |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|
| SQLite, 10 messages: time | ms | 1,234 | 2 | 600 | 2,469 | 617 | 2.06 | 0.5 | at most 1,000 where the limit is 1: met, scaled |
| SQLite, 100 messages: time | ms | 12 | 3 |  |  | 4 |  |  | at most 11: missed |
| SQLite: errors | errors | 0 |  |  |  |  |  |  | at most 0: met |

![Turns](performance/turns.svg)

A note. (12 s)
"""  # noqa: E501


@pytest.fixture
def results() -> Results:
    return Results.from_json(RESULTS)


def test_the_page_is_made_from_the_results(results: Results) -> None:
    assert page.generated(results, "performance") == PAGE


def test_results_survive_json(results: Results) -> None:
    assert Results.from_json(json.loads(json.dumps(results.as_json()))) == results


def test_only_the_generated_part_of_the_page_is_replaced() -> None:
    before = f"written by hand\n\n{page.BEGIN}\nold\n{page.END}\n\nand below\n"
    once = page.replaced(before, "new\n")
    assert once == f"written by hand\n\n{page.BEGIN}\n\nnew\n\n{page.END}\n\nand below\n"
    assert page.replaced(once, "new\n") == once
    with pytest.raises(ValueError, match="has no place for figures"):
        page.replaced("written by hand\n", "new\n")


@pytest.mark.parametrize("name", ["performance.md", "scaling.md"])
def test_the_documentation_has_a_place_for_the_figures(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page.replaced(text, "new").count("new") >= 1


@pytest.mark.parametrize("kind", ["lines", "bars"])
def test_plots_are_drawn_the_same_each_time(kind: str, results: Results, tmp_path: Path) -> None:
    plot = results.measured[0].plot
    assert plot is not None
    object.__setattr__(plot, "kind", kind)
    first, again = plots.draw(results, tmp_path / "a"), plots.draw(results, tmp_path / "b")
    assert [file.name for file in first] == ["turns.svg", "turns.png"]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in again]
    svg = first[0].read_text(encoding="utf-8")
    assert "Turns" in svg
    assert "litellm alone" in svg
    assert first[1].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("budget", "values", "verdict"),
    [
        (Budget(10), {"ours": 10}, "met"),
        (Budget(10), {"ours": 10.1}, "missed"),
        (Budget(10), {"ours": 10.1, "limit": 99}, "missed"),  # written beside no limit: nothing to scale by
        (Budget(10, limit_then=1), {"ours": 19, "limit": 2}, "met, scaled"),
        (Budget(10, limit_then=1), {"ours": 21, "limit": 2}, "missed"),
        (Budget(10, limit_then=1), {"ours": 9, "limit": 0.5}, "met"),  # a quicker machine is asked for no more
        (Budget(10, limit_then=1), {"ours": 10.1, "limit": 0.5}, "missed"),
        (Budget(100, "at least"), {"ours": 100}, "met"),
        (Budget(100, "at least"), {"ours": 99}, "missed"),
        (Budget(100, "at least", limit_then=500), {"ours": 51, "limit": 250}, "met, scaled"),
        (Budget(100, "at least", limit_then=500), {"ours": 49, "limit": 250}, "missed"),
        (Budget(100, "at least", limit_then=500), {"ours": 101, "limit": 900}, "met"),
    ],
)
def test_a_budget_is_judged_and_scaled_by_the_limit(budget: Budget, values: dict[str, float], verdict: str) -> None:
    assert budget.verdict(values) == verdict


def test_a_peers_values_stand_beside_ours() -> None:
    ours = [Figure("a", "ms", {"ours": 2.0}), Figure("b", "ms", {"ours": 3.0})]
    beside = with_peer(ours, "peer", [Figure("b", "ms", {"ours": 6.0})])
    assert [figure.values for figure in beside] == [{"ours": 2.0}, {"ours": 3.0, "peer": 6.0}]
    assert beside[1].ratio("peer") == 0.5
    with pytest.raises(ValueError, match="peer 'peer' measured \\['c'\\], which is no row of ours"):
        with_peer(ours, "peer", [Figure("c", "ms", {"ours": 1.0})])
