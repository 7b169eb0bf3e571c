"""The database goes away in the middle of a run: the run goes on, and nothing is stored twice (promises P1, P3)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import asyncpg
import pytest
from sqlalchemy import make_url

from narrator import Message, StoreUnavailable, Thread, ThreadStore
from narrator._backend import Transaction
from tests.faults.conversation import Journal, agent_of, assert_answered, assert_sound, opened, order
from tests.faults.http_model import HttpModel
from tests.faults.proxy import Proxy, When
from tests.model_server import ModelServer
from tests.postgres_server import PostgresServer
from tyler import Agent
from tyler.model import Reply, Request
from tyler.testing import ScriptedModel, calls

BACK_AGAIN_S = 10.0


async def test_run_goes_on_when_the_server_crashes_while_the_model_works(
    postgres_server: PostgresServer, postgres_url: str, model_server: ModelServer
) -> None:
    model_server.hold()
    async with await ThreadStore.create(postgres_url) as store:
        agent = Agent(model=HttpModel(model_server.base_url), thread_store=store)
        run = asyncio.create_task(agent.go(Thread(id="t", messages=[Message(id="m", role="user", content="hello")])))
        await asyncio.to_thread(model_server.wait_for_held)
        await asyncio.to_thread(postgres_server.restart, "immediate")
        model_server.release()
        assert (await run).content == "echo: hello"
        assert [m.role for m in (await store.get_thread("t")).messages] == ["user", "assistant"]
    assert len(model_server.requests) == 1


async def test_answer_is_stored_although_the_server_is_still_starting_when_it_comes(
    postgres_server: PostgresServer, postgres_url: str, model_server: ModelServer
) -> None:
    model_server.hold()
    async with await ThreadStore.create(postgres_url) as store:
        agent = Agent(model=HttpModel(model_server.base_url), thread_store=store)
        run = asyncio.create_task(agent.go(Thread(id="t", messages=[Message(id="m", role="user", content="hello")])))
        await asyncio.to_thread(model_server.wait_for_held)
        await asyncio.to_thread(postgres_server.stop, "immediate")
        model_server.release()
        started = monotonic()
        await asyncio.wait([run], timeout=1)  # the answer comes while nobody listens at the database's port
        assert not run.done(), run
        await asyncio.to_thread(postgres_server.restart)
        assert (await run).content == "echo: hello"
        assert monotonic() - started < BACK_AGAIN_S
        assert [m.role for m in (await store.get_thread("t")).messages] == ["user", "assistant"]


async def conversations_under_restarts(
    server: PostgresServer, url: str, conversations: int, turns: int, restarts: int
) -> None:
    """All turns are there, once, although the server crashes at even distances; a caller tries a refused turn again."""
    done = asyncio.Queue[None]()

    async def one(store: ThreadStore, number: int) -> None:
        agent = Agent(model=ScriptedModel([f"answer {turn}" for turn in range(turns * 3)]), thread_store=store)
        for turn in range(turns):
            started = monotonic()
            while True:
                message = Message(id=f"m{turn}", role="user", content=f"question {turn}")
                try:
                    await agent.go(Thread(id=f"conversation-{number}", messages=[message]))
                    break
                except StoreUnavailable:
                    assert monotonic() - started < 60
            done.put_nowait(None)

    async def crashes() -> list[float]:
        """How long after each return of the server the first turn was done."""
        first_success_s = []
        share = conversations * turns // (restarts + 1)
        for _ in range(restarts):
            for _ in range(share):
                await done.get()
            await asyncio.to_thread(server.restart, "immediate")
            returned = monotonic()
            while not done.empty():
                done.get_nowait()
            await done.get()
            first_success_s.append(monotonic() - returned)
        return first_success_s

    async with await ThreadStore.create(url) as store:
        async with asyncio.TaskGroup() as group:
            crashing = group.create_task(crashes())
            for number in range(conversations):
                group.create_task(one(store, number))
        for number in range(conversations):
            messages = (await store.get_thread(f"conversation-{number}")).messages
            assert not [i for i, count in Counter(m.id for m in messages).items() if count > 1]
            assert [m.id for m in messages[::2]] == [f"m{turn}" for turn in range(turns)]
            assert [m.role for m in messages] == ["user", "assistant"] * turns
    assert max(crashing.result()) < BACK_AGAIN_S


async def test_every_turn_is_stored_once_under_crashes_of_the_server(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    await conversations_under_restarts(postgres_server, postgres_url, conversations=10, turns=5, restarts=2)


@pytest.mark.deep
@pytest.mark.timeout(1200)
async def test_600_turns_are_stored_once_under_five_crashes(postgres_server: PostgresServer, postgres_url: str) -> None:
    await conversations_under_restarts(postgres_server, postgres_url, conversations=40, turns=15, restarts=5)


@pytest.fixture
async def proxy(postgres_server: PostgresServer) -> AsyncIterator[Proxy]:
    proxy = Proxy(postgres_server.port)
    async with proxy.listening():
        yield proxy


def through(proxy: Proxy, url: str, *, limit_s: float | None = None) -> str:
    """The database's URL by way of the proxy, with this patience for each statement and connection."""
    query = {} if limit_s is None else {"command_timeout": str(limit_s), "connect_timeout": str(limit_s)}
    return make_url(url).set(port=proxy.port, query=query).render_as_string(hide_password=False)


@pytest.mark.parametrize("when", ["before", "after", "silent"])
async def test_connection_cut_at_any_commit_leaves_one_correct_conversation(
    postgres_url: str, proxy: Proxy, tmp_path: Path, when: When
) -> None:
    url = through(proxy, postgres_url, limit_s=0.3)
    journal = Journal(tmp_path / "journal")
    async with opened(url, tmp_path / "files") as store:
        number, cut = 0, True
        while cut:
            number += 1
            event_id = f"evt-{number}"
            proxy.cut_at(number, when)
            started = monotonic()
            result = await agent_of(store, journal).go(Thread(id=f"t{number}", messages=[order(event_id)]))
            assert monotonic() - started < BACK_AGAIN_S, f"the cut at commit {number} held the run up"
            assert result.content == f"done: order {event_id}"
            assert len(result.new_messages) == 6
            cut = proxy.cuts == 1
            thread = await store.get_thread(f"t{number}")
            assert_answered(thread, event_id)
            assert len(thread.messages) == 7
            await assert_sound(store, thread, journal)
        assert number >= 12  # as many commits has such a run, and one more go to see that there are no more
    assert len(journal.all("model")) == 3 * number


@pytest.mark.parametrize("when", ["before", "after"])
async def test_edit_whose_commit_is_cut_is_stored_and_is_no_conflict(
    postgres_url: str, proxy: Proxy, when: When
) -> None:
    async with await ThreadStore.create(through(proxy, postgres_url)) as store:
        thread = Thread(id="t", messages=[Message(id=i, role="user", content=i) for i in ("a", "b", "c")])
        await store.save_thread(thread)
        thread.messages[0].content = "edited"
        del thread.messages[1]
        thread.add_message(Message(id="d", role="user", content="d"))
        proxy.cut_at(2, when)  # the first is of the look at the removed message's files
        await store.save_thread(thread)
        assert proxy.cuts == 1
        stored = await store.get_thread("t")
        assert [(m.id, m.text) for m in stored.messages] == [("a", "edited"), ("c", "c"), ("d", "d")]
        assert thread.model_dump() == stored.model_dump()


def greeting() -> Thread:
    """The same webhook at each call."""
    return Thread(id="t", messages=[Message(id="m", role="user", content="hello")])


async def stored(store: ThreadStore) -> list[tuple[str, str]]:
    return [(m.role, m.text) for m in (await store.get_thread("t")).messages]


async def test_server_that_falls_silent_is_an_error_in_time_and_the_turn_can_be_repeated(
    postgres_url: str, proxy: Proxy
) -> None:
    async with await ThreadStore.create(through(proxy, postgres_url, limit_s=0.2)) as store:
        agent = Agent(model=ScriptedModel(["again"]), thread_store=store)
        proxy.silence(new_lines_too=True)
        started = monotonic()
        with pytest.raises(StoreUnavailable, match=r"does not answer.*command_timeout"):
            await agent.go(greeting())
        assert monotonic() - started < 30
        proxy.speak()
        assert (await agent.go(greeting())).content == "again"
        assert await stored(store) == [("user", "hello"), ("assistant", "again")]


async def test_connections_that_fell_silent_are_all_given_up_at_once(postgres_url: str, proxy: Proxy) -> None:
    async with await ThreadStore.create(through(proxy, postgres_url, limit_s=0.5)) as store:
        await asyncio.gather(*(store.list_threads() for _ in range(5)))  # the pool's: one for each of the five tries
        proxy.silence(new_lines_too=False)
        agent = Agent(model=ScriptedModel(["through a new one"]), thread_store=store)
        assert (await agent.go(greeting())).content == "through a new one"
        assert await stored(store) == [("user", "hello"), ("assistant", "through a new one")]


async def test_store_is_closed_although_the_server_is_silent(
    postgres_url: str, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    async with await ThreadStore.create(through(proxy, postgres_url)) as store:
        await asyncio.gather(store.list_threads(), store.list_threads())
        proxy.silence(new_lines_too=True)
        started = monotonic()
    assert monotonic() - started < 5
    assert caplog.records == []


@pytest.mark.deep  # 25 s of waiting
async def test_silent_server_is_waited_for_half_a_minute_at_most(postgres_url: str, proxy: Proxy) -> None:
    async with await ThreadStore.create(through(proxy, postgres_url)) as store:
        proxy.silence(new_lines_too=True)
        started = monotonic()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await store.save_thread(greeting())
        assert 12 < monotonic() - started < 30


async def test_forty_runs_share_one_connection_for_none_holds_it_while_its_tool_works(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"POOL_SIZE": "1", "MAX_OVERFLOW": "0", "POOL_TIMEOUT": "20"}.items():
        monkeypatch.setenv(f"NARRATOR_DB_{name}", value)
    everybody = asyncio.Barrier(40)

    async def wait_for_the_others() -> str:
        await everybody.wait()
        return "all are here"

    def next_line(request: Request) -> str | Reply:
        return "done" if request.messages[-1]["role"] == "tool" else calls(("wait_for_the_others", {}))

    async with await ThreadStore.create(postgres_url) as store:
        agent = Agent(model=ScriptedModel([next_line] * 80), tools=[wait_for_the_others], thread_store=store)
        async with asyncio.timeout(60):
            results = await asyncio.gather(*(agent.go(f"conversation {number}") for number in range(40)))
        assert [result.content for result in results] == ["done"] * 40


async def test_exhausted_pool_is_an_error_and_the_turn_can_be_repeated(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"POOL_SIZE": "1", "MAX_OVERFLOW": "0", "POOL_TIMEOUT": "0.1"}.items():
        monkeypatch.setenv(f"NARRATOR_DB_{name}", value)
    taken, release = asyncio.Event(), asyncio.Event()

    async def keep_the_connection(tx: Transaction, _attempt: int) -> None:
        await tx.heads("t")
        taken.set()
        await release.wait()

    async with await ThreadStore.create(postgres_url) as store:
        agent = Agent(model=ScriptedModel(["hello"]), thread_store=store)
        keeper = asyncio.create_task(store._backend.run(keep_the_connection, write=False))
        await taken.wait()
        with pytest.raises(StoreUnavailable, match=r"all connections of the pool are in use.*NARRATOR_DB_POOL_SIZE"):
            await agent.go(greeting())
        release.set()
        await keeper
        assert (await agent.go(greeting())).content == "hello"
        assert await stored(store) == [("user", "hello"), ("assistant", "hello")]


@asynccontextmanager
async def another_program(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of its own."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()


async def test_row_that_another_program_locks_is_waited_for(postgres_url: str) -> None:
    async with await ThreadStore.create(postgres_url) as store, another_program(postgres_url) as other:
        locked, release = asyncio.Event(), asyncio.Event()

        async def lock_the_thread() -> str:
            async with other.transaction():
                await other.execute("SELECT 1 FROM narrator_threads FOR UPDATE")
                locked.set()
                await release.wait()
            return "let go"

        async def waiting_for_it() -> int:
            return int(await other.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))

        script = ScriptedModel([calls(("lock_the_thread", {})), "done"])
        agent = Agent(model=script, tools=[lock_the_thread], thread_store=store)
        run = asyncio.create_task(agent.go(greeting()))
        await locked.wait()
        plain = Thread(id="t", messages=[Message(id="n", role="user", content="x")])
        save = asyncio.create_task(store.save_thread(plain))
        async with asyncio.timeout(10):
            while not await waiting_for_it():
                await asyncio.sleep(0.01)
        release.set()
        await save
        assert (await run).content == "done"
        assert [role for role, _ in await stored(store)] == ["user", "assistant", "tool", "assistant", "user"]


async def test_full_disk_of_the_server_is_an_error_and_the_turn_can_be_repeated(postgres_url: str) -> None:
    """A trigger raises what the server does when it has no space left for a message of the model."""
    async with await ThreadStore.create(postgres_url) as store, another_program(postgres_url) as other:
        await other.execute(
            """
            CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
            CREATE TRIGGER no_space BEFORE INSERT ON narrator_messages
            FOR EACH ROW WHEN (NEW.role = 'assistant') EXECUTE FUNCTION no_space();
            """
        )
        agent = Agent(model=ScriptedModel(["lost", "hello"]), thread_store=store)
        with pytest.raises(StoreUnavailable, match="the server's disk is full; free some space and try again"):
            await agent.go(greeting())
        assert await stored(store) == [("user", "hello")]
        await other.execute("DROP FUNCTION no_space CASCADE")
        assert (await agent.go(greeting())).content == "hello"
        assert await stored(store) == [("user", "hello"), ("assistant", "hello")]


async def test_locked_sqlite_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{path}") as store:
        agent = Agent(model=ScriptedModel(["hello"]), thread_store=store)
        other_program = sqlite3.connect(path, isolation_level=None)
        other_program.execute("BEGIN IMMEDIATE")
        run = asyncio.create_task(agent.go(Thread(id="t", messages=[Message(role="user", content="hi")])))
        await asyncio.wait([run], timeout=0.5)
        assert not run.done()
        other_program.execute("ROLLBACK")
        other_program.close()
        assert (await run).content == "hello"


@pytest.mark.deep  # 9 s of waiting
async def test_sqlite_that_stays_locked_is_an_error_and_the_turn_can_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{path}?timeout=0.05") as store:
        agent = Agent(model=ScriptedModel(["hello"]), thread_store=store)
        message = Message(id="m", role="user", content="hi")
        other_program = sqlite3.connect(path, isolation_level=None)
        other_program.execute("BEGIN IMMEDIATE")
        thread = Thread(id="t", messages=[message])
        with pytest.raises(StoreUnavailable, match="another program keeps it locked"):
            await agent.go(thread)
        other_program.execute("ROLLBACK")
        other_program.close()
        assert (await agent.go(thread)).content == "hello"
        assert [m.role for m in (await store.get_thread("t")).messages] == ["user", "assistant"]
