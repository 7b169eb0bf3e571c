"""A plan that goes through a table or an index from end to end is told from one that begins where the rows are."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.harness.plans import postgres_plan, sqlite_plan

SIZES = {"threads": 100_000.0, "waiting": 3.0}
FIRST_COLUMNS = {"owner_id": "owner", "newest": "updated_at"}


@pytest.mark.parametrize(
    ("detail", "limited", "indexes", "whole"),
    [
        ("SEARCH narrator_threads USING INDEX i (owner=? AND id=?)", False, ["i"], []),
        ("SEARCH narrator_threads USING INTEGER PRIMARY KEY (rowid=?)", False, ["narrator_threads (key)"], []),
        ("SCAN narrator_threads USING INDEX newest", True, ["newest"], []),
        ("SCAN narrator_threads USING COVERING INDEX newest", False, ["newest"], ["newest"]),
        ("SCAN narrator_threads", True, ["narrator_threads (key)"], ["narrator_threads"]),
        ("SEARCH narrator_threads USING INDEX i (ANY(owner) AND id=?)", False, ["i"], ["i"]),
        ("SCAN 2 CONSTANT ROWS", False, [], []),
        ("USE TEMP B-TREE FOR ORDER BY", False, [], []),
    ],
)
def test_sqlite(detail: str, limited: bool, indexes: list[str], whole: list[str]) -> None:
    plan = sqlite_plan([detail], limited=limited)
    assert (plan.indexes, plan.whole) == (indexes, whole)


def scan(kind: str, **fields: Any) -> dict[str, Any]:
    return {"Node Type": kind, "Relation Name": "threads", "Actual Rows": 1, "Actual Loops": 1, **fields}


def under(kind: str, *nodes: dict[str, Any]) -> dict[str, Any]:
    return {"Node Type": kind, "Plans": list(nodes)}


@pytest.mark.parametrize(
    ("root", "indexes", "whole"),
    [
        (scan("Index Scan", **{"Index Name": "owner_id", "Index Cond": "(owner = 'a')"}), ["owner_id"], []),
        (scan("Index Scan", **{"Index Name": "owner_id", "Index Cond": "(id = 'a')"}), ["owner_id"], ["owner_id"]),
        (under("Limit", scan("Index Scan", **{"Index Name": "newest"})), ["newest"], []),
        (under("Limit", under("Sort", scan("Index Scan", **{"Index Name": "newest"}))), ["newest"], ["newest"]),
        (scan("Index Only Scan", **{"Index Name": "newest"}), ["newest"], ["newest"]),
        (under("Limit", scan("Seq Scan")), [], ["threads"]),
        (scan("Seq Scan", **{"Relation Name": "waiting"}), [], []),
        (
            under("Limit", scan("Index Scan", **{"Index Name": "newest", "Rows Removed by Filter": 60_000})),
            ["newest"],
            ["threads"],
        ),
        ({"Node Type": "ModifyTable", "Conflict Arbiter Indexes": ["owner_id"]}, ["owner_id"], []),
    ],
)
def test_postgresql(root: dict[str, Any], indexes: list[str], whole: list[str]) -> None:
    plan = postgres_plan(root, SIZES, FIRST_COLUMNS)
    assert (plan.indexes, plan.whole) == (indexes, whole)
