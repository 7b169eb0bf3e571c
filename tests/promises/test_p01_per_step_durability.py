"""P1: another connection sees each step committed before the run goes on, and no connection is held meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from narrator import Message, NarratorError, Thread, ThreadStore
from narrator._sql import SqlBackend
from narrator._sql_rows import SqlTransaction
from tests.connections import checked_out
from tests.faults.http_model import HttpModel
from tests.model_server import ModelServer, Reply
from tyler import Agent, MessageAdded
from tyler.testing import ScriptedModel, calls


@pytest.fixture
async def sql_store(sql_url: str) -> AsyncIterator[ThreadStore]:
    async with await ThreadStore.create(sql_url) as store:
        yield store


class Observer:
    """Raw rows over a connection of its own."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def rows(self, query: str) -> list[Any]:
        engine = create_async_engine(self._url)
        try:
            async with engine.connect() as connection:
                return list(await connection.execute(text(query)))
        finally:
            await engine.dispose()

    async def messages(self) -> list[tuple[str, str | None]]:
        found = await self.rows("SELECT role, content FROM narrator_messages ORDER BY position")
        return [(role, content) for role, content in found]

    async def calls(self) -> dict[str, str]:
        return dict(await self.rows("SELECT call_id, state FROM narrator_calls"))


async def test_each_step_is_committed_before_the_next(
    sql_store: ThreadStore, sql_url: str, model_server: ModelServer
) -> None:
    observer = Observer(sql_url)
    patient_looked, quick_ended, seen = asyncio.Event(), asyncio.Event(), dict[str, Any]()

    async def quick() -> str:
        seen["quick"] = (await observer.messages(), await observer.calls(), checked_out(sql_store))
        await patient_looked.wait()
        return "quick result"

    async def patient() -> str:
        seen["patient"] = (await observer.messages(), await observer.calls(), checked_out(sql_store))
        patient_looked.set()
        async with asyncio.timeout(10):
            while ("tool", "quick result") not in await observer.messages():
                await asyncio.sleep(0.01)
        seen["while patient runs"] = (await observer.calls(), checked_out(sql_store))
        quick_ended.set()
        return "patient result"

    model_server.reply(tool_calls=[("patient", {}, "call_p"), ("quick", {}, "call_q")])
    model_server.reply("All done.")
    model_server.hold()
    agent = Agent(model=HttpModel(model_server.base_url), tools=[quick, patient], thread_store=sql_store)
    run = asyncio.create_task(agent.go(Thread(id="t", messages=[Message(role="user", content="go")])))

    await asyncio.to_thread(model_server.wait_for_held)
    assert await observer.messages() == [("user", "go")]
    assert checked_out(sql_store) == 0
    model_server.release()
    await quick_ended.wait()
    result = await run
    # what a second connection sees when `go` has returned
    assert await observer.messages() == [
        ("user", "go"),
        ("assistant", None),
        ("tool", "patient result"),
        ("tool", "quick result"),
        ("assistant", "All done."),
    ]
    assert result.content == "All done."
    asked = [("user", "go"), ("assistant", None)]
    both = {"call_p": "started", "call_q": "started"}
    assert seen["quick"] == (asked, both, 0)
    assert seen["patient"] == (asked, both, 0)
    assert seen["while patient runs"] == ({"call_p": "started", "call_q": "finished"}, 0)
    assert await observer.calls() == {"call_p": "finished", "call_q": "finished"}


async def test_the_results_are_committed_before_the_model_reads_them(
    sql_store: ThreadStore, sql_url: str, model_server: ModelServer
) -> None:
    observer = Observer(sql_url)

    def look() -> str:
        return "seen"

    model_server.reply(tool_calls=[("look", {})])
    model_server.reply(Reply("Done it is.", hold_after=0))
    agent = Agent(model=HttpModel(model_server.base_url), tools=[look], thread_store=sql_store)
    run = asyncio.create_task(agent.go("go"))
    await asyncio.to_thread(model_server.wait_for_held)
    assert [role for role, _ in await observer.messages()] == ["user", "assistant", "tool"]
    assert checked_out(sql_store) == 0
    model_server.release()
    assert (await run).content == "Done it is."


async def test_no_tool_runs_when_its_start_cannot_be_stored(sql_store: ThreadStore) -> None:
    ran = []

    def effect() -> None:
        ran.append(1)

    agent = Agent(model=ScriptedModel([calls(("effect", {}))]), tools=[effect], thread_store=sql_store)

    async def run() -> None:
        async for event in agent.stream(Thread(id="t", messages=[Message(role="user", content="go")])):
            if isinstance(event, MessageAdded):
                await sql_store.delete_thread("t")

    with pytest.raises(NarratorError, match="'t'"):
        await run()
    assert ran == []


async def test_each_connection_of_sqlite_commits_to_the_disk(tmp_path: Path) -> None:
    """A power cut after the commit loses nothing only in this mode (WAL, synchronous=FULL)."""
    together = asyncio.Barrier(5)

    async def mode(tx: SqlTransaction, _attempt: int) -> tuple[object, object]:
        await together.wait()  # so that the five are five connections
        found = [await tx._connection.exec_driver_sql(f"PRAGMA {name}") for name in ("journal_mode", "synchronous")]
        return found[0].scalar(), found[1].scalar()

    async with await ThreadStore.create(f"sqlite:///{tmp_path}/store.db") as store:
        backend = store._backend
        assert isinstance(backend, SqlBackend)
        assert await asyncio.gather(*(backend.run(mode, write=False) for _ in range(5))) == [("wal", 2)] * 5
