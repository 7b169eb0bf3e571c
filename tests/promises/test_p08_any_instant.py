"""P8 at any instant and by any way to end a run: what is left is one whole conversation, and nothing else."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import pytest

from narrator import Attachment, FileStore, Message, Thread, ThreadStore
from tests.connections import checked_out
from tests.garbage import collected
from tests.model_server import violations
from tyler import Agent, Event, tool
from tyler.model import Reply, Request
from tyler.testing import ScriptedModel, calls
from tyler.wire import to_chat

UNWINDS_WITHIN_S = 2.0
PAUSE_S = 0.001
T = TypeVar("T")


class Talking(ScriptedModel):
    """Pauses before each piece. `said`: what of the last answer was taken; `whole`: whether that was all."""

    def __init__(self, *script: Any) -> None:
        super().__init__(script)
        self.said = ""
        self.whole = True

    async def stream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        self.said, self.whole = "", False
        async with aclosing(super().stream(request)) as pieces:
            async for piece in pieces:
                await asyncio.sleep(PAUSE_S)
                if isinstance(piece, str):
                    self.said += piece
                else:
                    self.whole = True
                yield piece


class Conversation:
    """A run with two parallel tools and one further one, text around them, and files in and out."""

    def __init__(self, store: ThreadStore, id: str) -> None:
        self.store = store
        self.id = id
        self.ran: Counter[str] = Counter()
        script = [
            calls(("slow", {"name": "a"}), ("fast", {"name": "b"}), content="let me look"),
            calls(("slow", {"name": "c"})),
            "all is done",
        ]
        self.model = Talking(*script)
        self.agent = Agent(model=self.model, tools=self.tools(), thread_store=store, file_store=store.file_store)
        message = Message(id=f"{id}-in", role="user", content="hello")
        message.add_attachment(Attachment(filename="in.txt", content=f"{id} asks".encode()))
        self.thread = Thread(id=id, messages=[message])

    def tools(self) -> list[Any]:
        @tool(effect="once")
        async def slow(name: str) -> str:
            self.ran[name] += 1
            await asyncio.sleep(PAUSE_S)
            return f"did {name}"

        @tool(effect="once")
        def fast(name: str) -> Attachment:
            self.ran[name] += 1
            return Attachment(filename="out.txt", content=f"{self.id} did {name}".encode())

        return [slow, fast]

    async def go(self) -> None:
        await self.agent.go(self.thread)

    async def check(self) -> None:
        """All is whole, and a new question gets its answer; what was cancelled does not run then."""
        if self.id not in {summary.id for summary in await self.store.list_threads()}:
            assert not self.ran, "ended before its input was stored"
            return
        stored = await self.store.get_thread(self.id)
        assert_whole(stored)
        assert self.thread.messages == stored.messages, "the object knows what is stored"
        spoken = [m for m in stored.messages if m.role == "assistant"]
        if self.model.said:
            assert spoken[-1].text == self.model.said
            assert self.model.whole or spoken[-1].metadata == {"interrupted": True}
        stored.add_message(Message(role="user", content="go on"))
        self.agent.model = ScriptedModel(["after"])
        result = await self.agent.go(stored, wait_s=2)
        assert result.content == "after"
        assert_whole(result.thread)
        assert all(times == 1 for times in self.ran.values()), f"ran twice: {self.ran}"
        await self.check_files(result.thread)

    async def check_files(self, thread: Thread) -> None:
        assert self.store.file_store is not None
        for attachment in (a for message in thread.messages for a in message.attachments):
            assert (await self.store.file_store.get(attachment.file_id)).startswith(self.id.encode())


def assert_whole(thread: Thread) -> None:
    """Each call has one result, in the store, not only in the view of it."""
    chats = [to_chat(message) for message in thread.messages]
    assert violations({"model": "m", "messages": chats}) == []
    results = Counter(m.tool_call_id for m in thread.messages if m.role == "tool")
    assert results == Counter(call.id for m in thread.messages for call in m.tool_calls)


async def ended(*tasks: "asyncio.Task[Any]") -> None:
    """They unwind in time, by a cancellation if anything."""
    started = monotonic()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert outcome is None or isinstance(outcome, asyncio.CancelledError), repr(outcome)
    assert monotonic() - started < UNWINDS_WITHIN_S


async def cancel(talk: Conversation, after_s: float) -> None:
    task = asyncio.create_task(talk.go())
    await asyncio.wait([task], timeout=after_s)
    task.cancel()
    await ended(task)


async def cancel_thrice(talk: Conversation, after_s: float) -> None:
    task = asyncio.create_task(talk.go())
    await asyncio.wait([task], timeout=after_s)
    for _ in range(3):
        task.cancel()
        await asyncio.wait([task], timeout=random.choice([0, PAUSE_S, 3 * PAUSE_S]))
    await ended(task)


async def run_out_of_time(talk: Conversation, after_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(after_s):
            await talk.go()


async def fail_beside_it(talk: Conversation, after_s: float) -> None:
    async def fail() -> None:
        await asyncio.sleep(after_s)
        raise ZeroDivisionError

    with suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(talk.go())
            group.create_task(fail())


async def read_until(talk: Conversation, after_s: float) -> AsyncGenerator[Event, None]:
    """The stream, as far as it came by then."""
    events = talk.agent.stream(talk.thread)
    deadline = monotonic() + after_s
    while monotonic() < deadline and await anext(events, None) is not None:
        pass
    return events


async def aclose(talk: Conversation, after_s: float) -> None:
    await (await read_until(talk, after_s)).aclose()


async def cancel_the_aclose(talk: Conversation, after_s: float) -> None:
    events = await read_until(talk, after_s)
    task = asyncio.create_task(events.aclose())
    for _ in range(2):
        await asyncio.wait([task], timeout=random.uniform(0, 5 * PAUSE_S))
        task.cancel()
    await ended(task)


async def leave_it_to_the_garbage_collector(talk: Conversation, after_s: float) -> None:
    before = asyncio.all_tasks()
    await read_until(talk, after_s)
    await asyncio.sleep(0)
    while left := asyncio.all_tasks() - before:
        await asyncio.wait(left)


async def cancel_one_of_many(talk: Conversation, after_s: float) -> None:
    other = Conversation(talk.store, f"{talk.id}-other")
    tasks = [asyncio.create_task(one.go()) for one in (other, talk)]
    await asyncio.wait(tasks, timeout=after_s)
    tasks[1].cancel()
    await ended(*tasks)
    assert other.ran == {"a": 1, "b": 1, "c": 1}
    await other.check()


async def cancel_all_of_many(talk: Conversation, after_s: float) -> None:
    other = Conversation(talk.store, f"{talk.id}-other")
    tasks = [asyncio.create_task(one.go()) for one in (other, talk)]
    together = asyncio.gather(*tasks)
    await asyncio.wait([together], timeout=after_s)
    together.cancel()
    with suppress(asyncio.CancelledError):
        await together  # ends with the first of them
    await ended(*tasks)
    await other.check()


async def cancel_who_waits(talk: Conversation, after_s: float) -> None:
    """Another run has the thread's turn; it goes on."""
    task = asyncio.create_task(talk.go())
    message = Message(id=f"{talk.id}-more", role="user", content="me too")
    other = Agent(model=ScriptedModel(["to you too"] * 2), thread_store=talk.store)
    waiting = asyncio.create_task(other.go(Thread(id=talk.id, messages=[message])))
    await asyncio.wait([waiting], timeout=after_s)
    waiting.cancel()
    await asyncio.wait([waiting])
    await task
    assert talk.ran == {"a": 1, "b": 1, "c": 1}
    async with talk.store.turn(talk.thread, wait_s=2):
        pass


WAYS = [
    cancel,
    cancel_thrice,
    run_out_of_time,
    fail_beside_it,
    aclose,
    cancel_the_aclose,
    leave_it_to_the_garbage_collector,
    cancel_one_of_many,
    cancel_all_of_many,
    cancel_who_waits,
]
Way = Callable[[Conversation, float], Awaitable[None]]


ROUNDS = [pytest.param(3), pytest.param(20, marks=pytest.mark.deep)]  # for each of the ten ways


async def opened(url: str | None, tmp_path: Path) -> ThreadStore:
    return await ThreadStore.create(url, file_store=await FileStore.create(tmp_path / "files"))


async def timed(store: ThreadStore) -> float:
    """How long a run takes that nobody ends."""
    talk = Conversation(store, "whole")
    started = monotonic()
    await talk.go()
    return monotonic() - started


@contextmanager
def noted(after_s: float, whole_s: float) -> Iterator[None]:
    """A failure says when the run was ended."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"ended {after_s * 1000:.1f} ms of {whole_s * 1000:.1f} ms after the start")
        raise


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("way", WAYS)
async def test_ended_at_random_instants(store_url: str | None, tmp_path: Path, way: Way, rounds: int) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    before = asyncio.all_tasks()
    async with await opened(store_url, tmp_path) as store:
        whole_s = await timed(store)
        with collected():
            for number in range(rounds):
                after_s = random.uniform(0, whole_s)
                with noted(after_s, whole_s):
                    talk = Conversation(store, f"t{number}")
                    await way(talk, after_s)
                    assert asyncio.all_tasks() <= before
                    assert checked_out(store) == 0
                    await talk.check()
    assert complaints == []


async def return_beside_it(talk: Conversation, after_s: float) -> None:
    task = asyncio.create_task(talk.go())
    await asyncio.wait([task], timeout=after_s)


async def raise_beside_it(talk: Conversation, after_s: float) -> None:
    await return_beside_it(talk, after_s)
    raise ZeroDivisionError


async def return_in_mid_stream(talk: Conversation, after_s: float) -> None:
    await read_until(talk, after_s)


# These loops end with the store open, and a driver cannot close a connection without its loop.
@pytest.mark.filterwarnings("ignore:unclosed .*:ResourceWarning")
@pytest.mark.parametrize("rounds", [pytest.param(5), pytest.param(70, marks=pytest.mark.deep)])
@pytest.mark.parametrize("way", [return_beside_it, raise_beside_it, return_in_mid_stream])
def test_the_loop_ends_at_random_instants(store_url: str | None, tmp_path: Path, way: Way, rounds: int) -> None:
    """asyncio.run cancels at its end whatever task it finds, those of our own too; the next one goes on."""
    complaints: list[dict[str, Any]] = []

    async def listening(work: Awaitable[T]) -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        return await work

    with collected():
        store = asyncio.run(opened(store_url, tmp_path))
        whole_s = asyncio.run(timed(store))
        for number in range(rounds):
            after_s = random.uniform(0, whole_s)
            with noted(after_s, whole_s):
                talk = Conversation(store, f"t{number}")
                with suppress(ZeroDivisionError):
                    started = monotonic()
                    asyncio.run(listening(way(talk, after_s)))
                assert monotonic() - started < whole_s + UNWINDS_WITHIN_S
                asyncio.run(listening(talk.check()))
        asyncio.run(store.close())
    assert complaints == []
