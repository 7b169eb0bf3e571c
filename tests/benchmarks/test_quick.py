"""Every benchmark works, at tiny sizes: the figures have the shape that the page and the plots are made from."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.__main__ import CASES, LARGE, ROOT, arguments, measured_alone
from benchmarks.harness.case import Setting
from benchmarks.harness.figure import LIMIT, LITELLM, OURS, Figure
from benchmarks.harness.model_server import ModelServer
from benchmarks.harness.one_case import case_named
from benchmarks.harness.page import table

ALONE = {"loop_overhead", "one_more_turn", "conversations_at_once", "streaming"}  # have litellm beside
UNBOUND = {"model_server_ceiling", "soak", "worker_processes", "growing_processes"}  # have no limit beside ours
QUICK = {"opening", "save_one_more", "large_statements"}  # the others import litellm, some in processes of their own


@pytest.fixture(scope="module")
def model_url() -> Iterator[str]:
    with ModelServer() as server:
        yield server.url


@pytest.fixture
def setting(model_url: str, postgres_url: str, tmp_path: Path) -> Setting:
    return Setting(model_url, postgres_url, tmp_path, quick=True)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.deep) for name in (*CASES, *LARGE)]
)
async def test_a_case_brings_figures(name: str, setting: Setting) -> None:
    figures = await case_named(name).measure(setting)
    assert figures == [Figure.from_json(json.loads(json.dumps(figure.as_json()))) for figure in figures]
    assert len({figure.what for figure in figures}) == len(figures)  # a peer's are found by it
    assert any(LITELLM in figure.values for figure in figures) == (name in ALONE)
    if name not in UNBOUND:
        assert any({OURS, LIMIT} <= figure.values.keys() for figure in figures)
    for figure in figures:
        assert all(value > 0 for who, value in figure.values.items() if "errors" not in figure.what) or (
            any(words in figure.what for words in ("over litellm", "growth", "processor of"))  # may be as good as none
        ), figure
        if "errors" in figure.what:
            assert figure.values == {OURS: 0}
    assert table(figures).count("\n") == len(figures) + 2


@pytest.mark.deep
def test_a_case_runs_in_a_process_of_its_own(setting: Setting) -> None:
    assert {figure.unit for figure in measured_alone("opening", setting)} == {"ms"}


def test_all_cases_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py")}
    assert {*CASES, *LARGE} == modules
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    assert arguments().cases == []


@pytest.mark.parametrize(("page", "cases"), [("performance", CASES), ("scaling", LARGE)])
def test_the_page_names_all_cases(page: str, cases: tuple[str, ...]) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")] == list(cases)


@pytest.mark.parametrize(("argument", "word"), [("nothing", "unknown cases"), ("--peers=nobody", "unknown peers")])
def test_an_unknown_name_is_refused_with_those_that_there_are(
    argument: str, word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", argument])
    with pytest.raises(SystemExit, match="2"):
        arguments()
    said = capsys.readouterr().err
    assert word in said
    assert ("opening" if argument == "nothing" else "openai_agents") in said.partition(word)[2]
