"""What a filtered list reads of a database, counted and not timed: little where few threads pass, and where all do."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import Engine

from narrator import ThreadStore
from narrator._backend import metadata_digest
from narrator._sql_listing import FEW

THREADS = 3 * FEW
LIMIT = 10
FILTERS = {
    "one has it, the oldest": ({"number": 1}, 1),
    "nobody has it": ({"number": -1}, 0),
    "all have it": ({"channel": "mail"}, LIMIT),
    "all have one, and one the other": ({"channel": "mail", "number": 1}, 1),
}
MAIL, NUMBER = metadata_digest("channel", '"mail"'), metadata_digest("number", "1")
FILL = [  # thread n has the key n, and the highest number is the newest
    """INSERT INTO narrator_threads
       (key, owner, id, created_at, updated_at, message_count, tail, revision, reshaped, last_write)
       SELECT n, '', 't' || n, {time}, {time}, 0, 0, 1, 0, 'w' FROM {numbers}""",
    f"""INSERT INTO narrator_thread_metadata (thread, name, value, digest)
       SELECT n, 'channel', '"mail"', {{blob}}'{{escape}}{MAIL.hex()}' FROM {{numbers}}""",
    f"""INSERT INTO narrator_thread_metadata (thread, name, value, digest)
       VALUES (1, 'number', '1', {{blob}}'{{escape}}{NUMBER.hex()}')""",
]


async def sent(store: ThreadStore, filters: dict[str, object], count: int) -> list[tuple[str, tuple[object, ...]]]:
    """What a list with these filters sends, with its parameters."""
    statements: list[tuple[str, tuple[object, ...]]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("SELECT"):
            statements.append((statement, parameters))

    event.listen(Engine, "after_cursor_execute", note)
    try:
        assert len(await store.list_threads(limit=LIMIT, metadata=filters)) == count
    finally:
        event.remove(Engine, "after_cursor_execute", note)
    return statements


def scanned(plan: dict[str, Any]) -> Iterator[int]:
    """The rows that each scan of an executed plan went through."""
    if "Relation Name" in plan:
        yield (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    for part in plan.get("Plans", ()):
        yield from scanned(part)


async def test_postgresql_goes_through_few_rows(postgres_url: str) -> None:
    """Whether its plan knows the values or, as from the sixth execution on, does not."""
    driver = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    try:
        async with await ThreadStore.create(postgres_url) as store:
            time = "timestamptz '2026-01-01' + n * interval '1 second'"
            for fill in FILL:
                numbers = f"generate_series(1, {THREADS}) AS numbers(n)"
                await driver.execute(fill.format(time=time, numbers=numbers, blob="", escape="\\x"))
            await driver.execute("ANALYZE")
            for plans in ("force_custom_plan", "force_generic_plan"):
                await driver.execute(f"SET plan_cache_mode = {plans}")
                for name, (filters, count) in FILTERS.items():
                    rows = 0
                    for statement, parameters in await sent(store, filters, count):
                        values = ", ".join(f"'\\x{v.hex()}'" if isinstance(v, bytes) else str(v) for v in parameters)
                        await driver.execute(f"PREPARE s AS {statement}")
                        explained = await driver.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE s({values})")
                        await driver.execute("DEALLOCATE s")
                        rows += sum(scanned(json.loads(explained)[0]["Plan"]))
                    assert rows <= FEW + 50, (plans, name)
    finally:
        await driver.close()


async def test_sqlite_takes_few_steps(tmp_path: Path) -> None:
    driver = sqlite3.connect(tmp_path / "threads.db")
    steps = [0]

    def step() -> int:
        steps[0] += 1
        return 0

    async with await ThreadStore.create(f"sqlite:///{tmp_path}/threads.db") as store:
        for fill in FILL:
            numbers = f"(WITH RECURSIVE c(n) AS (VALUES (1) UNION SELECT n + 1 FROM c LIMIT {THREADS}) SELECT n FROM c)"
            driver.execute(fill.format(time="n", numbers=numbers, blob="x", escape=""))
        driver.commit()
        for name, (filters, count) in FILTERS.items():
            statements = await sent(store, filters, count)
            steps[0] = 0
            driver.set_progress_handler(step, 1)
            for statement, parameters in statements:
                driver.execute(statement, parameters).fetchall()
            driver.set_progress_handler(None, 0)
            assert steps[0] < 12 * FEW, name
    driver.close()
