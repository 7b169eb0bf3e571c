"""replay: what it finds in a stored conversation when the agent has changed, and that it finds nothing when not."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narrator import Attachment, FileStore, Message, Thread, ThreadStore, ToolCall, Usage
from tyler import Agent, Budget, Reply, ToolContext, ToolResult, tool
from tyler._run import CANCELLED
from tyler._tool_calls import UNKNOWN_OUTCOME
from tyler.context import ContextWindow
from tyler.testing import ScriptedModel, StandIn, calls, replay, script_of
from tyler.wire import valid_chat

RUN: list[str] = []  # the tools that were really run


@pytest.fixture(autouse=True)
def _nothing_run() -> None:
    RUN.clear()


@tool(effect="read")
def status(order: int) -> str:
    """Where an order is."""
    RUN.append(f"status {order}")
    return f"order {order} is in the post"


@tool
def refund(order: int, cents: int) -> str:
    """Give money back."""
    RUN.append(f"refund {order}")
    raise RuntimeError("the bank is closed")


def clerk(*tools: Any, purpose: str = "To help", model: Any = None, **more: Any) -> Agent:
    return Agent(name="clerk", model=model or ScriptedModel([]), purpose=purpose, tools=tools, **more)


def user(text: str) -> Message:
    return Message(role="user", content=text)


async def recorded(store: ThreadStore, tools: list[Any], *turns: tuple[str, list[Any]], **more: Any) -> Thread:
    """A conversation as a real agent leaves it in the store."""
    thread = Thread(id="ticket-1", messages=[Message(role="system", content="The customer is Ann.")])
    for text, script in turns:
        thread.add_message(user(text))
        await clerk(*tools, model=ScriptedModel(script), thread_store=store, **more).go(thread)
    RUN.clear()
    return await store.get_thread(thread.id)


async def whole(store: ThreadStore) -> Thread:
    return await recorded(
        store,
        [status, refund],
        ("Where are 7 and 8?", [calls(("status", {"order": 7}), ("status", {"order": 8})), "In the post."]),
        (
            "Then give me my money back.",
            [calls(("refund", {"order": 7, "cents": 50}), content="Hm."), "The bank is closed."],
        ),
        ("What?", [calls(("statos", {}), ("status", {"order": "x"})), Reply(content="Sor", finish="length")]),
    )


async def test_an_unchanged_agent_gets_through_as_recorded_and_nothing_is_run(store: ThreadStore) -> None:
    thread = await whole(store)
    before = thread.model_dump_json()
    agent = clerk(status, refund, thread_store=store)
    report = await replay(thread, agent)
    report.assert_same()
    assert report.same
    assert RUN == []
    assert len(report.requests) == 6
    assert [m["role"] for m in report.requests[2].messages] == [
        *("system", "system", "user", "assistant", "tool", "tool", "assistant", "user")
    ]
    assert thread.model_dump_json() == before == (await store.get_thread("ticket-1")).model_dump_json()
    assert agent.thread_store is store
    assert agent.tools_by_name == {"status": status, "refund": refund}
    assert isinstance(agent.model, ScriptedModel)


async def test_the_requests_are_those_of_the_agent_of_today(store: ThreadStore) -> None:
    thread = await whole(store)
    report = await replay(thread, clerk(status, refund, purpose="To be brief"))
    assert {request.messages[0]["content"] for request in report.requests} == {"To be brief"}
    assert {len(request.tools) for request in report.requests} == {2}


async def test_a_tool_that_is_gone_is_told_and_the_conversation_goes_on(store: ThreadStore) -> None:
    report = await replay(await whole(store), clerk(refund))
    kinds = [(d.kind, d.exchange) for d in report.differences]
    assert kinds == [("tool", 1), ("tool", 1), ("tool", 3)]
    assert 'status({"order": 7})' in str(report.differences[0])
    assert "+ the agent has no such tool" in str(report.differences[0])
    assert {tool["function"]["name"] for request in report.requests for tool in request.tools} == {"refund"}
    assert len(report.requests) == 6


async def test_arguments_that_do_not_fit_any_more_are_told_with_the_reason(store: ThreadStore) -> None:
    @tool(name="status")
    def newer(order: int, country: str) -> str:
        """Where an order is."""
        return "never run"

    report = await replay(await whole(store), clerk(newer, refund))
    assert [(d.kind, d.exchange) for d in report.differences] == [("arguments", 1), ("arguments", 1)]
    assert "country: required, but missing" in str(report.differences[0])


async def test_what_was_refused_then_and_would_be_run_now_is_told(store: ThreadStore) -> None:
    @tool(name="status")
    def lenient(order: int | str) -> str:
        """Where an order is."""
        return "never run"

    @tool(name="statos")
    def statos() -> str:
        """Be there now."""
        return "never run"

    report = await replay(await whole(store), clerk(lenient, statos, refund))
    assert [(d.kind, d.exchange) for d in report.differences] == [("tool", 3), ("arguments", 3)]
    assert "+ the call would be run" in str(report.differences[1])


async def test_only_named_tools_are_run_and_their_results_compared(store: ThreadStore) -> None:
    thread = await whole(store)
    report = await replay(thread, clerk(status, refund), run_tools=["status"])
    report.assert_same()
    assert sorted(RUN) == ["status 7", "status 8"]

    @tool(name="status")
    def changed(order: int) -> str:
        """Where an order is."""
        return f"order {order} has arrived"

    report = await replay(thread, clerk(changed, refund), run_tools=[changed, "refund"])
    assert [(d.kind, d.exchange) for d in report.differences] == [("result", 1), ("result", 1)]
    with pytest.raises(AssertionError) as caught:
        report.assert_same()
    assert "2 differences" in str(caught.value)
    assert "    - order 7 is in the post\n    + order 7 has arrived" in str(caught.value)
    assert report.requests[1].messages[-1]["content"] == "order 8 has arrived"
    later = [m["content"] for m in report.requests[2].messages if m["role"] == "tool"]
    assert later == ["order 7 is in the post", "order 8 is in the post"]  # what follows starts from the record
    assert "refund 7" in RUN  # it failed then and fails now, in the same words


async def test_a_result_differs_by_failure_and_files_too(tmp_path: Path) -> None:
    def draw() -> ToolResult:
        """Draw."""
        return ToolResult("drawn", [Attachment(filename="b.txt", content="b")])

    thread = (await clerk(draw, model=ScriptedModel([calls(("draw", {})), "ok"])).go("draw")).thread
    (await replay(thread, clerk(draw), run_tools=["draw"])).assert_same()

    @tool(name="draw")
    def failing() -> ToolResult:
        """Draw."""
        return ToolResult("drawn", [Attachment(filename="b.txt", content="b")], failed=True)

    @tool(name="draw")
    def other() -> ToolResult:
        """Draw."""
        return ToolResult("drawn", [Attachment(filename="b.txt", content="c")])

    for changed in (failing, other):
        (found,) = (await replay(thread, clerk(changed), run_tools=["draw"])).differences
        assert found.kind == "result"
        assert found.recorded != found.now


async def test_a_difference_at_the_end_of_a_long_result_is_shown() -> None:
    @tool(name="f")
    def f() -> str:
        """Tell."""
        return "x" * 50_000 + "old" + "y" * 10_000

    @tool(name="f")
    def g() -> str:
        """Tell."""
        return "x" * 50_000 + "new\x1b[2J" + "y" * 10_000

    thread = (await clerk(f, model=ScriptedModel([calls(("f", {})), "ok"])).go("tell")).thread
    report = await replay(thread, clerk(g), run_tools=["f"])
    text = str(report)
    assert "xold" in text
    assert "xnew\\x1b[2J" in text
    assert len(text) < 5_000
    assert "\x1b" not in text + repr(report)


async def test_tools_that_are_run_get_the_threads_names_what_the_caller_passes_and_no_store(store: ThreadStore) -> None:
    seen: list[ToolContext] = []

    def look(ctx: ToolContext) -> str:
        """Look."""
        seen.append(ctx)
        return "seen"

    files = await FileStore.create()
    thread = Thread(id="t", owner="ann", messages=[user("look")])
    await clerk(look, model=ScriptedModel([calls(("look", {})), "ok"]), thread_store=store).go(thread)
    agent = clerk(look, thread_store=store, file_store=files)
    seen.clear()
    (await replay(thread, agent, run_tools=["look"], deps={"a": 1})).assert_same()
    (ctx,) = seen
    assert (ctx.thread_id, ctx.owner, ctx.deps, ctx.thread_store) == ("t", "ann", {"a": 1}, None)
    assert ctx.file_store is not None
    assert ctx.file_store is not files


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"run_tools": ["sttus"]}, ValueError, "'sttus'.*'refund', 'status'"),
        ({"run_tools": "status"}, TypeError, r"run_tools=\['status'\]"),
        ({"model": ScriptedModel([])}, TypeError, "model"),
        ({"nonsense": 1}, TypeError, "'nonsense'"),
    ],
)
async def test_wrong_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    thread = Thread(messages=[user("a"), Message(role="assistant", content="b")])
    with pytest.raises(error, match=words):
        await replay(thread, clerk(status, refund), **arguments)
    with pytest.raises(TypeError, match="get_thread"):
        await replay("ticket-1", clerk())  # type: ignore[arg-type]


async def test_a_smaller_budget_ends_the_run_before_the_record(store: ThreadStore) -> None:
    report = await replay(await whole(store), clerk(status, refund, budget=Budget(steps=1)))
    assert [(d.kind, d.exchange) for d in report.differences] == [("missing_request", n) for n in (1, 2, 3)]
    assert "'step_limit' after 1 of 2 requests" in str(report.differences[0])
    calls_limited = await replay(await whole(store), clerk(status, refund), budget=Budget(tool_calls=1))
    assert ("result", 1) in [(d.kind, d.exchange) for d in calls_limited.differences]
    assert "used up its 1 tool calls" in str(calls_limited)


async def test_an_error_of_the_run_is_told_and_the_next_exchange_is_replayed() -> None:
    thread = Thread(messages=[Message(role="system", content=""), Message(role="assistant", content="a"), user("b")])
    thread.add_message(Message(role="assistant", content="c"))
    report = await replay(thread, clerk(purpose=""))
    (found,) = report.differences
    assert (found.kind, found.exchange) == ("error", 1)
    assert "NothingToAnswer" in found.what
    assert len(report.requests) == 1


class Twice(Agent):
    """Asks once more than the record has answers: as one that checks its answers would."""

    async def go(self, thread: Any, **options: Any) -> Any:
        await super().go(thread, **options)
        thread.add_message(user("Are you sure?"))
        return await super().go(thread, **options)


async def test_a_request_too_many_is_told() -> None:
    thread = Thread(messages=[user("a"), Message(role="assistant", content="b")])
    (found,) = (await replay(thread, Twice(model=ScriptedModel([])))).differences
    assert found.kind == "extra_request"
    assert "the user message 'Are you sure?'" in found.what


class Bare(Agent):
    """Offers no tools in its requests, though it has them."""

    def _setup(self, options: Any, output: Any, thread: Any) -> Any:
        setup = super()._setup(options, output, thread)
        for played in setup.tools.values():
            object.__setattr__(played, "definition", lambda: {"type": "function", "function": {"name": "other"}})
        return setup


async def test_a_tool_whose_definition_is_missing_in_the_request_is_told(store: ThreadStore) -> None:
    report = await replay(await whole(store), Bare(model=ScriptedModel([]), tools=[status, refund]))
    assert [(d.kind, d.exchange) for d in report.differences] == [
        *[("definition", 1)] * 2,
        ("definition", 2),
        ("definition", 3),
    ]


# -- records with scars ----------------------------------------------------------------------------


async def test_an_interrupted_answer_and_its_second_try(store: ThreadStore) -> None:
    agent = clerk(
        status, model=ScriptedModel([calls(("status", {"order": 7})), "cut short", "whole"]), thread_store=store
    )
    thread = Thread(id="ticket-1", messages=[user("Where is 7?")])
    stream = agent.stream(thread)
    async for event in stream:
        if getattr(event, "text", None):
            break
    await stream.aclose()
    await agent.go(thread)
    thread = await store.get_thread("ticket-1")
    assert [m.text for m in thread.messages if m.role == "assistant"] == ["", "cut", "whole"]
    report = await replay(thread, clerk(status))
    report.assert_same()
    assert len(report.requests) == 2
    assert "interrupted answer, which was asked for anew" in str(report)
    assert [line.content for line in script_of(thread) if isinstance(line, Reply)] == [None, "whole"]


async def test_an_interrupted_answer_that_was_given_up_stands_before_the_next_input() -> None:
    cut = Message(role="assistant", content="Once upon", metadata={"interrupted": True})
    thread = Thread(messages=[user("a story"), cut, user("never mind"), Message(role="assistant", content="fine")])
    report = await replay(thread, clerk())
    report.assert_same()
    (request,) = report.requests
    assert [m["content"] for m in request.messages[1:]] == ["a story", "Once upon", "never mind"]


async def test_closed_calls_are_not_run_and_the_run_ends_where_it_was_stopped(store: ThreadStore) -> None:
    started = asyncio.Event()

    @tool
    async def slow() -> str:
        """Take long."""
        RUN.append("slow")
        started.set()
        await asyncio.sleep(60)
        return "never"

    agent = clerk(slow, model=ScriptedModel([calls(("slow", {})), "fine"]), thread_store=store)
    thread = Thread(id="ticket-1", messages=[user("do it")])
    task = asyncio.create_task(agent.go(thread))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    thread = await store.get_thread("ticket-1")
    RUN.clear()
    report = await replay(thread, clerk(slow), run_tools=["slow"])
    report.assert_same()
    assert "whether it had an effect is unknown" in str(report)
    thread.add_message(user("and now?"))
    await agent.go(thread)
    report = await replay(thread, clerk(slow), run_tools=["slow"])
    report.assert_same()
    assert RUN == []
    assert len(report.requests) == 2


async def test_calls_beyond_the_budget_and_the_go_that_went_on(store: ThreadStore) -> None:
    thread = Thread(id="ticket-1", messages=[user("both")])
    script = ScriptedModel([calls(("status", {"order": 1}), ("status", {"order": 2})), "one of them"])
    agent = clerk(status, model=script, thread_store=store, budget=Budget(tool_calls=1))
    assert (await agent.go(thread)).status == "tool_call_limit"
    assert (await agent.go(thread)).status == "completed"
    for budget in (Budget(tool_calls=1), Budget()):
        (await replay(await store.get_thread("ticket-1"), clerk(status), budget=budget)).assert_same()


async def test_a_call_that_failed_three_times_and_the_go_that_went_on(store: ThreadStore) -> None:
    thread = Thread(id="ticket-1", messages=[user("refund")])
    script = ScriptedModel([*[calls(("refund", {"order": 1, "cents": 2})) for _ in range(3)], "I give up."])
    agent = clerk(refund, model=script, thread_store=store)
    assert (await agent.go(thread)).status == "repeated_failure"
    await agent.go(thread)
    (await replay(await store.get_thread("ticket-1"), clerk(refund))).assert_same()


async def test_several_inputs_that_one_go_answered(store: ThreadStore) -> None:
    thread = Thread(messages=[user("one"), Message(role="system", content="be kind"), user("two")])
    await clerk(model=ScriptedModel(["both"]), thread_store=store).go(thread)
    thread.add_message(user("not answered"))
    report = await replay(thread, clerk())
    report.assert_same()
    assert len(report.requests) == 1
    assert "not answered in the record" in str(report)


async def test_call_ids_that_come_again_find_their_own_results(store: ThreadStore) -> None:
    def numbered(order: int) -> Reply:
        return Reply(tool_calls=[ToolCall(id="call_0", name="status", arguments=f'{{"order": {order}}}')])

    thread = await recorded(
        store, [status], ("1 and 2?", [numbered(1), numbered(2), "there"]), ("3?", [numbered(3), "ok"])
    )
    report = await replay(thread, clerk(status), run_tools=["status"])
    report.assert_same()
    assert RUN == ["status 1", "status 2", "status 3"]
    assert [text for text in ("order 1", "order 2", "order 3") if f"-> {text} is" in str(report)] == [
        *("order 1", "order 2", "order 3")
    ]


def damaged() -> Thread:
    """A history with everything that no run leaves behind."""
    first = [ToolCall(id="a", name="status", arguments='{"order": 1}'), ToolCall(id="a", name="status", arguments="{")]
    second = [
        ToolCall(id="b", name="status", arguments="no json"),
        ToolCall(id="c", name="we ird.name", arguments="[]"),
    ]
    return Thread(
        id="damaged",
        messages=[
            Message(role="tool", content="from nowhere", tool_call_id="zz"),
            Message(role="assistant", content="Hello, I am the greeting."),
            user("one"),
            Message(role="assistant", tool_calls=first),
            Message(role="system", content="in between"),
            Message(role="tool", content="late", name="status", tool_call_id="a"),
            Message(role="tool", content="twice", name="status", tool_call_id="a"),
            Message(role="assistant", content="one answer"),
            Message(role="assistant", content="by hand", tool_calls=[ToolCall(id="h", name="refund")]),
            user("two"),
            Message(role="assistant", tool_calls=second, metadata={"interrupted": True}),
            Message(role="assistant", content="cut", metadata={"interrupted": True}),
            user(""),
            Message(role="assistant", content=None, metadata={"finish": ["odd"]}),
            user("the last"),
        ],
    )


async def test_a_damaged_history_is_replayed_and_its_damage_told() -> None:
    report = await replay(damaged(), clerk(status, refund), run_tools=["status", "refund"])
    assert [(d.kind, d.exchange) for d in report.differences] == [("result", 2), ("arguments", 4), ("tool", 4)]
    text = str(report)
    for note in ("a result without a call: zz", "put in by hand", "a call without a result: status", "not answered"):
        assert note in text
    assert RUN == ["status 1"]  # "late" is what came of it then; what has no result is not run
    assert len(report.requests) == 4
    untouched = await replay(damaged(), clerk(status, refund))
    assert [(d.kind, d.exchange) for d in untouched.differences] == [("arguments", 4), ("tool", 4)]


async def test_stand_ins_take_any_arguments_and_do_nothing_else() -> None:
    (await replay(damaged(), clerk(StandIn("status"), StandIn("refund"), StandIn("we ird.name")))).assert_same()
    result = await clerk(StandIn("f"), model=ScriptedModel([calls(("f", {})), "ok"])).go("x")
    assert result.new_messages[1].metadata["failed"]
    assert "stand-in" in result.new_messages[1].text


async def test_attachments_without_their_bytes_are_no_obstacle(store: ThreadStore) -> None:
    store.use_files(await FileStore.create())
    message = user("look")
    message.add_attachment(Attachment(filename="log.txt", content="disk full"))
    thread = Thread(id="ticket-1", messages=[message])

    def chart() -> Attachment:
        """Draw."""
        return Attachment(filename="chart.svg", content="<svg/>")

    await clerk(chart, model=ScriptedModel([calls(("chart", {})), "ok"]), thread_store=store).go(thread)
    thread = await store.get_thread("ticket-1")
    assert thread.messages[0].attachments[0].content is None
    for names in ([], ["chart"]):
        report = await replay(thread, clerk(chart), run_tools=names)
        report.assert_same()
        assert "look [file log.txt]" in str(report)
        assert "log.txt" in str(report.requests[0].messages)


async def test_summaries_and_structured_answers_are_messages_like_others() -> None:
    thread = Thread(
        messages=[
            Message(role="system", content="Previous conversation summary: they planned a walk."),
            user("As JSON?"),
            Message(role="assistant", content='{"where": "hills"}'),
            Message(role="system", content="Summary: JSON."),
            Message(role="tool", content="left over", tool_call_id="cut away"),
            user([{"type": "text", "text": "parts"}]),  # type: ignore[arg-type]
            Message(role="assistant", content=[{"type": "text", "text": "a part"}]),
        ]
    )
    report = await replay(thread, clerk())
    report.assert_same()
    assert [m["role"] for m in report.requests[1].messages] == [
        "system",
        "system",
        "user",
        "assistant",
        "system",
        "user",
    ]


async def test_budgets_of_cost_see_the_recorded_usage() -> None:
    dear = Usage(input_tokens=10, cost_usd=1.0)
    script = [Reply(tool_calls=calls(("status", {"order": 1})).tool_calls, usage=dear), Reply(content="ok", usage=dear)]
    thread = (await clerk(status, model=ScriptedModel(script)).go("go")).thread
    (await replay(thread, clerk(status, budget=Budget(cost_usd=1.5)))).assert_same()
    (found,) = (await replay(thread, clerk(status, budget=Budget(cost_usd=0.5)))).differences
    assert "cost_limit" in found.what


async def test_an_empty_thread_has_nothing_to_replay() -> None:
    report = await replay(Thread(), clerk())
    report.assert_same()
    assert report.steps == []


async def test_any_number_of_replays_at_once_on_one_agent(store: ThreadStore) -> None:
    thread, agent = await whole(store), clerk(status, refund)
    for report in await asyncio.gather(*(replay(thread, agent) for _ in range(5))):
        report.assert_same()
        assert len(report.requests) == 6


async def test_a_script_of_a_thread_gives_the_same_conversation(store: ThreadStore) -> None:
    thread = await whole(store)
    model = ScriptedModel(script_of(thread))
    agent = clerk(status, refund, model=model)
    again = Thread()
    for message in thread.messages:
        if message.role in ("user", "system"):
            again.add_message(Message(role=message.role, content=message.content))
        if message.role == "user":
            await agent.go(again)
    model.assert_done()
    assert [(m.role, m.text, m.tool_calls) for m in again.messages] == [
        (m.role, m.text, m.tool_calls) for m in thread.messages
    ]


async def test_the_report_is_readable_and_escaped(store: ThreadStore) -> None:
    thread = await recorded(store, [status], ("<b>bold</b>\n\x1b[31m", [calls(("status", {"order": 7})), "ok"]))
    report = await replay(thread, clerk())
    assert str(report).splitlines() == [
        "replay of thread 'ticket-1': 1 difference",
        "    1 system    The customer is Ann.",
        r"    1 user      <b>bold</b>\n\x1b[31m",
        "    1 model     [calls status]",
        '!   1 call      status({"order": 7}) -> order 7 is in the post',
        '      exchange 1: status({"order": 7}) would be treated otherwise',
        "          - the call was run",
        "          + the agent has no such tool",
        "    1 model     ok",
    ]
    assert "&lt;b&gt;bold" in report._repr_html_()
    assert "<b>" not in report._repr_html_()
    assert "1 difference" in repr(report)
    assert len(repr(report)) < 300


async def test_real_agents_of_any_kind_are_replayed_without_their_model() -> None:
    agent = Agent(model_name="openai/never-asked", tools=[status])
    thread = Thread(messages=[user("hi"), Message(role="assistant", content="hello")])
    (await replay(thread, agent)).assert_same()


MESSAGES = st.lists(
    st.one_of(
        st.builds(Message, role=st.sampled_from(["user", "system"]), content=st.sampled_from(["a", "b"])),
        st.builds(
            Message,
            role=st.just("assistant"),
            content=st.sampled_from(["text", "", None]),
            tool_calls=st.lists(
                st.builds(
                    ToolCall,
                    id=st.sampled_from(["1", "2", "3"]),
                    name=st.sampled_from(["f", "g", "no name"]),
                    arguments=st.sampled_from(["{}", "[", '{"a": 1}']),
                ),
                max_size=3,
            ),
            metadata=st.sampled_from([{}, {}, {"interrupted": True}, {"finish": "length"}]),
        ),
        st.builds(
            Message,
            role=st.just("tool"),
            content=st.sampled_from(["one", "two", CANCELLED, UNKNOWN_OUTCOME, "f failed: ValueError"]),
            tool_call_id=st.sampled_from(["1", "2", "3", None]),
            metadata=st.sampled_from([{}, {"failed": True}]),
        ),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(MESSAGES)
def test_any_history_is_replayed_as_it_is_recorded(messages: list[Message]) -> None:
    """Whatever is in it: with tools that take everything, nothing is different, and all of it is asked for."""
    thread = Thread(messages=messages)
    agent = clerk(StandIn("f"), StandIn("g"), StandIn("no name"))
    report = asyncio.run(replay(thread, agent))
    report.assert_same()
    assert len(report.requests) == len(script_of(thread))
    for request in report.requests:
        assert request.messages == valid_chat(request.messages)


async def test_a_long_conversation_is_replayed_in_seconds() -> None:
    turn = [user("a"), Message(role="assistant", content="b")]
    thread = Thread(messages=[Message(role=m.role, content=m.content) for m in turn * 500])
    started = time.process_time()
    (await replay(thread, clerk())).assert_same()
    assert time.process_time() - started < 10


async def test_what_a_human_decided_and_a_window_left_out_replays_as_recorded(store: ThreadStore) -> None:
    ran: list[int] = []

    @tool(needs_approval=True)
    def refund(order: int) -> str:
        """Refund an order."""
        ran.append(order)
        return f"refunded {order}"

    script = [calls(("refund", {"order": 7})), "Done.", calls(("refund", {"order": 8})), "Sorry."]
    window = ContextWindow(max_tokens=100, summarize=ScriptedModel(["A refund."] * 9))
    agent = Agent(model=ScriptedModel(script), tools=[refund], thread_store=store, context=window)
    thread = Thread(id="t")
    for approved in (True, False):
        thread.add_message(Message(role="user", content="Refund it, please. " * 5))
        for pending in (await agent.go(thread)).pending:
            await store.decide(pending.id, approved=approved)
        await agent.go(thread)
    report = await replay(await store.get_thread("t"), agent)
    report.assert_same()
    assert ran == [7]
