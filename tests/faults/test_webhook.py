"""A webhook that is delivered again: at the same moment, to other processes, after a restart (promise P3)."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

from narrator import ThreadStore
from tests.faults.processes import Worker
from tests.faults.workers import deliver, deliver_other_content
from tests.model_server import ModelServer

EVENTS = ["evt-1", "evt-2", "evt-3", "evt-4"]


def delivered(url: str, server: ModelServer, deliveries: list[int]) -> list[tuple[str, str, bool]]:
    """Start a process for each entry, let each deliver all events that often at the same moment; what they got."""
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(deliver, url, server.base_url, EVENTS, times)) for times in deliveries]
        for worker in workers:
            assert worker.heard() == "ready"
        for worker in workers:
            worker.tell()
        return [answer for worker in workers for answer in worker.heard()]


async def messages_of(url: str) -> list[tuple[str, str]]:
    async with await ThreadStore.create(url) as store:
        return [(m.role, m.text) for m in (await store.get_thread("customer")).messages]


async def test_each_event_is_answered_once_whoever_delivers_it(database: str, model_server: ModelServer) -> None:
    answers = delivered(database, model_server, [1, 1, 1])
    answers += delivered(database, model_server, [2])  # after a restart: new processes, nothing in memory
    assert len(answers) == 5 * len(EVENTS)
    assert {(event, content) for event, content, _ in answers} == {(e, f"echo: event {e}") for e in EVENTS}
    assert sorted(event for event, _, replayed in answers if not replayed) == EVENTS
    assert len(model_server.requests) == len(EVENTS)
    assert not model_server.refused
    stored = await messages_of(database)
    assert len(stored) == 2 * len(EVENTS)
    for event in EVENTS:
        place = stored.index(("user", f"event {event}"))
        assert stored[place + 1] == ("assistant", f"echo: event {event}")


async def test_delivery_during_the_run_waits_for_its_answer(database: str, model_server: ModelServer) -> None:
    model_server.hold()
    first = Worker(deliver, database, model_server.base_url, ["evt"], 1)
    second = Worker(deliver, database, model_server.base_url, ["evt"], 2)
    with first, second:
        said: list[Any] = [first.heard(), second.heard()]
        first.tell()
        await asyncio.to_thread(model_server.wait_for_held)
        second.tell()
        with Worker(deliver_other_content, database, "evt") as forger:  # not answered yet, and already protected
            assert "'evt' with other content" in forger.heard()
        model_server.release()
        said = [first.heard(), second.heard()]
    assert said == [[("evt", "echo: event evt", False)], [("evt", "echo: event evt", True)] * 2]
    assert len(model_server.requests) == 1


async def test_the_same_id_with_other_content_is_refused(database: str, model_server: ModelServer) -> None:
    with Worker(deliver, database, model_server.base_url, ["evt"], 1) as worker:
        worker.heard()
        worker.tell()
        worker.heard()
    before = await messages_of(database)
    with Worker(deliver_other_content, database, "evt") as worker:
        assert "'evt' with other content" in worker.heard()
    assert await messages_of(database) == before


async def test_worker_killed_while_the_model_works_leaves_the_event_to_the_next(
    database: str, model_server: ModelServer
) -> None:
    model_server.hold()
    with Worker(deliver, database, model_server.base_url, ["evt"], 1) as worker:
        worker.heard()
        worker.tell()
        await asyncio.to_thread(model_server.wait_for_held)
        worker.kill()
    model_server.release()
    with Worker(deliver, database, model_server.base_url, ["evt"], 3) as worker:
        worker.heard()
        worker.tell()
        answers = worker.heard()
    assert sorted(replayed for _, _, replayed in answers) == [False, True, True]
    assert await messages_of(database) == [("user", "event evt"), ("assistant", "echo: event evt")]
