"""A process is killed in mid-run while its agent's agent works: the task is gone on with, and nothing is done twice."""

from __future__ import annotations

import signal
from itertools import count
from pathlib import Path

import pytest

from narrator import ThreadStore
from tests.faults.conversation import Journal
from tests.faults.processes import Worker
from tests.faults.workers import delegate_and_go_on
from tests.model_server import violations
from tyler._tool_calls import UNKNOWN_OUTCOME
from tyler.wire import to_chat

_BEFORE = 7  # the instants before its call is started are those of any run


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.deep)], indirect=True)
@pytest.mark.parametrize("step", [2, pytest.param(1, marks=pytest.mark.deep)])  # 2: before each COMMIT only
async def test_killed_at_any_instant_the_task_is_gone_on_with(database: str, tmp_path: Path, step: int) -> None:
    async with await ThreadStore.create(database) as store:
        for fatal in count(_BEFORE, step):
            here = tmp_path / f"{fatal}"
            here.mkdir()
            with Worker(delegate_and_go_on, database, here, fatal) as worker:
                if worker.ended() == 0:
                    break
                assert worker.ended() == -signal.SIGKILL, worker.heard()
            with Worker(delegate_and_go_on, database, here, 0) as worker:
                assert worker.heard() == "done"
            await assert_sold_once(store, here)
    assert fatal > 30


async def assert_sold_once(store: ThreadStore, here: Path) -> None:
    parent = await store.get_thread(here.name)
    (summary,) = await store.list_threads(metadata={"parent_thread": here.name})
    child = await store.get_thread(summary.id)
    for thread in (parent, child):
        assert violations({"model": "m", "messages": [to_chat(m) for m in thread.messages]}) == []
        assert [m.role for m in thread.messages] == ["user", "assistant", "tool", "assistant"]
    charged, told = len(Journal(here / "journal").all("charge")), child.messages[2].text
    assert (charged, told) in [(1, "charged"), (1, UNKNOWN_OUTCOME), (0, UNKNOWN_OUTCOME)]
    assert child.messages[3].text == parent.messages[2].text == f"It says: {told}"
    assert parent.messages[3].text == f"It says: It says: {told}"
