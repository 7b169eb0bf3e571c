"""P4: what a save costs does not depend on what the thread holds."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from narrator import Message, Thread, ThreadStore
from tests.promises.statements import Statements, recorded


async def revisions(url: str) -> dict[str, int]:
    """The revision of each stored row, through a connection that is none of the store's."""
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT id, revision FROM narrator_messages"))
        found = {row.id: row.revision for row in rows}
    await engine.dispose()
    return found


async def cost_of_one_more(store: ThreadStore, count: int, url: str) -> Statements:
    thread = Thread(
        id=f"t{count}", messages=[Message(id=f"{count}-{i}", role="user", content="x") for i in range(count)]
    )
    await store.save_thread(thread)
    before = await revisions(url)
    thread.add_message(Message(id=f"{count}-more", role="assistant", content="one more"))
    with recorded() as statements:
        await store.save_thread(thread)
    after = await revisions(url)
    assert {id for id in after if after[id] != before.get(id)} == {f"{count}-more"}
    return statements


async def test_one_more_message_costs_the_same_on_10_and_on_10000(sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as store:
        small = await cost_of_one_more(store, 10, sql_url)
        large = await cost_of_one_more(store, 10_000, sql_url)
    assert list(small) == list(large)
    assert small.rows == large.rows == 2, "the thread's row and the message's"
    assert len(small.writes) == 2


async def test_a_save_without_changes_writes_no_row(sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as store:
        thread = Thread(id="t", messages=[Message(id="m", role="user", content="x")], metadata={"a": 1})
        await store.save_thread(thread)
        thread.metadata["a"] = 1
        with recorded() as statements:
            await store.save_thread(thread)
    assert statements.writes == []


async def test_an_edit_and_a_metadata_key_write_their_own_rows_only(sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as store:
        thread = Thread(id="t", messages=[Message(id=f"m{i}", role="user", content="x") for i in range(200)])
        thread.metadata |= {f"k{i}": i for i in range(50)}
        await store.save_thread(thread)
        before = await revisions(sql_url)
        thread.messages[100].content = "edited"
        thread.metadata["k7"] = "edited"
        with recorded() as statements:
            await store.save_thread(thread)
        after = await revisions(sql_url)
    assert {id for id in after if after[id] != before[id]} == {"m100"}
    inserted = [statement for statement in statements.writes if "narrator_thread_metadata" in statement]
    assert len(inserted) == 1
    assert statements.rows <= 4  # the thread, the message, its files, the key
