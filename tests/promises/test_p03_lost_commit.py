"""P3: a save whose COMMIT was answered into the void is stored exactly once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from narrator import Message, Thread, ThreadStore
from narrator._backend import CallRecord
from tests.promises.commit_proxy import CommitProxy

SLOW_COMMIT = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON narrator_threads DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION slow();
"""


def said(id: str, content: str = "text", **fields: object) -> Message:
    return Message(id=id, role="user", content=content, **fields)


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[CommitProxy]:
    async with CommitProxy(postgres_url) as proxy:
        yield proxy


@pytest.fixture
async def direct(postgres_url: str) -> AsyncIterator[ThreadStore]:
    async with await ThreadStore.create(postgres_url) as store:
        yield store


CHANGES = {
    "append": lambda t: t.add_message(said("new")),
    "edit": lambda t: setattr(t.messages[0], "content", "edited"),
    "removal": lambda t: t.messages.pop(0),
    "insert": lambda t: t.messages.insert(0, said("new")),
    "order": lambda t: t.messages.reverse(),
    "metadata": lambda t: t.metadata.update(a=2),
    "all": lambda t: (t.messages.pop(0), t.add_message(said("new")), t.metadata.pop("a"), setattr(t, "title", "x")),
}


@pytest.mark.parametrize("kind", CHANGES)
async def test_a_change_whose_commit_reply_is_lost_is_stored_once(proxy, direct: ThreadStore, kind: str) -> None:
    async with await ThreadStore.create(proxy.url) as store:
        thread = Thread(id="t", messages=[said("a"), said("b")], metadata={"a": 1})
        await store.save_thread(thread)
        revision = (await direct.get_thread("t"))._baseline.revision
        CHANGES[kind](thread)
        wanted = thread.model_dump(include={"messages", "title"})
        proxy.lose_next_commit()
        await store.save_thread(thread)
        assert proxy.lost == 1
        found = await direct.get_thread("t")
        assert found.model_dump(include={"messages", "title"}) == wanted
        assert found == thread
        assert found._baseline.revision == revision + 1, "one write"
        [summary] = await direct.list_threads()
        assert summary.message_count == len(found.messages)
        thread.messages[-1].content = "goes on"
        await store.save_thread(thread)


async def test_a_new_thread_whose_commit_reply_is_lost_is_stored_once(proxy, direct: ThreadStore) -> None:
    async with await ThreadStore.create(proxy.url) as store:
        thread = Thread(id="t", messages=[said("a")], title="x")
        proxy.lose_next_commit()
        await store.save_thread(thread)
        assert proxy.lost == 1
        assert thread == await direct.get_thread("t")


async def test_an_append_is_stored_once_when_someone_writes_before_the_retry(proxy, direct: ThreadStore) -> None:
    async with await ThreadStore.create(proxy.url) as store:
        thread = Thread(id="t", messages=[said("a")])
        await store.save_thread(thread)

        async def someone_else() -> None:
            other = await direct.get_thread("t")
            other.add_message(said("theirs"))
            await direct.save_thread(other)

        thread.add_message(said("mine"))
        proxy.lose_next_commit(someone_else)
        await store.save_thread(thread)
        assert proxy.lost == 1
        found = await direct.get_thread("t")
        assert [m.id for m in found.messages] == ["a", "mine", "theirs"]
        assert found == thread
        assert [s.message_count for s in await direct.list_threads()] == [3]


@pytest.mark.parametrize("kind", ["edit", "append"])
async def test_a_retry_waits_for_a_commit_that_is_still_under_way(
    proxy, direct: ThreadStore, postgres_url, kind
) -> None:
    async with await ThreadStore.create(proxy.url) as store:
        thread = Thread(id="t", messages=[said("a"), said("b")])
        await store.save_thread(thread)
        connection = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
        await connection.execute(SLOW_COMMIT)
        await connection.close()
        CHANGES[kind](thread)
        proxy.lose_next_commit(wait_for_answer=False)
        await store.save_thread(thread)
        assert proxy.lost == 1
        assert thread == await direct.get_thread("t")


async def test_a_runs_result_whose_commit_reply_is_lost_is_stored_once(proxy, direct: ThreadStore) -> None:
    async with await ThreadStore.create(proxy.url) as store:
        thread = Thread(id="t", messages=[said("a")])
        await store.save_thread(thread)
        proxy.lose_next_commit()
        async with store.turn(thread) as turn:
            assert proxy.lost == 1, "taking the turn is safe too"
            proxy.lose_next_commit()
            await turn.append(said("answer"), behind="a")
            proxy.lose_next_commit()
            await turn.start_calls("answer", ["c"])
            assert await turn.call_states("answer") == {"c": CallRecord("started")}
        assert proxy.lost == 3
        assert thread == await direct.get_thread("t")
        assert [m.id for m in thread.messages] == ["a", "answer"]


async def test_a_deletion_whose_commit_reply_is_lost_says_that_it_deleted(proxy, direct: ThreadStore) -> None:
    async with await ThreadStore.create(proxy.url) as store:
        await store.save_thread(Thread(id="t", messages=[said("a")]))
        proxy.lose_next_commit()
        deleted = await store.delete_thread("t")
        assert proxy.lost == 1
        assert await direct.list_threads() == []
        assert deleted
