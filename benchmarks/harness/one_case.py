"""Measures one case in this process: `python -m benchmarks.harness.one_case NAME`, a setting as JSON in, figures out.

Each case has a process of its own, so that none inherits the memory, the garbage or the imports of another.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys

from benchmarks.harness.case import Case, Setting


def case_named(name: str) -> Case:
    """The case of the module benchmarks/NAME.py."""
    case: Case = importlib.import_module(f"benchmarks.{name}").CASE
    return case


if __name__ == "__main__":
    figures = asyncio.run(case_named(sys.argv[1]).measure(Setting.from_json(sys.stdin.read())))
    print(json.dumps([figure.as_json() for figure in figures]))
