"""How a database finds the rows of a statement: the indexes that it uses, and what it reads from end to end."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from benchmarks.harness.case import Setting
from benchmarks.harness.databases import Database, Statement

SMALL = 1_000  # rows that may be read from end to end
MOST = 0.2  # of a table's rows: a statement that looks at more has not found them
STEPS = 10  # of SQLite's machine, that it takes to look at a row
TICK = 1_000
_DETAIL = re.compile(
    r"(SCAN|SEARCH) (narrator_\w+)(?: USING (?:COVERING )?(?:INDEX (\w+)|INTEGER PRIMARY KEY))?(?: \((.*)\))?"
)


@dataclass
class Plan:
    """The indexes that a statement uses, and the tables or indexes that it goes through from end to end."""

    indexes: list[str] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)


Explain = Callable[[Statement], Awaitable[Plan]]


@contextlib.asynccontextmanager
async def explainer(setting: Setting, database: Database) -> AsyncIterator[Explain]:
    """Tells a statement's plan. PostgreSQL runs it for that, and takes back what it did."""
    if database.name == "SQLite":
        with contextlib.closing(sqlite3.connect(setting.folder / "bench.db")) as raw:
            yield _of_sqlite(raw)
        return
    # Small tables are read from end to end because they are small; without that, only for want of an index.
    settings = {"enable_seqscan": "off"} if setting.quick else {}
    connection = await asyncpg.connect(setting.postgres_url.replace("+asyncpg", ""), server_settings=settings)
    sizes = dict(await connection.fetch("SELECT relname, reltuples FROM pg_class WHERE relkind = 'r'"))
    first_columns = dict(
        await connection.fetch(
            "SELECT indexrelid::regclass::text, attname FROM pg_index"
            " JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]"
        )
    )

    async def of_postgres(statement: Statement) -> Plan:
        transaction = connection.transaction()
        await transaction.start()
        try:
            text = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.text}", *statement.parameters)
        finally:
            await transaction.rollback()
        return postgres_plan(json.loads(text)[0]["Plan"], sizes if not setting.quick else {}, first_columns)

    try:
        yield of_postgres
    finally:
        await connection.close()


def _of_sqlite(raw: sqlite3.Connection) -> Explain:
    (threads,) = raw.execute("SELECT count(*) FROM narrator_threads").fetchone()

    async def explain(statement: Statement) -> Plan:
        rows = raw.execute(f"EXPLAIN QUERY PLAN {statement.text}", statement.parameters).fetchall()
        plan = sqlite_plan([row[3] for row in rows], limited="LIMIT" in statement.text)
        if statement.text.startswith("SELECT") and threads >= SMALL:
            steps = itertools.count()
            raw.set_progress_handler(lambda: next(steps) < 0, TICK)
            raw.execute(statement.text, statement.parameters).fetchall()
            raw.set_progress_handler(None, TICK)
            if next(steps) * TICK > STEPS * MOST * threads:  # its plan doesn't say where it ends
                plan.whole.append("narrator_threads")
        return plan

    return explain


def sqlite_plan(details: list[str], *, limited: bool) -> Plan:
    """Of EXPLAIN QUERY PLAN's lines. An index may be gone through in its order where a LIMIT ends that."""
    plan = Plan()
    for detail in details:
        if (match := _DETAIL.match(detail)) is None:
            continue
        how, table, index, condition = match.groups()
        plan.indexes.append(index or f"{table} (key)")
        skips = condition is not None and "ANY(" in condition
        if (how == "SCAN" and not (index and limited)) or skips:
            plan.whole.append(index or table)
    return plan


def postgres_plan(root: dict[str, Any], sizes: dict[str, float], first_columns: dict[str, str]) -> Plan:
    """Of EXPLAIN (ANALYZE, FORMAT JSON). `sizes`: rows by table; of a table without one only the shape counts."""
    plan = Plan()
    for node, limited in _nodes(root, False):
        plan.indexes += node.get("Conflict Arbiter Indexes", ())
        table, index = node.get("Relation Name", ""), node.get("Index Name")
        if index is not None:
            plan.indexes.append(index)
            condition = node.get("Index Cond", "")
            begins = first_columns.get(index, "") in condition if condition else limited or table not in sizes
            if not begins and sizes.get(table, SMALL) >= SMALL:
                plan.whole.append(index)
        elif node["Node Type"] == "Seq Scan" and sizes.get(table, SMALL) >= SMALL:
            plan.whole.append(table)
        seen = node.get("Actual Rows", 0) + node.get("Rows Removed by Filter", 0)
        if table and sizes.get(table, 0) >= SMALL and seen * node.get("Actual Loops", 1) > MOST * sizes[table]:
            plan.whole.append(table)
    return plan


def _nodes(node: dict[str, Any], limited: bool) -> Iterator[tuple[dict[str, Any], bool]]:
    """All nodes of a plan, each with whether a LIMIT stands above it that ends it early."""
    yield node, limited
    early = node["Node Type"] == "Limit" or (limited and node["Node Type"] not in ("Sort", "Hash", "Aggregate"))
    for child in node.get("Plans", ()):
        yield from _nodes(child, early)
