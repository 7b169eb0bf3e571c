"""The OpenTelemetry spans and metrics of one run, named as the GenAI conventions want it.

https://github.com/open-telemetry/semantic-conventions-genai (in development; read in November 2026). Imported by the
first run of a program that uses OpenTelemetry. No span is ever current while a reader of the run's events is at work:
parents are passed on, and a span is current only while a model or a tool works. Attributes of our own: `tyler.*`.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from itertools import takewhile
from typing import Any

from opentelemetry import context, metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from narrator import ToolCall, Usage
from tyler import _span_content, wire
from tyler._left_open import LeftOpen
from tyler._part import Part
from tyler._provider_names import provider_and_model
from tyler._steps import INPUTS
from tyler.model import Model, Reasoning, Reply, Request
from tyler.result import Result
from tyler.tools import Tool, ToolResult

_TOKEN_BUCKETS = [4**power for power in range(14)]
_SECOND_BUCKETS = [0.01 * 2**power for power in range(14)]
_STOPPED = (asyncio.CancelledError, GeneratorExit)  # by who reads the run, or by its budget: no failure


class Spans:
    """One run's spans: `invoke_agent`, and below it `chat` and `execute_tool`. `ids` are read anew for each."""

    def __init__(self, agent: str, model_name: str, ids: Mapping[str, Any]) -> None:
        self._ids = ids
        self._with_content = _span_content.is_wanted()
        self._tracer = trace.get_tracer("tyler")
        self._run = self._start("invoke_agent", agent, None, _asked(model_name) | {"gen_ai.agent.name": agent})
        self._inside = trace.set_span_in_context(self._run)

    def began(self, part: Part, purpose: str) -> None:
        """What the run answers and for whom, if content is wanted."""
        if not self._with_content or not self._run.is_recording():
            return
        if purpose:
            self._run.set_attribute("gen_ai.system_instructions", _span_content.instructions(purpose))
        if (owner := part.turn.thread.owner) is not None:
            self._run.set_attribute("enduser.id", owner)
        inputs = list(takewhile(lambda message: message.role in INPUTS, reversed(part.messages())))
        chats = [wire.to_chat(message) for message in reversed(inputs)]
        self._run.set_attribute("gen_ai.input.messages", _span_content.input_messages(chats))

    def ended(self, status: str, result: Result[object] | None, usage: Usage, error: BaseException | None) -> None:
        """End the run's span; `status` is the result's, or what came in its place."""
        if error is not None and not isinstance(error, _STOPPED):
            self._fail(self._run, type(error).__qualname__, str(error))
        self._run.set_attributes({"tyler.run.status": status, "tyler.run.steps": self._ids["step"]})
        _set_usage(self._run, usage)
        if result is not None:
            self._run.set_attribute("tyler.run.replayed", result.replayed)
            if self._with_content and result.content:
                self._run.set_attribute("gen_ai.output.messages", _span_content.answer(result.content))
        self._run.end()

    async def chat(self, model: Model, request: Request) -> AsyncGenerator[str | Reasoning | Reply, None]:
        """What `model.stream(request)` yields, under a span that is current while the model works on the next piece."""
        asked = _asked(model.name)
        name = asked["gen_ai.request.model"]
        span = self._start("chat", name, self._inside, asked | {"gen_ai.request.stream": True}, SpanKind.CLIENT)
        if request.output is not None:
            span.set_attribute("gen_ai.output.type", "json")
        if self._with_content and span.is_recording():
            span.set_attribute("gen_ai.input.messages", _span_content.input_messages(request.messages))
            span.set_attribute("gen_ai.tool.definitions", _span_content.tool_definitions(request.tools))
        here = trace.set_span_in_context(span, self._inside)
        with self._ending(span, asked):
            async with aclosing(model.stream(request)) as pieces:
                started = time.perf_counter()
                piece = await _next(pieces, here)
                span.set_attribute("gen_ai.response.time_to_first_chunk", time.perf_counter() - started)
                while piece is not None:
                    if isinstance(piece, Reply):
                        self._replied(span, piece, asked)
                    yield piece
                    piece = await _next(pieces, here)

    @contextmanager
    def tool(self, call: ToolCall, tool: Tool | None) -> Iterator[Span]:
        """The span of one call, current in the task that runs its tool, and so in the tool's thread."""
        # A model may make names up, and what it writes is content.
        name = tool.name if tool else "_OTHER"
        about = {"gen_ai.tool.name": name, "gen_ai.tool.type": "function", "gen_ai.tool.call.id": call.id}
        span = self._start("execute_tool", name, self._inside, about)
        if self._with_content and span.is_recording():
            span.set_attribute("gen_ai.tool.call.arguments", _span_content.tool_arguments(call.arguments))
            span.set_attribute("gen_ai.tool.description", tool.description if tool else "")
        with _current(trace.set_span_in_context(span, self._inside)), self._ending(span):
            yield span

    def tool_ended(self, span: Span, result: ToolResult) -> None:
        """What came of the call."""
        if result.failed:
            self._fail(span, result.error_type or "tool_error", result.content)
        elif self._with_content:
            span.set_attribute("gen_ai.tool.call.result", result.content)

    def _start(
        self,
        operation: str,
        name: str,
        parent: Context | None,
        about: Mapping[str, str | bool],
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Span:
        attributes: dict[str, str | bool | int] = {
            "gen_ai.operation.name": operation,
            "gen_ai.conversation.id": self._ids["thread_id"],
            "tyler.run.id": self._ids["run_id"],
            **about,
        }
        if parent is not None:
            attributes["tyler.step"] = self._ids["step"]
        return self._tracer.start_span(f"{operation} {name}", parent, kind, attributes)

    @contextmanager
    def _ending(self, span: Span, metered: Mapping[str, str] | None = None) -> Iterator[None]:
        """End the span with what is done under it. Stopped from outside is not failed, but is marked."""
        started, failure = time.perf_counter(), {}
        try:
            yield
        except _STOPPED:
            span.set_attribute("tyler.cancelled", True)
            metered = None  # how long it was let be says nothing of the model
            raise
        except BaseException as error:
            if isinstance(error, LeftOpen) and error.error is None:
                span.set_attribute("tyler.waiting", True)  # for a human; the call is run again
                raise
            cause = error.error or error if isinstance(error, LeftOpen) else error
            failure = {"error.type": type(cause).__qualname__}
            self._fail(span, failure["error.type"], str(cause))
            raise
        finally:
            span.end()
            if metered is not None:
                seconds = time.perf_counter() - started
                _durations().record(seconds, {"gen_ai.operation.name": "chat", **metered, **failure})

    def _replied(self, span: Span, reply: Reply, asked: dict[str, str]) -> None:
        finish = _finish_reason(reply)
        span.set_attribute("gen_ai.response.finish_reasons", [finish])
        if reply.model is not None:
            asked["gen_ai.response.model"] = provider_and_model(reply.model)[1]
            span.set_attribute("gen_ai.response.model", asked["gen_ai.response.model"])
        if reply.usage is not None:
            _set_usage(span, reply.usage)
            counted = {"input": reply.usage.input_tokens, "output": reply.usage.output_tokens}
            for kind, tokens in counted.items():
                _tokens().record(tokens, {"gen_ai.operation.name": "chat", **asked, "gen_ai.token.type": kind})
        if self._with_content and span.is_recording():
            span.set_attribute("gen_ai.output.messages", _span_content.output_message(reply, finish))

    def _fail(self, span: Span, error_type: str, text: str) -> None:
        """Mark the span as failed; the text may quote the conversation (promise P16)."""
        span.set_attribute("error.type", error_type)
        span.set_status(Status(StatusCode.ERROR, text if self._with_content else None))


async def _next(pieces: AsyncGenerator[str | Reasoning | Reply, None], here: Context) -> str | Reasoning | Reply | None:
    with _current(here):
        return await anext(pieces, None)


@contextmanager
def _current(here: Context) -> Iterator[None]:
    token = context.attach(here)
    try:
        yield
    finally:
        context.detach(token)


def _asked(model_name: str) -> dict[str, str]:
    provider, model = provider_and_model(model_name)
    return {"gen_ai.provider.name": provider, "gen_ai.request.model": model}


def _finish_reason(reply: Reply) -> str:
    """In the conventions' words."""
    if reply.finish == "stop":
        return "tool_call" if reply.tool_calls else "stop"
    return "content_filter" if reply.finish == "filtered" else reply.finish


def _set_usage(span: Span, usage: Usage) -> None:
    span.set_attribute("gen_ai.usage.input_tokens", usage.input_tokens)
    span.set_attribute("gen_ai.usage.output_tokens", usage.output_tokens)
    if usage.cached_tokens:
        span.set_attribute("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens)
    if usage.cache_write_tokens:
        span.set_attribute("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens)
    if usage.reasoning_tokens:
        span.set_attribute("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens)
    if usage.cost_usd is not None:
        span.set_attribute("tyler.cost_usd", usage.cost_usd)


@functools.cache
def _tokens() -> metrics.Histogram:
    return metrics.get_meter("tyler").create_histogram(
        "gen_ai.client.token.usage",
        "{token}",
        "Number of input and output tokens used.",
        explicit_bucket_boundaries_advisory=_TOKEN_BUCKETS,
    )


@functools.cache
def _durations() -> metrics.Histogram:
    return metrics.get_meter("tyler").create_histogram(
        "gen_ai.client.operation.duration",
        "s",
        "GenAI operation duration.",
        explicit_bucket_boundaries_advisory=_SECOND_BUCKETS,
    )
