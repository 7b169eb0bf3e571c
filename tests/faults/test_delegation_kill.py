"""A process is killed at every instant of a run whose agent gives its task to another: nothing is done twice."""

from __future__ import annotations

import signal
from itertools import count
from pathlib import Path

from narrator import ThreadStore
from tests.faults.conversation import Journal, opened
from tests.faults.processes import Worker
from tests.faults.workers import delegate_and_go_on
from tests.model_server import violations
from tyler._tool_calls import UNKNOWN_OUTCOME
from tyler.wire import to_chat


async def test_killed_at_any_instant_the_task_is_gone_on_with(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path / "files"):
        pass  # the tables
    for fatal in count(1):
        here = tmp_path / f"{fatal}"
        here.mkdir()
        with Worker(delegate_and_go_on, database, here, fatal) as worker:
            if worker.ended() == 0:
                break
            assert worker.ended() == -signal.SIGKILL, worker.heard()
        with Worker(delegate_and_go_on, database, here, 0) as worker:
            assert worker.heard() == "done: order 7"
        async with await ThreadStore.create(database) as store:
            parent = await store.get_thread(here.name)
            (summary,) = await store.list_threads(metadata={"parent_thread": here.name})
            child = await store.get_thread(summary.id)
        for thread in (parent, child):
            assert violations({"model": "m", "messages": [to_chat(m) for m in thread.messages]}) == []
        assert [m.role for m in parent.messages] == ["user", "assistant", "tool", "assistant"]
        assert parent.messages[2].text == "done: order 7"
        assert [m.role for m in child.messages] == [
            "user",
            "assistant",
            "tool",
            "tool",
            "assistant",
            "tool",
            "assistant",
        ]
        charged, told = len(Journal(here / "journal").all("charge")), child.messages[2].text
        assert (charged, told) in [(1, "charged order 7"), (1, UNKNOWN_OUTCOME), (0, UNKNOWN_OUTCOME)]
    assert fatal > 20
