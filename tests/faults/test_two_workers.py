"""Two processes on one thread: no group of calls is torn apart; who lost the turn cannot write (promises P2, P5)."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Connection

from narrator import Message, Thread, ThreadStore
from narrator._sql import SqlBackend
from tests.faults.conversation import ROLES, Journal, agent_of, assert_answered, assert_sound, opened
from tests.faults.processes import Worker
from tests.faults.workers import answer_orders, run_that_sleeps, run_that_sleeps_in_a_transaction, steps_of_a_sleeper
from tyler._tool_calls import UNKNOWN_OUTCOME

OTHERS_INPUT = "b"


async def two_workers(url: str, folder: Path, runs: int, thinks_s: float = 0) -> None:
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(answer_orders, url, folder, name, runs, keep, thinks_s))
            for name, keep in (("keeps", True), ("forgets", False))
        ]
        for worker in workers:
            assert worker.heard() == "ready"
        for worker in workers:
            worker.tell()
        for worker in workers:
            assert worker.heard(timeout_s=20 + (2 + 6 * thinks_s) * runs) == "done"
    journal = Journal(folder / "journal")
    async with opened(url, folder / "files") as store:
        thread = await store.get_thread("shared")
        await assert_sound(store, thread, journal)
    inputs = [message.id for message in thread.messages if message.role == "user"]
    assert sorted(inputs) == sorted(f"{name}-{number}" for name in ("keeps", "forgets") for number in range(runs))
    places = [assert_answered(thread, event_id) for event_id in inputs]
    assert places == list(range(0, 2 * runs * len(ROLES), len(ROLES)))
    assert len(thread.messages) == 2 * runs * len(ROLES)
    for name in ("keeps", "forgets"):  # each writer's order is kept
        assert [i for i in inputs if i.startswith(name)] == [f"{name}-{number}" for number in range(runs)]
    assert len(journal.all("charge")) == 2 * runs
    assert len(journal.all("model")) == 2 * runs * 3


async def test_two_processes_on_one_thread_answer_each_input_whole(database: str, tmp_path: Path) -> None:
    await two_workers(database, tmp_path, runs=10)


@pytest.mark.deep
@pytest.mark.parametrize("thinks_s", [0, 0.2])  # a model that thinks: the turn is taken nearly all the time
async def test_two_processes_on_one_thread_answer_a_hundred_inputs(
    database: str, tmp_path: Path, thinks_s: float
) -> None:
    await two_workers(database, tmp_path, runs=50, thinks_s=thinks_s)


@pytest.mark.parametrize("where", ["model", "tool"])
async def test_run_that_slept_past_its_lease_cannot_write(database: str, tmp_path: Path, where: str) -> None:
    journal = Journal(tmp_path / "journal")
    async with opened(database, tmp_path / "files") as store:
        with Worker(run_that_sleeps, database, tmp_path, where) as sleeper:
            assert sleeper.heard() == "pausing"
            sleeper.stop()
            thread = Thread(id="thread", messages=[Message(id=OTHERS_INPUT, role="user", content="order b")])
            assert (await agent_of(store, journal).go(thread)).content == "done: order b"
            before = (await store.get_thread("thread")).model_dump(exclude={"updated_at", "metadata"})
            sleeper.go_on()
            sleeper.tell()
            assert "passed to another run" in sleeper.heard()
            assert sleeper.ended() == 0
        thread = await store.get_thread("thread")
        assert thread.model_dump(exclude={"updated_at", "metadata"}) == before
        assert_answered(thread, OTHERS_INPUT)
        await assert_sound(store, thread, journal)
        if where == "tool":  # its call was closed by the other run, which read that the outcome is unknown
            assert thread.messages[2].text == UNKNOWN_OUTCOME


async def test_no_write_of_a_run_passes_after_its_turn_did(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path / "files") as store:
        with Worker(steps_of_a_sleeper, database, tmp_path) as sleeper:
            assert sleeper.heard() == "pausing"
            sleeper.stop()
            async with store.turn(await store.get_thread("thread")):
                sleeper.go_on()
                sleeper.tell()
                refused, states = sleeper.heard()
            assert sleeper.ended() == 0
        assert refused == ["start_calls", "append", "append at the end"]
        assert states == {}
        assert [message.id for message in (await store.get_thread("thread")).messages] == ["a", "asked"]


async def test_transaction_of_a_process_that_stands_still_does_not_hold_the_thread(
    postgres_url: str, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    async with opened(postgres_url, tmp_path / "files") as store:
        await on_server(store, "ALTER DATABASE test SET idle_in_transaction_session_timeout = '1s'")  # for the worker
        with Worker(run_that_sleeps_in_a_transaction, postgres_url, tmp_path) as sleeper:
            sleeper.stopped()
            thread = Thread(id="thread", messages=[Message(id=OTHERS_INPUT, role="user", content="order b")])
            assert (await agent_of(store, journal).go(thread)).content == "done: order b"
            sleeper.go_on()
            assert "passed to another run" in sleeper.heard()
        assert_answered(await store.get_thread("thread"), OTHERS_INPUT)


async def test_server_is_told_to_end_transactions_that_stand_still(postgres_url: str) -> None:
    for set_by_the_owner, expected in (("0", "10s"), ("5min", "5min")):
        async with await ThreadStore.create(postgres_url) as store:
            await on_server(
                store, f"ALTER DATABASE test SET idle_in_transaction_session_timeout = '{set_by_the_owner}'"
            )
        async with await ThreadStore.create(postgres_url) as store:
            assert await on_server(store, "SHOW idle_in_transaction_session_timeout") == [(expected,)]


async def on_server(store: ThreadStore, statement: str) -> list[tuple[str, ...]]:
    def execute(connection: Connection) -> list[tuple[str, ...]]:
        result = connection.exec_driver_sql(statement)
        return [tuple(row) for row in result] if result.returns_rows else []

    assert isinstance(store._backend, SqlBackend)
    return await store._backend.run_sync(execute, write=True)


async def test_the_same_writes_pass_while_nobody_took_the_turn(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path / "files") as store:
        with Worker(steps_of_a_sleeper, database, tmp_path) as sleeper:
            assert sleeper.heard() == "pausing"
            sleeper.stop()
            sleeper.go_on()
            sleeper.tell()
            refused, states = sleeper.heard()
        assert refused == []
        assert [call.state for call in states.values()] == ["finished"]
        roles = [message.role for message in (await store.get_thread("thread")).messages]
        assert roles == ["user", "assistant", "tool", "assistant"]
