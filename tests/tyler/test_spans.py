"""A run as OpenTelemetry spans: what nests in what, what they say, and that nothing leaks out of them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from narrator import Attachment, Message, Thread, ThreadStore, ToolCall, Usage
from tests.spans import Spans, metric_reader, spans
from tyler import Agent, Budget, ModelUnavailable, TextDelta, ThreadBusy, ToolStarted, tool
from tyler._left_open import LeftOpen
from tyler._provider_names import provider_and_model
from tyler.context import ContextWindow
from tyler.delegation import delegate_to
from tyler.model import Reasoning, Reply, Request
from tyler.testing import ScriptedModel, calls

__all__ = ["metric_reader", "spans"]

ROOT = Path(__file__).parents[2]
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
USAGE = Usage(
    input_tokens=100, output_tokens=20, cached_tokens=60, cache_write_tokens=7, reasoning_tokens=5, cost_usd=0.5
)


def add(a: int, b: int) -> int:
    """The sum."""
    with trace.get_tracer("library").start_as_current_span("inside add"):  # what an instrumented library does
        return a + b


async def fail(why: str) -> str:
    """Never works."""
    with trace.get_tracer("library").start_as_current_span("inside fail"):
        await asyncio.sleep(0)
    raise LookupError(why)


def attributes(span: ReadableSpan, prefix: str = "") -> dict[str, Any]:
    return {key: value for key, value in (span.attributes or {}).items() if key.startswith(prefix)}


def current() -> trace.SpanContext:
    return trace.get_current_span().get_span_context()


class Instrumented(ScriptedModel):
    """A model whose client library makes a span for each request."""

    async def stream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        with trace.get_tracer("library").start_as_current_span("POST"):
            await asyncio.sleep(0)
        async for piece in super().stream(request):
            yield piece


async def test_a_run_is_a_tree(spans: Spans) -> None:
    script = [Reply(tool_calls=calls(("add", {"a": 1, "b": 2}), ("fail", {"why": "x"})).tool_calls, usage=USAGE)]
    agent = Agent(name="adder", model=Instrumented([*script, Reply("three", usage=USAGE)]), tools=[add, fail])
    result = await agent.go(Thread(id="t-1", messages=[Message(role="user", content="1 + 2?")]))
    assert result.content == "three"
    assert spans.tree() == [
        "invoke_agent adder",
        "  chat scripted",
        "    POST",
        "  execute_tool add",
        "    inside add",  # in a thread of its own
        "  execute_tool fail",
        "    inside fail",
        "  chat scripted",
        "    POST",
    ]
    run = spans.named("invoke_agent adder")
    run_id = attributes(run)["tyler.run.id"]
    ids = {"gen_ai.conversation.id": "t-1", "tyler.run.id": run_id}
    model = {"gen_ai.provider.name": "scripted", "gen_ai.request.model": "scripted"}
    assert (run.kind, run.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)
    assert attributes(run) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "adder",
        "gen_ai.usage.input_tokens": 200,
        "gen_ai.usage.output_tokens": 40,
        "gen_ai.usage.cache_read.input_tokens": 120,
        "gen_ai.usage.cache_creation.input_tokens": 14,
        "gen_ai.usage.reasoning.output_tokens": 10,
        "tyler.cost_usd": 1.0,
        "tyler.run.status": "completed",
        "tyler.run.steps": 2,
        "tyler.run.replayed": False,
        **ids,
        **model,
    }
    first, second = [span for span in spans if span.name == "chat scripted"]
    assert attributes(first).pop("gen_ai.response.time_to_first_chunk") > 0
    assert first.kind is SpanKind.CLIENT
    assert attributes(second) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": attributes(second)["gen_ai.response.time_to_first_chunk"],
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.cache_creation.input_tokens": 7,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "tyler.cost_usd": 0.5,
        "tyler.step": 2,
        **ids,
        **model,
    }
    assert attributes(first)["gen_ai.response.finish_reasons"] == ("tool_call",)
    added, failed = spans.named("execute_tool add"), spans.named("execute_tool fail")
    call = result.new_messages[0].tool_calls[0]
    assert attributes(added) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": call.id,
        "tyler.step": 1,
        **ids,
    }
    assert (added.kind, added.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, None)
    assert attributes(failed)["error.type"] == "LookupError"
    assert not failed.events  # an exception event would hold its text


async def test_tools_of_one_message_are_siblings_at_the_same_time(spans: Spans) -> None:
    both = asyncio.Barrier(2)

    async def meet(name: str) -> bool:
        await both.wait()
        return trace.get_current_span().get_span_context().is_valid

    agent = Agent(model=ScriptedModel([calls(("meet", {"name": "a"}), ("meet", {"name": "b"})), "met"]), tools=[meet])
    await agent.go("go")
    one, other = [span for span in spans if span.name == "execute_tool meet"]
    assert one.parent == other.parent == spans.named("invoke_agent agent").get_span_context()
    assert attributes(one)["gen_ai.tool.call.id"] != attributes(other)["gen_ai.tool.call.id"]


async def test_the_readers_own_span_stays_current_between_events(spans: Spans) -> None:
    agent = Agent(model=ScriptedModel([calls(("add", {"a": 1, "b": 2})), "one two three"]), tools=[add])
    with trace.get_tracer("app").start_as_current_span("request") as mine:
        async for event in agent.stream("go"):
            assert current() == mine.get_span_context(), event
            if isinstance(event, ToolStarted):
                with trace.get_tracer("app").start_as_current_span("reading"):
                    await asyncio.sleep(0)
        assert current() == mine.get_span_context()
    assert not current().is_valid
    assert spans.tree()[:2] == ["request", "  invoke_agent agent"]
    assert "  reading" in spans.tree()


async def test_baggage_reaches_model_and_tools(spans: Spans) -> None:
    seen = []

    def look() -> None:
        seen.append(baggage.get_baggage("tenant"))

    def line(request: Request) -> str:
        seen.append(baggage.get_baggage("tenant"))
        return "done"

    token = context.attach(baggage.set_baggage("tenant", "x"))
    await Agent(model=ScriptedModel([calls(("look", {})), line]), tools=[look]).go("go")
    context.detach(token)
    assert seen == ["x", "x"]


async def test_an_agent_that_a_tool_asks_nests(spans: Spans) -> None:
    async def ask_expert() -> str:
        return (await Agent(name="expert", model=ScriptedModel(["42"])).go("?")).content

    agent = Agent(name="boss", model=ScriptedModel([calls(("ask_expert", {})), "It is 42."]), tools=[ask_expert])
    await agent.go("go")
    assert spans.tree() == [
        "invoke_agent boss",
        "  chat scripted",
        "  execute_tool ask_expert",
        "    invoke_agent expert",
        "      chat scripted",
        "  chat scripted",
    ]
    runs = [attributes(spans.named(f"invoke_agent {name}"))["tyler.run.id"] for name in ("boss", "expert")]
    assert runs[0] != runs[1]


async def test_a_delegated_task_that_waits_is_no_failure_and_one_that_cannot_run_is(spans: Spans) -> None:
    @tool(needs_approval=True)
    def refund() -> str:
        """Pay back."""
        return "paid"

    def boss(store: ThreadStore) -> Agent:
        desk = Agent(name="desk", model=ScriptedModel([calls(("refund", {}))]), tools=[refund])
        script = ScriptedModel([calls(("ask_desk", {"task": "pay"}))])
        return Agent(name="boss", model=script, tools=[delegate_to(desk)], thread_store=store)

    async with await ThreadStore.create() as store:
        assert (await boss(store).go("go")).status == "awaiting_approval"
    waiting = spans.named("execute_tool ask_desk")
    assert (waiting.status.status_code, attributes(waiting)["tyler.waiting"]) == (StatusCode.UNSET, True)

    @tool(name="ask_desk", effect="idempotent")
    async def busy(task: str) -> str:
        """What a delegated task raises whose thread is taken."""
        raise LeftOpen(error=ThreadBusy("the thread is taken"))

    spans.clear()
    async with await ThreadStore.create() as store:
        agent = Agent(model=ScriptedModel([calls(("ask_desk", {"task": "x"}))]), tools=[busy], thread_store=store)
        with pytest.raises(ThreadBusy):
            await agent.go("go")
    failed = spans.named("execute_tool ask_desk")
    assert (failed.status.status_code, attributes(failed)["error.type"]) == (StatusCode.ERROR, "ThreadBusy")
    assert "tyler.waiting" not in attributes(failed)


async def test_who_answered_in_the_place_of_another_is_told(spans: Spans) -> None:
    class Other(ScriptedModel):
        name = "xai/grok-other"

    agent = Agent(model=ScriptedModel([ModelUnavailable("away")]), fallback_models=[Other(["hi"])])
    await agent.go("go")
    assert attributes(spans.named("chat scripted"))["gen_ai.response.model"] == "grok-other"


async def test_a_summary_is_a_request_too_and_counts(spans: Spans) -> None:
    class Summarizer(ScriptedModel):
        name = "summarizer"

    window = ContextWindow(max_tokens=200, summarize=Summarizer([Reply("They talked.", usage=USAGE)] * 9))
    agent = Agent(model=ScriptedModel([Reply("hi", usage=USAGE)]), context=window)
    old = [Message(role=role, content="word " * 100) for role in ("user", "assistant") * 3]
    result = await agent.go(Thread(messages=[*old, Message(role="user", content="go")]))
    assert len(result.summaries) == 1
    assert spans.tree() == ["invoke_agent agent", "  chat summarizer", "  chat scripted"]
    run = spans.named("invoke_agent agent")
    assert attributes(run)["gen_ai.usage.input_tokens"] == result.usage.input_tokens == 200
    assert attributes(run)["tyler.run.steps"] == 1


def test_go_sync_keeps_the_callers_span(spans: Spans) -> None:
    with trace.get_tracer("app").start_as_current_span("script"):
        Agent(model=ScriptedModel(["hi"])).go_sync("go")
    assert spans.tree() == ["script", "  invoke_agent agent", "    chat scripted"]


async def test_a_models_failure_is_a_type_without_text(spans: Spans) -> None:
    with pytest.raises(ModelUnavailable):
        await Agent(model=ScriptedModel([ModelUnavailable("secret words")])).go("go")
    for name in ("invoke_agent agent", "chat scripted"):
        span = spans.named(name)
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
        assert attributes(span)["error.type"] == "ModelUnavailable"
        assert not span.events
    assert attributes(spans.named("invoke_agent agent"))["tyler.run.status"] == "error"


async def test_a_run_that_is_cancelled_in_a_tool_ends_its_spans(spans: Spans) -> None:
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    run = asyncio.create_task(Agent(model=ScriptedModel([calls(("hang", {}))]), tools=[hang]).go("go"))
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert spans.tree() == ["invoke_agent agent", "  chat scripted", "  execute_tool hang"]
    assert attributes(spans.named("execute_tool hang"))["tyler.cancelled"] is True
    assert attributes(spans.named("invoke_agent agent"))["tyler.run.status"] == "cancelled"
    assert all(span.status.status_code is StatusCode.UNSET for span in spans)


async def test_a_stream_that_nobody_reads_on_ends_its_spans(spans: Spans) -> None:
    stream = Agent(model=ScriptedModel(["one two three"])).stream("go")
    async for event in stream:
        if isinstance(event, TextDelta):
            break
    assert list(spans) == []
    await stream.aclose()
    assert spans.tree() == ["invoke_agent agent", "  chat scripted"]
    assert attributes(spans.named("chat scripted"))["tyler.cancelled"] is True
    assert attributes(spans.named("invoke_agent agent"))["tyler.run.status"] == "abandoned"
    assert not current().is_valid


async def test_a_model_that_runs_out_of_time_is_stopped_and_the_run_says_why(spans: Spans) -> None:
    agent = Agent(model=ScriptedModel(["late"], delay_s=60), budget=Budget(seconds=0.02))
    assert (await agent.go("go")).status == "time_limit"
    assert attributes(spans.named("chat scripted"))["tyler.cancelled"] is True
    run = spans.named("invoke_agent agent")
    assert (run.status.status_code, attributes(run)["tyler.run.status"]) == (StatusCode.UNSET, "time_limit")


async def test_an_approval_that_is_awaited_and_a_replay_are_told(spans: Spans) -> None:
    @tool(needs_approval=True)
    def refund() -> str:
        """Pay back."""
        return "paid"

    async with await ThreadStore.create() as store:
        agent = Agent(model=ScriptedModel([calls(("refund", {}))]), tools=[refund], thread_store=store)
        await agent.go(Thread(id="waits", messages=[Message(role="user", content="x")]))
        assert attributes(spans.named("invoke_agent agent"))["tyler.run.status"] == "awaiting_approval"
        assert spans.tree() == ["invoke_agent agent", "  chat scripted"]
        again = Agent(name="again", model=ScriptedModel(["hi"]), thread_store=store)
        for _ in range(2):
            await again.go(Thread(id="done", messages=[Message(id="evt-1", role="user", content="x")]))
    first, replay = [attributes(span, "tyler.run.") for span in spans if span.name == "invoke_agent again"]
    assert (first["tyler.run.replayed"], replay["tyler.run.replayed"]) == (False, True)
    assert (first["tyler.run.steps"], replay["tyler.run.steps"]) == (1, 0)


async def test_a_name_that_the_model_made_up_is_not_told(spans: Spans) -> None:
    await Agent(model=ScriptedModel([calls(("my secret is 42", {})), "sorry"]), tools=[add]).go("go")
    assert attributes(spans.named("execute_tool _OTHER"))["error.type"] == "unknown_tool"
    assert not any("secret" in str(attributes(span)) for span in spans)


@pytest.mark.parametrize("value", ["", "false", "event_only", "no_content", "1"])
async def test_content_is_off_unless_the_variable_wants_it(
    spans: Spans, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(CAPTURE, value)
    await Agent(model=ScriptedModel(["private"]), purpose="private").go("private")
    assert [key for span in spans for key in attributes(span) if "private" in str(attributes(span)[key])] == []


@pytest.mark.parametrize("value", ["true", "SPAN_ONLY", "span_and_event"])
async def test_content_is_told_by_the_conventions_names(
    spans: Spans, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(CAPTURE, value)
    asked = calls(("add", {"a": 1, "b": 2}), ("fail", {"why": "no luck"}))
    script = [Reply(tool_calls=asked.tool_calls, reasoning=Reasoning("x", "I add.")), "three \ud800"]
    question = Message(role="user", content="1 + 2?")
    question.add_attachment(Attachment(filename="a.png", content=b"\x89PNG", mime_type="image/png"))
    model = ScriptedModel(script, takes_images=True)
    async with await ThreadStore.create() as store:
        agent = Agent(model=model, purpose="Adds.", tools=[add, fail], thread_store=store.for_owner("ann"))
        await agent.go(Thread(messages=[question]))
    run, tools = spans.named("invoke_agent agent"), [spans.named(f"execute_tool {name}") for name in ("add", "fail")]
    chats = [span for span in spans if span.name == "chat scripted"]

    def told(span: ReadableSpan, name: str) -> Any:
        return json.loads(attributes(span)[name])

    answer = [{"role": "assistant", "parts": [{"type": "text", "content": "three �"}], "finish_reason": "stop"}]
    one, two = (call.id for call in asked.tool_calls)
    call_parts = [
        {"type": "tool_call", "id": one, "name": "add", "arguments": {"a": 1, "b": 2}},
        {"type": "tool_call", "id": two, "name": "fail", "arguments": {"why": "no luck"}},
    ]
    assert told(run, "gen_ai.system_instructions") == [{"type": "text", "content": "Adds."}]
    assert told(run, "gen_ai.input.messages") == [{"role": "user", "parts": [{"type": "text", "content": "1 + 2?"}]}]
    assert told(run, "gen_ai.output.messages") == answer
    assert attributes(run)["enduser.id"] == "ann"
    image = {"type": "image_url", "mime_type": "image/png", "size_bytes": 6}
    assert told(chats[0], "gen_ai.input.messages") == [
        {"role": "system", "parts": [{"type": "text", "content": "Adds."}]},
        {"role": "user", "parts": [{"type": "text", "content": "1 + 2?"}, image]},
    ]
    assert told(chats[0], "gen_ai.output.messages") == [
        {
            "role": "assistant",
            "parts": [{"type": "reasoning", "content": "I add."}, *call_parts],
            "finish_reason": "tool_call",
        }
    ]
    assert told(chats[0], "gen_ai.tool.definitions") == [{"type": "function", "name": n} for n in ("add", "fail")]
    assert told(chats[1], "gen_ai.input.messages")[2:] == [
        {"role": "assistant", "parts": call_parts},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": one, "response": "3"}]},
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": two, "response": "fail failed: LookupError: no luck"}],
        },
    ]
    assert told(chats[1], "gen_ai.output.messages") == answer
    assert told(tools[0], "gen_ai.tool.call.arguments") == {"a": 1, "b": 2}
    assert attributes(tools[0])["gen_ai.tool.call.result"] == "3"
    assert attributes(tools[0])["gen_ai.tool.description"] == "The sum."
    assert "gen_ai.tool.call.result" not in attributes(tools[1])
    assert tools[1].status.description == "fail failed: LookupError: no luck"


@pytest.mark.parametrize("arguments", ["no json", '{"a": NaN}', "[" * 100_000, '{"\\ud800": "\\u0000"}', ""])
async def test_content_of_any_form_breaks_no_run(spans: Spans, monkeypatch: pytest.MonkeyPatch, arguments: str) -> None:
    monkeypatch.setenv(CAPTURE, "true")
    wild = Reply(tool_calls=[ToolCall(id="c", name="add", arguments=arguments)])
    result = await Agent(model=ScriptedModel([wild, "done"]), tools=[add]).go("go")
    assert result.status == "completed"
    for span in spans:
        for value in attributes(span).values():
            str(value).encode()  # an exporter could send it
            assert "\x00" not in str(value)


async def test_spans_of_many_runs_at_once_do_not_mix(spans: Spans) -> None:
    async def who(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def run(number: int) -> None:
        agent = Agent(name=f"a{number}", model=ScriptedModel([calls(("who", {"number": number})), "ok"]), tools=[who])
        await agent.go(Thread(id=f"t{number}", messages=[Message(role="user", content="?")]))

    await asyncio.gather(*(run(number) for number in range(50)))
    found = list(spans)
    assert len(found) == 200
    parents = {span.get_span_context().span_id: span for span in found if span.name.startswith("invoke_agent")}
    assert len({attributes(parent)["tyler.run.id"] for parent in parents.values()}) == 50
    for span in found:
        parent = parents[span.parent.span_id] if span.parent else span
        assert attributes(parent)["gen_ai.agent.name"].replace("a", "t") == attributes(span)["gen_ai.conversation.id"]
        assert attributes(parent)["tyler.run.id"] == attributes(span)["tyler.run.id"]


async def test_tokens_and_seconds_are_metrics(spans: Spans, metric_reader: InMemoryMetricReader) -> None:
    class Metered(ScriptedModel):
        name = "xai/grok-test"

    for line in (Reply("hi", usage=USAGE), ModelUnavailable("away")):
        try:
            await Agent(model=Metered([line])).go("go")
        except ModelUnavailable:
            continue
    late = Agent(model=Metered(["late"], delay_s=60), budget=Budget(seconds=0.01))
    assert (await late.go("go")).status == "time_limit"  # says nothing of how fast the model is
    data = metric_reader.get_metrics_data()
    assert data is not None
    points: dict[str, list[tuple[dict[str, Any], float, int]]] = {}
    for metric in (m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics):
        for point in metric.data.data_points:
            if (point.attributes or {}).get("gen_ai.provider.name") == "x_ai":
                about = dict(point.attributes or {})
                points.setdefault(metric.name, []).append((about, point.sum, point.count))  # type: ignore[union-attr]
    asked = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "x_ai", "gen_ai.request.model": "grok-test"}
    assert points["gen_ai.client.token.usage"] == [
        ({**asked, "gen_ai.token.type": "input"}, 100, 1),
        ({**asked, "gen_ai.token.type": "output"}, 20, 1),
    ]
    durations = [(about, count) for about, s, count in points["gen_ai.client.operation.duration"] if 0 < s < 1]
    assert durations == [(asked, 1), ({**asked, "error.type": "ModelUnavailable"}, 1)]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gpt-4o", ("openai", "gpt-4o")),
        ("openai/my-model", ("openai", "my-model")),
        ("anthropic/claude-sonnet-4-5", ("anthropic", "claude-sonnet-4-5")),
        ("claude-sonnet-4-5", ("anthropic", "claude-sonnet-4-5")),
        ("groq/openai/gpt-oss-120b", ("groq", "openai/gpt-oss-120b")),
        ("gemini/gemini-pro-latest", ("gcp.gemini", "gemini-pro-latest")),
        ("bedrock/us.x", ("aws.bedrock", "us.x")),
        ("scripted", ("scripted", "scripted")),
        ("odd/", ("odd/", "odd/")),
        ("", ("", "")),
    ],
)
def test_providers_have_the_conventions_names(name: str, found: tuple[str, str]) -> None:
    assert provider_and_model(name) == found


PROGRAM = """
import asyncio, sys
{before}
from tyler import Agent
from tyler.testing import ScriptedModel
assert asyncio.run(Agent(model=ScriptedModel(["hi"])).go("x")).content == "hi"
print(any(name.startswith("opentelemetry") and module for name, module in sys.modules.items()))
"""


@pytest.mark.parametrize(
    ("before", "variable", "loaded"),
    [
        ("", "", False),
        ("", "sdk_tracer_provider", True),
        ("sys.modules['opentelemetry'] = None", "sdk_tracer_provider", False),  # as if it were not installed
    ],
)
def test_opentelemetry_is_loaded_only_where_it_is_used(before: str, variable: str, loaded: bool) -> None:
    program = PROGRAM.format(before=before)
    environment = {"PYTHONPATH": str(ROOT), "OTEL_PYTHON_TRACER_PROVIDER": variable}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert (done.stderr, done.stdout) == ("", f"{loaded}\n")
