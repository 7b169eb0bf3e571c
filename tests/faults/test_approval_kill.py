"""A process is killed at every instant between question, decision and the call: nothing is lost, nothing runs twice."""

from __future__ import annotations

import signal
from itertools import count
from pathlib import Path

import pytest

from narrator import ThreadStore
from tests.faults.conversation import Journal, opened
from tests.faults.processes import Worker
from tests.faults.workers import approve_and_go_on
from tests.model_server import violations
from tyler._tool_calls import UNKNOWN_OUTCOME
from tyler.wire import to_chat


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.deep)], indirect=True)
@pytest.mark.parametrize("step", [2, pytest.param(1, marks=pytest.mark.deep)])  # 2: on one side of each COMMIT
async def test_killed_at_any_instant_a_decision_is_kept_and_used_once(database: str, tmp_path: Path, step: int) -> None:
    async with opened(database, tmp_path / "files"):
        pass  # the tables
    for fatal in count(1, step):
        here = tmp_path / f"{fatal}"
        here.mkdir()
        with Worker(approve_and_go_on, database, here, fatal) as worker:
            if worker.ended() == 0:
                break
            assert worker.ended() == -signal.SIGKILL, worker.heard()
        with Worker(approve_and_go_on, database, here, 0) as worker:
            assert worker.heard() == "completed"
        async with await ThreadStore.create(database) as store:
            thread = await store.get_thread(here.name)
            assert await store.pending_calls(here.name) == []
        assert violations({"model": "m", "messages": [to_chat(m) for m in thread.messages]}) == []
        assert [m.role for m in thread.messages] == ["user", "assistant", "tool", "assistant"]
        ran, told = len(Journal(here / "journal").all("refund")), thread.messages[2].text
        assert (ran, told) in [(1, "refunded"), (1, UNKNOWN_OUTCOME), (0, UNKNOWN_OUTCOME)]
    assert fatal > 10
