"""Rows lost behind the store's back: what a model is asked stays a valid request (promise P7)."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from narrator import Message, Thread, ThreadStore
from tests.faults.conversation import Journal, agent_of
from tests.faults.http_model import HttpModel
from tests.model_server import ModelServer
from tyler import Agent


@pytest.mark.parametrize("lost", [1, 2, 3, 4, 5])
async def test_go_after_a_lost_row_sends_a_valid_request(tmp_path: Path, model_server: ModelServer, lost: int) -> None:
    path = tmp_path / "store.db"
    async with await ThreadStore.create(f"sqlite:///{path}") as store:
        thread = Thread(id="t", messages=[Message(role="user", content="order 7")])
        await agent_of(store, Journal(tmp_path / "journal")).go(thread)
        gone = thread.messages[lost]
        assert gone.role in ("assistant", "tool")
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM narrator_messages WHERE id = :id"), {"id": gone.id})
        engine.dispose()
        thread = await store.get_thread("t")
        thread.add_message(Message(role="user", content="more"))
        result = await Agent(model=HttpModel(model_server.base_url), thread_store=store).go(thread)
        assert result.content == "echo: more"
    assert not model_server.refused
    assert len(thread.messages) == 8  # nothing else was touched
