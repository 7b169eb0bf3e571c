"""A request through litellm that is cancelled is broken off, and nothing of it is left open (promise P8)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from narrator import Message, Thread, ThreadStore
from tests.connections import checked_out
from tests.garbage import collected
from tests.litellm_clients import litellm_clients
from tests.model_server import ModelServer
from tyler import Agent, TextDelta

__all__ = ["litellm_clients"]
pytestmark = pytest.mark.usefixtures("litellm_clients")

WORDS = "one two three"
ARRIVED = {0: "", 1: "one", 2: "one two"}  # after so many chunks


class Reader:
    """Reads a run's events; `arrived` is set when the model has said as much as it will."""

    def __init__(self, agent: Agent, thread: Thread, said: str) -> None:
        self.events = agent.stream(thread)
        self.arrived = asyncio.Event()
        self._awaited = said
        self._said = ""

    async def read(self) -> None:
        while True:
            await self.read_one()

    async def read_one(self) -> None:
        event = await anext(self.events)
        self._said += event.text if isinstance(event, TextDelta) else ""
        if self._said == self._awaited:
            self.arrived.set()

    async def leave(self) -> None:
        while not self.arrived.is_set():
            await self.read_one()


async def cancel_thrice(reader: Reader, server: ModelServer) -> None:
    task = asyncio.create_task(reader.read())
    await asyncio.gather(reader.arrived.wait(), asyncio.to_thread(server.wait_for_held))
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task


async def run_out_of_time(reader: Reader, server: ModelServer) -> None:
    async def read_with_a_deadline() -> None:
        async with asyncio.timeout(None) as deadline, asyncio.TaskGroup() as group:
            group.create_task(reader.read())
            await asyncio.gather(reader.arrived.wait(), asyncio.to_thread(server.wait_for_held))
            deadline.reschedule(asyncio.get_running_loop().time())

    with pytest.raises(TimeoutError):
        await read_with_a_deadline()


async def aclose(reader: Reader, _server: ModelServer) -> None:
    await reader.leave()
    await reader.events.aclose()


async def cancel_the_aclose(reader: Reader, _server: ModelServer) -> None:
    await reader.leave()
    task = asyncio.create_task(reader.events.aclose())
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait([task])


async def leave_it_to_the_garbage_collector(reader: Reader, _server: ModelServer) -> None:
    await reader.leave()


INSIDE = [cancel_thrice, run_out_of_time]
OUTSIDE = [aclose, cancel_the_aclose, leave_it_to_the_garbage_collector]
Way = Callable[[Reader, ModelServer], Awaitable[None]]


@pytest.mark.parametrize(
    ("way", "chunks"), [*((way, n) for way in INSIDE for n in ARRIVED), *((way, n) for way in OUTSIDE for n in (1, 2))]
)
@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_request_under_way_is_broken_off(
    store: ThreadStore, model_server: ModelServer, way: Way, chunks: int
) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    agent = Agent(model_name="gpt-4", thread_store=store)
    await agent.go("open a connection")
    before = asyncio.all_tasks()
    thread = Thread(id="t", messages=[Message(role="user", content="count")])
    model_server.reply(WORDS, hold_after=chunks)
    with collected():
        reader = Reader(agent, thread, ARRIVED[chunks])
        if not chunks:
            reader.arrived.set()
        await way(reader, model_server)
        del reader
        await asyncio.to_thread(model_server.wait_for_hang_up)
        async with asyncio.timeout(5):
            while left := asyncio.all_tasks() - before:
                await asyncio.wait(left)
    assert complaints == []
    assert checked_out(store) == 0
    stored = await store.get_thread("t")
    assert [m.text for m in stored.messages] == ["count", ARRIVED[chunks]][: 2 if chunks else 1]
    assert stored.messages == thread.messages
    model_server.reply(WORDS)
    assert (await agent.go(thread, wait_s=2)).content == WORDS
