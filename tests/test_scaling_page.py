"""What docs/scaling.md says of PostgreSQL, on one: its copy reaches it whole, its queries and settings work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import asyncpg

from narrator import Attachment, FileStore, Message, Thread, ThreadStore, ToolCall

PAGE = (Path(__file__).parents[1] / "docs" / "scaling.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


async def test_the_copy_brings_a_sqlite_file_to_postgresql(tmp_path: Path, postgres_url: str) -> None:
    names: dict[str, Any] = {}
    exec(next(block for block in blocks("python") if "def copy_threads" in block), names)
    files, new_files = await FileStore.create(tmp_path / "files"), await FileStore.create(tmp_path / "new")
    asks = Message(role="assistant", content=None, tool_calls=[ToolCall(id="c", name="order_status", arguments="{}")])
    result = Message(role="tool", tool_call_id="c", name="order_status", content="in the post")
    picture = Message(role="user", content="See", attachments=[Attachment(filename="a.txt", content="bytes")])
    async with (
        await ThreadStore.create(f"sqlite:///{tmp_path}/old.db", file_store=files) as old,
        await ThreadStore.create(postgres_url, file_store=new_files) as new,
    ):
        for owner in (None, "ann", "bob"):
            store = old if owner is None else old.for_owner(owner)
            told = [message.model_copy(deep=True) for message in (picture, asks, result)]
            await store.save_thread(Thread(id="main", title=owner, messages=told, metadata={"n": 1, "of": owner}))
        for _ in range(2):
            assert await names["copy_threads"](old, new) == 3
        before, after = await old.list_threads(), await new.list_threads()
        assert [(s.owner, s.id, s.title, s.created_at) for s in after] == [
            (s.owner, s.id, s.title, s.created_at) for s in before
        ]
        for owner in ("ann", "bob"):
            was, now = await old.for_owner(owner).get_thread("main"), await new.for_owner(owner).get_thread("main")
            assert now.messages == was.messages
            assert await new_files.for_owner(owner).get(now.messages[0].attachments[0].file_id) == b"bytes"
            assert {**now.metadata, "last_updated": 0} == {**was.metadata, "last_updated": 0}
        assert (await new.status()).files == 3


async def test_the_queries_and_settings_work(postgres_url: str) -> None:
    async with await ThreadStore.create(postgres_url) as store:
        await store.save_thread(Thread(messages=[Message(role="user", content="Hello")]))
    connection = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    try:
        found = [
            await connection.fetch(statement)
            for block in blocks("sql")
            for statement in block.split(";")
            if statement.strip()
        ]
    finally:
        await connection.close()
    assert {row["relname"] for row in found[0]} >= {"narrator_threads", "narrator_messages"}
    assert sum(row["count"] for row in found[1]) >= 1
