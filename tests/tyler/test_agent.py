"""The loop on every backend: what it stores, in which order, and what the result and the events say."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from narrator import Message, MessageConflict, Thread, ThreadBusy, ThreadStore, ToolCall, Usage
from narrator.errors import ConfigurationError, LeaseLost
from tests.model_server import violations
from tyler import (
    Agent,
    Budget,
    Event,
    Finished,
    MessageAdded,
    ModelUnavailable,
    NothingToAnswer,
    TextDelta,
    ToolContext,
    ToolFinished,
    ToolStarted,
)
from tyler.model import Reply, Request
from tyler.testing import ScriptedModel, calls


def said(text: str = "hello", id: str | None = None) -> Message:
    return Message(role="user", content=text) if id is None else Message(id=id, role="user", content=text)


def now() -> str:
    return "12:00"


def shape(thread: Thread) -> list[str]:
    """The thread in one line: role and text of each message."""
    return [f"{m.role}: {m.text or [call.name for call in m.tool_calls]}" for m in thread.messages]


async def other_reader(store: ThreadStore, store_url: str | None) -> ThreadStore:
    """A second store on the same database; in memory there is only the one."""
    return store if store_url is None else await ThreadStore.create(store_url)


async def test_an_answer_is_stored(store: ThreadStore) -> None:
    agent = Agent(model=ScriptedModel(["Hi there."]), thread_store=store)
    thread = Thread(id="t", messages=[said()])
    result = await agent.go(thread)
    assert (result.content, result.status, result.replayed) == ("Hi there.", "completed", False)
    assert result.thread is thread
    assert [m.text for m in result.new_messages] == ["Hi there."]
    assert result.new_messages[0] is thread.messages[1]
    stored = await store.get_thread("t")
    assert stored.messages == thread.messages
    assert shape(stored) == ["user: hello", "assistant: Hi there."]


async def test_text_makes_a_thread(store: ThreadStore) -> None:
    result = await Agent(model=ScriptedModel(["Hi."]), thread_store=store).go("hello")
    assert shape(await store.get_thread(result.thread.id)) == ["user: hello", "assistant: Hi."]


async def test_what_is_no_thread_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a Thread or text, not int"):
        await Agent(model=ScriptedModel([])).go(7)  # type: ignore[arg-type]


async def test_an_empty_thread_is_refused_and_not_stored(store: ThreadStore) -> None:
    with pytest.raises(NothingToAnswer, match=r"'t' is empty; thread\.add_message"):
        await Agent(model=ScriptedModel([]), thread_store=store).go(Thread(id="t"))
    assert await store.list_threads() == []


async def test_the_model_sees_the_purpose_and_the_earlier_turns(store: ThreadStore) -> None:
    model = ScriptedModel(["one", "two"])
    agent = Agent(purpose="To help.", model=model, thread_store=store)
    thread = Thread(messages=[said("first")])
    await agent.go(thread)
    thread.add_message(said("second"))
    await agent.go(thread)
    system = {"role": "system", "content": "To help."}
    first, one = {"role": "user", "content": "first"}, {"role": "assistant", "content": "one"}
    assert model.requests[1].messages == [system, first, one, {"role": "user", "content": "second"}]
    assert all(m.role != "system" for m in thread.messages)


async def test_tool_rounds_go_on_until_the_answer(store: ThreadStore) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    model = ScriptedModel([calls(("add", {"a": 1, "b": 2})), calls(("add", {"a": 3, "b": 3})), "6"])
    result = await Agent(model=model, tools=[add], thread_store=store).go("1 + 2 + 3?")
    stored = await store.get_thread(result.thread.id)
    expected = ["user: 1 + 2 + 3?", "assistant: ['add']", "tool: 3", "assistant: ['add']", "tool: 6", "assistant: 6"]
    assert shape(stored) == expected
    assert stored.messages[1:] == result.new_messages
    assert [r.tools[0]["function"]["name"] for r in model.requests] == ["add"] * 3
    model.assert_done()


async def test_results_stand_in_call_order_though_the_tools_end_in_another(store: ThreadStore) -> None:
    ended = {name: asyncio.Event() for name in "abcd"}
    order = "cadb"

    async def work(name: str) -> str:
        before = order[: order.index(name)]
        if before:
            await ended[before[-1]].wait()
        return name

    model = ScriptedModel([calls(*(("work", {"name": name}) for name in "abcd")), "done"])
    finished = []
    thread = Thread(id="t", messages=[said()])
    async for event in Agent(model=model, tools=[work], thread_store=store).stream(thread):
        if isinstance(event, ToolFinished):
            finished.append(event.result.content)
            ended[event.result.content].set()
    assert "".join(finished) == order
    assert [m.text for m in thread.messages if m.role == "tool"] == list("abcd")
    assert [m.text for m in (await store.get_thread("t")).messages if m.role == "tool"] == list("abcd")
    assert [m["content"] for m in model.requests[1].messages if m["role"] == "tool"] == list("abcd")


async def test_events_come_in_order_and_each_message_is_stored_before_its_event(
    store: ThreadStore, store_url: str | None
) -> None:
    def look(what: str) -> str:
        return f"saw {what}"

    model = ScriptedModel([calls(("look", {"what": "x"}), content="Let me look."), "It is x."])
    thread = Thread(id="t", messages=[said()])
    kinds: list[type[Event]] = []
    async with await other_reader(store, store_url) as reader:
        async for event in Agent(model=model, tools=[look], thread_store=store).stream(thread):
            kinds.append(type(event))
            stored = await reader.get_thread("t")
            if isinstance(event, MessageAdded):
                assert stored.messages[-1] == event.message
            if isinstance(event, ToolFinished):
                assert stored.messages[-1].tool_call_id == event.call.id
    assert kinds == [
        *[TextDelta] * 3, MessageAdded, ToolStarted, MessageAdded, ToolFinished,
        *[TextDelta] * 3, MessageAdded, Finished,
    ]  # fmt: skip


async def test_results_are_stored_though_nobody_reads_the_events(store: ThreadStore) -> None:
    """The reader of the stream may be slow (a browser, say): a result is stored when its tool ends all the same."""
    thread = Thread(id="t", messages=[said()])
    agent = Agent(model=ScriptedModel([calls(("now", {})), "done"]), tools=[now], thread_store=store)
    events = agent.stream(thread)
    async for event in events:
        if isinstance(event, ToolStarted):
            async with asyncio.timeout(10):
                while len((await store.get_thread("t")).messages) < 3:
                    await asyncio.sleep(0.01)
            break
    await events.aclose()


async def test_result_of_a_run_with_usage_and_a_length_limit(store: ThreadStore) -> None:
    used = Usage(input_tokens=10, output_tokens=2, cost_usd=0.5)
    asked = calls(("now", {}))
    asked = Reply(tool_calls=asked.tool_calls, usage=used)
    agent = Agent(
        model=ScriptedModel([asked, Reply(content="It is n", usage=used, finish="length")]),
        tools=[now],
        thread_store=store,
    )
    thread = Thread(id="t", messages=[said()])
    result = await agent.go(thread)
    assert (result.status, result.content) == ("cut", "It is n")
    assert result.usage == Usage(input_tokens=20, output_tokens=4, cost_usd=1.0)
    assert (await store.get_thread("t")).messages[-1].usage == used
    again = await agent.go(thread)
    assert (again.replayed, again.status, again.content, again.usage) == (True, "cut", "It is n", Usage())


async def test_a_delivered_message_gives_the_recorded_answer(store: ThreadStore) -> None:
    model = ScriptedModel([calls(("now", {})), "answered"])
    agent = Agent(model=model, tools=[now], thread_store=store)
    first = await agent.go(Thread(id="t", messages=[said("ping", id="evt-1")]))
    again = await agent.go(Thread(id="t", messages=[said("ping", id="evt-1")]))
    assert (again.replayed, again.content) == (True, "answered")
    assert again.new_messages == first.new_messages
    assert len((await store.get_thread("t")).messages) == 4
    model.assert_done()


async def test_a_delivered_message_gives_its_own_answer_after_later_turns(store: ThreadStore) -> None:
    agent = Agent(model=ScriptedModel(["one", "two"]), thread_store=store)
    await agent.go(Thread(id="t", messages=[said("a", id="evt-1")]))
    await agent.go(Thread(id="t", messages=[said("b", id="evt-2")]))
    await append(store, "t", Message(role="assistant", content="By the way, your ticket is closed."))
    loaded = await store.get_thread("t")
    for thread in (Thread(id="t"), loaded):
        for text, id, answer in (("a", "evt-1", "one"), ("b", "evt-2", "two")):
            thread.add_message(said(text, id=id))
            again = await agent.go(thread)
            assert (again.replayed, again.content) == (True, answer)
    assert len((await store.get_thread("t")).messages) == 5


async def test_the_same_id_with_other_content_is_a_conflict(store: ThreadStore) -> None:
    agent = Agent(model=ScriptedModel(["one"]), thread_store=store)
    await agent.go(Thread(id="t", messages=[said("a", id="evt-1")]))
    with pytest.raises(MessageConflict, match="'evt-1'"):
        await agent.go(Thread(id="t", messages=[said("b", id="evt-1")]))
    assert shape(await store.get_thread("t")) == ["user: a", "assistant: one"]


async def append(store: ThreadStore, id: str, message: Message) -> None:
    thread = await store.get_thread(id)
    thread.add_message(message)
    await store.save_thread(thread)


async def test_a_busy_thread_keeps_the_input_and_says_who_has_it(store: ThreadStore) -> None:
    asked, release = asyncio.Event(), asyncio.Event()

    async def wait() -> str:
        asked.set()
        await release.wait()
        return "waited"

    agent = Agent(model=ScriptedModel([calls(("wait", {})), "one", "two"]), tools=[wait], thread_store=store)
    first = asyncio.create_task(agent.go(Thread(id="t", messages=[said("a")])))
    await asked.wait()
    second = Thread(id="t", messages=[said("b")])
    with pytest.raises(ThreadBusy, match="process"):
        await agent.go(second, wait_s=0.05)
    assert shape(await store.get_thread("t"))[-1] == "user: b"
    release.set()
    assert (await first).content == "one"
    assert (await agent.go(second)).content == "two"
    expected = ["user: a", "assistant: ['wait']", "tool: waited", "assistant: one", "user: b", "assistant: two"]
    assert shape(await store.get_thread("t")) == expected


async def test_a_second_go_waits_for_the_first(store: ThreadStore) -> None:
    asked, release = asyncio.Event(), asyncio.Event()

    async def wait() -> str:
        asked.set()
        await release.wait()
        return "waited"

    agent = Agent(model=ScriptedModel([calls(("wait", {})), "one", "two"]), tools=[wait], thread_store=store)
    first = asyncio.create_task(agent.go(Thread(id="t", messages=[said("a")])))
    await asked.wait()
    second = asyncio.create_task(agent.go(Thread(id="t", messages=[said("b")])))
    async with asyncio.timeout(10):
        while len((await store.get_thread("t")).messages) < 3:  # its input is stored before it waits
            await asyncio.sleep(0.01)
    release.set()
    assert ((await first).content, (await second).content) == ("one", "two")


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize("moment", ["model", "tool"])
async def test_what_others_append_in_mid_run_stays_behind(store: ThreadStore, moment: str, role: Any) -> None:
    """An operator's note (assistant) must neither hide open calls nor pass for this run's answer."""
    late = Message(role=role, content="meanwhile")

    async def look() -> str:
        if moment == "tool":
            await append(store, "t", late)
        return "looked"

    class Model(ScriptedModel):
        async def stream(self, request: Request) -> Any:
            if moment == "model" and not self.requests:
                await append(store, "t", late)
            async for piece in super().stream(request):
                yield piece

    model = Model([calls(("look", {}), ("look", {})), "answer", "second answer"])
    model._script[0] = calls(("look", {}))
    agent = Agent(model=model, tools=[look], thread_store=store)
    thread = Thread(id="t", messages=[said("a")])
    result = await agent.go(thread)
    assert (result.content, result.status) == ("answer", "completed")
    expected = ["user: a", "assistant: ['look']", "tool: looked", "assistant: answer", f"{role}: meanwhile"]
    assert shape(await store.get_thread("t")) == shape(thread) == expected
    assert "meanwhile" not in [m.get("content") for request in model.requests for m in request.messages]
    if role == "user":
        assert (await agent.go(thread)).content == "second answer"
        assert model.requests[-1].messages[-1] == {"role": "user", "content": "meanwhile"}
        assert shape(await store.get_thread("t"))[-2:] == ["user: meanwhile", "assistant: second answer"]


async def test_a_hundred_conversations_on_one_agent_do_not_see_each_other(store: ThreadStore) -> None:
    def echo(request: Request) -> str | Reply:
        users = [m["content"] for m in request.messages if m["role"] == "user"]
        if request.messages[-1]["role"] == "user":
            return calls(("note", {"text": users[-1]}))
        return f"heard {users}"

    noted: dict[str, str] = {}

    async def note(text: str, ctx: ToolContext) -> str:
        noted[ctx.thread_id] = text
        await asyncio.sleep(0)
        return text

    agent = Agent(model=ScriptedModel([echo] * 200), tools=[note], thread_store=store)
    results = await asyncio.gather(*(agent.go(Thread(id=f"t{i}", messages=[said(f"I am {i}")])) for i in range(100)))
    assert [r.content for r in results] == [f"heard ['I am {i}']" for i in range(100)]
    assert noted == {f"t{i}": f"I am {i}" for i in range(100)}
    for i in (0, 99):
        assert all(str(i) in line or "note" in line for line in shape(await store.get_thread(f"t{i}")))


@pytest.mark.parametrize("loops", [2])
def test_one_agent_in_several_event_loops(loops: int, store_url: str | None) -> None:
    async def opened() -> ThreadStore:
        store = await ThreadStore.create(store_url)
        await store.close()
        return store

    store = asyncio.run(opened())
    agent = Agent(model=ScriptedModel([f"answer {i}" for i in range(loops)]), thread_store=store)

    async def turn(number: int) -> Thread:
        async with store:
            thread = await store.get_thread("t") if number else Thread(id="t")
            thread.add_message(said(f"question {number}"))
            await agent.go(thread)
            return thread

    threads = [asyncio.run(turn(number)) for number in range(loops)]
    assert shape(threads[-1]) == ["user: question 0", "assistant: answer 0", "user: question 1", "assistant: answer 1"]


async def test_without_a_store_the_thread_object_holds_everything() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    thread = Thread(messages=[said("1 + 2?")])
    agent = Agent(
        model=ScriptedModel([calls(("add", {"a": 1, "b": 2}), ("add", {"a": 0, "b": 0})), "3", "4"]), tools=[add]
    )
    result = await agent.go(thread)
    assert (result.content, len(result.new_messages)) == ("3", 4)
    assert shape(thread)[2:] == ["tool: 3", "tool: 0", "assistant: 3"]
    assert (await agent.go(thread)).replayed
    thread.add_message(said("and?"))
    assert (await agent.go(thread)).content == "4"


async def test_a_view_of_one_owner_answers_its_threads_only(store: ThreadStore) -> None:
    ann = store.for_owner("ann")
    result = await Agent(model=ScriptedModel(["Hi Ann."]), thread_store=ann).go(Thread(id="t", messages=[said()]))
    assert result.thread.owner == "ann"
    assert shape(await ann.get_thread("t")) == ["user: hello", "assistant: Hi Ann."]
    bob = Agent(model=ScriptedModel(["Hi Bob."]), thread_store=store.for_owner("bob"))
    await bob.go(Thread(id="t", messages=[said()]))
    assert len((await ann.get_thread("t")).messages) == 2
    with pytest.raises(PermissionError, match="ann"):
        await bob.go(await ann.get_thread("t"))


async def test_a_failing_model_leaves_the_thread_with_its_input_alone(store: ThreadStore) -> None:
    agent = Agent(model=ScriptedModel([ModelUnavailable("away"), "back"]), thread_store=store)
    thread = Thread(id="t", messages=[said()])
    with pytest.raises(ModelUnavailable, match="away"):
        await agent.go(thread)
    assert shape(thread) == shape(await store.get_thread("t")) == ["user: hello"]
    assert (await agent.go(thread)).content == "back"


async def test_input_that_someone_removes_before_its_turn(store: ThreadStore) -> None:
    thread = Thread(id="t", messages=[said("a"), said("b")])
    await store.save_thread(thread)
    async with store.turn(await store.get_thread("t")):
        waiting = asyncio.create_task(
            Agent(model=ScriptedModel([]), thread_store=store).go(Thread(id="t", messages=[said("c", id="c")]))
        )
        async with asyncio.timeout(10):
            while (await store.get_thread("t")).messages[-1].id != "c":
                await asyncio.sleep(0.01)
        other = await store.get_thread("t")
        del other.messages[-1]
        await store.save_thread(other)
    with pytest.raises(NothingToAnswer, match="'c' was removed by someone else"):
        await waiting


async def test_a_thread_of_orphan_results_is_refused_before_the_model_is_asked() -> None:
    thread = Thread(messages=[Message(role="tool", content="x", tool_call_id="gone")])
    with pytest.raises(NothingToAnswer, match="no message that a model could read"):
        await Agent(model=ScriptedModel([])).go(thread)


async def test_repeated_call_ids_in_one_message_are_run_once(store: ThreadStore) -> None:
    ran = []

    def note(text: str) -> str:
        ran.append(text)
        return text

    twins = [ToolCall(id="c", name="note", arguments=f'{{"text": "{t}"}}') for t in "ab"]
    model = ScriptedModel([Reply(tool_calls=twins), "done"])
    result = await Agent(model=model, tools=[note], thread_store=store).go("go")
    assert (result.content, ran) == ("done", ["a"])
    assert violations({"model": "m", "messages": model.requests[1].messages}) == []


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (Agent, "needs a model"),
        (lambda: Agent(model_name="gpt-4", model=ScriptedModel([])), "not both"),
        (lambda: Agent(model=ScriptedModel([]), budget=Budget(steps=0)), "the budget's steps is 0"),
    ],
)
def test_an_agent_that_cannot_work_is_refused_at_once(make: Callable[[], Agent], what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        make()


async def test_a_store_that_fails_while_tools_run_ends_the_others(tmp_path: Any) -> None:
    """The error is raised; nothing goes on running behind the caller's back."""
    cancelled = asyncio.Event()
    store = await ThreadStore.create(f"sqlite+aiosqlite:///{tmp_path}/a.db")

    async def fail() -> str:
        thread = await store.get_thread("t")
        await store.delete_thread(thread.id)
        return "x"

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    agent = Agent(
        model=ScriptedModel([calls(("fail", {}), ("forever", {}))]), tools=[fail, forever], thread_store=store
    )
    async with store:
        with pytest.raises(LeaseLost, match="deleted"):
            await agent.go(Thread(id="t", messages=[said()]))
        assert cancelled.is_set()
