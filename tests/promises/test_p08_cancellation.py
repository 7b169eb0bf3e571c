"""P8: whoever cancels gets a thread that is whole: open calls closed, partial text kept, the next go works."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any

import pytest

from narrator import Message, Thread, ThreadStore
from tests.connections import checked_out
from tests.garbage import collected
from tests.model_server import violations
from tyler import Agent, MessageAdded, TextDelta, ToolStarted, tool
from tyler._run import CANCELLED, CANCELLED_UNKNOWN
from tyler.model import Request
from tyler.testing import ScriptedModel, calls
from tyler.wire import to_chat

UNWINDS_WITHIN_S = 2.0


@pytest.fixture(autouse=True)
async def nothing_is_left_behind(store: ThreadStore) -> AsyncIterator[None]:
    """No task, no exception that nobody saw, no connection that is still checked out."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    before = asyncio.all_tasks()
    with collected():  # "never awaited" and "never retrieved" are said when the objects go
        yield
        async with asyncio.timeout(5):
            while asyncio.all_tasks() - before - {asyncio.current_task()}:
                await asyncio.sleep(0.01)
        assert checked_out(store) == 0
    assert complaints == []


def question(id: str = "t") -> Thread:
    return Thread(id=id, messages=[Message(role="user", content="hello")])


class Endless(ScriptedModel):
    """Says a few words, then hangs; `said` is set when it does."""

    def __init__(self, words: str = "some words", **fields: Any) -> None:
        super().__init__(["whole"], **fields)
        self.words: str | None = words
        self.said = asyncio.Event()

    async def stream(self, request: Request) -> Any:
        if self.words is None:
            async for piece in super().stream(request):
                yield piece
            return
        words, self.words = self.words, None
        for word in words.split():
            yield word + " "
        self.said.set()
        await asyncio.Event().wait()


async def cancelled(task: "asyncio.Task[Any]") -> None:
    started = monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert monotonic() - started < UNWINDS_WITHIN_S


def assert_whole(thread: Thread) -> None:
    """Each call has one result, in the store, not only in the view of it."""
    chats = [to_chat(message) for message in thread.messages]
    assert violations({"model": "m", "messages": chats}) == []


async def test_partial_text_is_kept_and_marked(store: ThreadStore) -> None:
    model = Endless()
    agent = Agent(model=model, thread_store=store)
    thread = question()
    task = asyncio.create_task(agent.go(thread))
    await model.said.wait()
    await cancelled(task)
    partial = (await store.get_thread("t")).messages[-1]
    assert (partial.role, partial.text, partial.metadata) == ("assistant", "some words ", {"interrupted": True})
    assert thread.messages[-1] == partial
    assert (await agent.go(thread)).content == "whole"
    assert model.requests[-1].messages == [{"role": "user", "content": "hello"}]
    assert [m.text for m in (await store.get_thread("t")).messages] == ["hello", "some words ", "whole"]


async def test_nothing_is_kept_of_an_answer_that_did_not_begin(store: ThreadStore) -> None:
    model = Endless(words="")
    task = asyncio.create_task(Agent(model=model, thread_store=store).go(question()))
    await model.said.wait()
    await cancelled(task)
    assert len((await store.get_thread("t")).messages) == 1


async def leave_by_break(agent: Agent, thread: Thread, at: Callable[[Any], bool]) -> None:
    async for event in agent.stream(thread):
        if at(event):
            break


async def leave_by_aclose(agent: Agent, thread: Thread, at: Callable[[Any], bool]) -> None:
    events = agent.stream(thread)
    async for event in events:
        if at(event):
            await events.aclose()


async def leave_by_exception(agent: Agent, thread: Thread, at: Callable[[Any], bool]) -> None:
    async def consume() -> None:
        async for event in agent.stream(thread):
            if at(event):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await consume()


Leave = Callable[[Agent, Thread, Callable[[Any], bool]], Awaitable[None]]


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_aclose, leave_by_exception])
async def test_a_dropped_consumer_keeps_partial_text(store: ThreadStore, leave: Leave) -> None:
    model = Endless()
    agent = Agent(model=model, thread_store=store)
    await leave(agent, question(), lambda event: isinstance(event, TextDelta))
    result = await agent.go(await store.get_thread("t"))  # waits for the turn that the dropped run gives back
    assert [m.text for m in result.thread.messages] == ["hello", "some ", "whole"]


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_aclose, leave_by_exception])
@pytest.mark.parametrize(("at", "told"), [(MessageAdded, CANCELLED), (ToolStarted, CANCELLED_UNKNOWN)])
async def test_a_dropped_consumer_closes_the_calls(store: ThreadStore, leave: Leave, at: Any, told: str) -> None:
    ran = 0

    async def wait() -> None:
        nonlocal ran
        ran += 1
        await asyncio.Event().wait()

    agent = Agent(model=ScriptedModel([calls(("wait", {}), ("wait", {})), "next"]), tools=[wait], thread_store=store)
    await leave(agent, question(), lambda event: isinstance(event, at))
    result = await agent.go(await store.get_thread("t"))
    assert result.content == "next"
    assert [m.text for m in result.thread.messages if m.role == "tool"] == [told] * 2
    assert ran == (0 if told == CANCELLED else ran)
    assert_whole(result.thread)


async def test_a_run_cut_by_a_timeout_keeps_what_ended_and_says_what_is_unknown(store: ThreadStore) -> None:
    hanging = asyncio.Event()

    async def quick() -> str:
        await hanging.wait()
        return "quick result"

    async def hang() -> None:
        hanging.set()
        await asyncio.Event().wait()

    model = ScriptedModel([calls(("hang", {}), ("quick", {})), "next"])
    agent = Agent(model=model, tools=[quick, hang], thread_store=store)
    thread = question()

    async def run_out_of_time() -> None:
        async with asyncio.timeout(10) as deadline:
            async for event in agent.stream(thread):
                if isinstance(event, MessageAdded) and event.message.text == "quick result":
                    deadline.reschedule(asyncio.get_running_loop().time())

    with pytest.raises(TimeoutError):
        await run_out_of_time()
    results = [m for m in (await store.get_thread("t")).messages if m.role == "tool"]
    assert [m.text for m in results] == [CANCELLED_UNKNOWN, "quick result"]
    assert [m.metadata for m in results] == [{"failed": True}, {"touches": ["private"]}]
    result = await agent.go(thread)
    assert result.content == "next"
    assert_whole(result.thread)


async def test_a_tool_that_ignores_its_cancellation_holds_nobody_up(store: ThreadStore) -> None:
    started, release, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn() -> str:
        started.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        ended.set()
        return "too late"

    agent = Agent(model=ScriptedModel([calls(("stubborn", {})), "next"]), tools=[stubborn], thread_store=store)
    thread = question()
    task = asyncio.create_task(agent.go(thread))
    await started.wait()
    await cancelled(task)
    release.set()
    await ended.wait()
    assert (await agent.go(thread)).content == "next"
    stored = await store.get_thread("t")
    assert [m.text for m in stored.messages if m.role == "tool"] == [CANCELLED_UNKNOWN]


async def test_a_waiting_go_can_be_cancelled_and_its_input_stays(store: ThreadStore) -> None:
    agent = Agent(model=ScriptedModel(["one"]), thread_store=store)
    await store.save_thread(question())
    async with store.turn(await store.get_thread("t")):
        thread = Thread(id="t", messages=[Message(id="m2", role="user", content="more")])
        task = asyncio.create_task(agent.go(thread))
        async with asyncio.timeout(10):
            while len((await store.get_thread("t")).messages) < 2:
                await asyncio.sleep(0.01)
        await cancelled(task)
    assert (await agent.go(thread, wait_s=1)).content == "one"


async def test_cancelled_without_a_store() -> None:
    started = asyncio.Event()

    async def wait() -> None:
        started.set()
        await asyncio.Event().wait()

    thread = question()
    task = asyncio.create_task(Agent(model=ScriptedModel([calls(("wait", {}))]), tools=[wait]).go(thread))
    await started.wait()
    await cancelled(task)
    assert thread.messages[-1].text == CANCELLED_UNKNOWN


async def one_conversation(store: ThreadStore, id: str, steps: int) -> None:
    """A run with two parallel tools and one further one, cancelled after so many steps of the event loop."""
    ran: list[str] = []

    @tool(effect="once")
    async def slow(name: str) -> str:
        ran.append(name)
        await asyncio.sleep(0.005)
        return f"did {name}"

    def fast(name: str) -> str:
        ran.append(name)
        return f"did {name}"

    script = [calls(("slow", {"name": "a"}), ("fast", {"name": "b"})), calls(("slow", {"name": "c"})), "all is done"]
    agent = Agent(model=ScriptedModel([*script, *["after"] * 3]), tools=[slow, fast], thread_store=store)
    thread = question(id)
    task = asyncio.create_task(agent.go(thread))
    for _ in range(steps):
        await asyncio.sleep(0)
    cancelled_at = monotonic()
    task.cancel()
    await asyncio.wait([task])
    assert monotonic() - cancelled_at < UNWINDS_WITHIN_S
    await check_afterwards(store, agent, thread, ran)


async def check_afterwards(store: ThreadStore, agent: Agent, thread: Thread, ran: list[str]) -> None:
    effects = list(ran)
    if thread.id not in {summary.id for summary in await store.list_threads()}:
        return  # cancelled before its input was stored
    stored = await store.get_thread(thread.id)
    assert_whole(stored)  # open calls are closed, none is left for the next run
    assert thread.messages == stored.messages, "the object knows what is stored"
    told = [m.text for m in stored.messages if m.role == "tool"]
    assert len(told) == len(set(told)) or told.count(CANCELLED_UNKNOWN) + told.count(CANCELLED) > 1
    agent.model = ScriptedModel(["after"])
    if any(m.role == "assistant" for m in stored.messages) or stored.messages[-1].role == "user":
        stored.add_message(Message(role="user", content="go on"))
        result = await agent.go(stored, wait_s=2)
        assert result.content == "after"
        assert_whole(result.thread)
    assert sorted(set(effects)) == sorted(effects), "a tool ran twice"
    assert ran == effects or set(ran) - set(effects) <= {"b"}, "a cancelled call was run later"


async def test_cancelled_after_each_step_of_the_event_loop(store: ThreadStore) -> None:
    for steps in range(0, 120, 4):
        await one_conversation(store, f"s{steps}", steps)


async def test_a_cancelled_write_of_calls_still_closes_them(store: ThreadStore) -> None:
    """The assistant message is committed, and only then the cancellation leaves: its calls are closed too."""
    model = ScriptedModel([calls(("never", {}))])

    async def never() -> None:
        raise AssertionError("a cancelled call must not run")

    agent = Agent(model=model, tools=[never], thread_store=store)
    for number in range(20):
        model._script = [calls(("never", {}))]
        thread = question(f"t{number}")
        task = asyncio.create_task(agent.go(thread))
        while len(model.requests) <= number:
            await asyncio.sleep(0)
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        stored = await store.get_thread(thread.id)
        assert_whole(stored)
        assert thread.messages == stored.messages
