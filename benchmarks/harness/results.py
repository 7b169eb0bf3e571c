"""What a run of the benchmarks brought: the machine, and each case's figures; to JSON and back."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from benchmarks.harness.case import Case, Plot
from benchmarks.harness.figure import Figure

ROOT = Path(__file__).parents[2]
PACKAGES = ("litellm", "openai", "httpx", "sqlalchemy", "asyncpg", "aiosqlite", "pydantic")


@dataclass
class Measured:
    """One case that was measured, and how long that took."""

    name: str
    title: str
    note: str
    plot: Plot | None
    figures: list[Figure]
    seconds: float

    @classmethod
    def of(cls, case: Case, figures: list[Figure], seconds: float) -> Self:
        """The case with its figures."""
        return cls(case.name, case.title, case.note, case.plot, figures, round(seconds, 1))


@dataclass
class Results:
    """A whole run."""

    about: dict[str, str]
    measured: list[Measured] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain data, the verdicts with it."""
        cases = [{**asdict(one), "figures": [f.as_json() for f in one.figures]} for one in self.measured]
        return {"about": self.about, "cases": cases}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The results that `as_json` wrote."""
        measured = []
        for case in data["cases"]:
            plot = Plot(**case["plot"]) if case["plot"] else None
            figures = [Figure.from_json(figure) for figure in case["figures"]]
            measured.append(Measured(**{**case, "plot": plot, "figures": figures}))
        return cls(dict(data["about"]), measured)


def about_this_run(postgres_version: str, *, quick: bool) -> dict[str, str]:
    """The machine, the versions, and how busy the machine was when the run began."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": postgres_version,
        **{name: version(name) for name in PACKAGES},
        **({"sizes": "tiny (--quick): these figures say nothing"} if quick else {}),
    }


def _commit() -> str:
    git = ("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    try:
        return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    except FileNotFoundError:
        return "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
