"""RunTrace: what one run tells of itself, log records and spans, all with the ids of run, thread and step.

The spans are made in `_spans.py`, which is imported only where a program uses OpenTelemetry. What is said in a
conversation is told to nobody here (promise P16).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from narrator import Message, Thread, ToolCall, Usage
from narrator._logs import log, records_of
from narrator.message import new_id
from tyler._part import Part
from tyler.model import Model, Reasoning, Reply, Request
from tyler.result import Result
from tyler.tools import Tool, ToolResult

if TYPE_CHECKING:
    from tyler._spans import Spans

logger = logging.getLogger("tyler")

_PROVIDER_VARIABLES = ("OTEL_PYTHON_TRACER_PROVIDER", "OTEL_PYTHON_METER_PROVIDER")


class RunTrace:
    """The trace of one run, open while the run is: `with RunTrace(...) as trace`. Nothing in it is current anywhere."""

    def __init__(self, agent: str, model: Model | str, thread: Thread) -> None:
        self.ids: dict[str, Any] = {"run_id": new_id(), "thread_id": thread.id, "step": 0}
        self._agent = agent
        self._model_name = model if isinstance(model, str) else model.name
        self._usage: Callable[[], Usage] = Usage
        self._result: Result[Any] | None = None
        self._spans: Spans | None = None
        self._started = 0.0

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        self._spans = _spans(self._agent, self._model_name, self.ids)
        self.log(logging.INFO, "run started: agent %r, model %r", self._agent, self._model_name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._started
        usage, status = self._usage(), self._status(error)
        if self._spans is not None:
            self._spans.ended(status, self._result, usage, error)
        if logger.isEnabledFor(logging.INFO):
            self._log_end(status, usage, seconds, error)

    def began(self, part: Part, purpose: str, usage: Callable[[], Usage]) -> None:
        """The run has its turn, and answers this part of the thread. `usage`: what it has taken so far."""
        self._usage = usage
        part.turn.log_ids = self.ids
        if self._spans is not None:
            self._spans.began(part, purpose)

    def completed(self, result: Result[Any]) -> Result[Any]:
        """The run has this result."""
        self._result = result
        return result

    def step_begins(self) -> None:
        """What is told from now on is of the next step."""
        self.ids["step"] += 1

    async def requested(self, model: Model, request: Request) -> AsyncGenerator[str | Reasoning | Reply, None]:
        """`model.stream(request)`, traced."""
        self.log(logging.DEBUG, "asking model %r: %d messages", model.name, len(request.messages))
        stream = model.stream(request) if self._spans is None else self._spans.chat(model, request)
        async with aclosing(stream) as pieces:
            while True:
                with records_of(self.ids):
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                yield piece

    def answered(self, message: Message) -> None:
        """The model's answer is there."""
        used = message.usage or Usage()
        self.log(
            logging.DEBUG,
            "the model answered: %d tool calls, %d + %d tokens",
            len(message.tool_calls),
            used.input_tokens,
            used.output_tokens,
        )

    async def tool(
        self, call: ToolCall, tools: Mapping[str, Tool], running: Coroutine[Any, Any, ToolResult]
    ) -> ToolResult:
        """The result of `running`, the call's tool at work, traced. To be awaited in a task of its own."""
        tool, started = tools.get(call.name), time.perf_counter()
        name = tool.name if tool else "(unknown)"
        self.log(logging.DEBUG, "tool %s started", name)
        with records_of(self.ids):
            if self._spans is None:
                result = await running
            else:
                with self._spans.tool(call, tool) as span:
                    result = await running
                    self._spans.tool_ended(span, result)
        outcome = f"failed ({result.error_type or 'tool_error'})" if result.failed else "ended"
        self.log(logging.DEBUG, "tool %s %s after %.3f s", name, outcome, time.perf_counter() - started)
        return result

    def log(self, level: int, text: str, *args: object, **fields: object) -> None:
        """A record of this run."""
        log(logger, level, self.ids, text, *args, stacklevel=3, **fields)

    def _status(self, error: BaseException | None) -> str:
        if isinstance(error, asyncio.CancelledError):
            return "cancelled"
        if isinstance(error, GeneratorExit):
            return "abandoned"  # who read the events has gone
        return "error" if self._result is None else self._result.status

    def _log_end(self, status: str, usage: Usage, seconds: float, error: BaseException | None) -> None:
        how = f"error {type(error).__qualname__}" if status == "error" else status
        if self._result is not None and self._result.replayed:
            how += " (replayed)"
        steps = self.ids["step"]
        cost = "cost unknown" if steps and usage.cost_usd is None else f"{usage.cost_usd or 0:.6f} USD"
        self.log(
            logging.INFO,
            "run ended: %s, %d steps, %d + %d tokens, %s, %.3f s",
            *(how, steps, usage.input_tokens, usage.output_tokens, cost, seconds),
            status=status,
            steps=steps,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost_usd=usage.cost_usd,
            seconds=seconds,
        )


def _spans(agent: str, model_name: str, ids: Mapping[str, Any]) -> Spans | None:
    """The run's spans; None where nobody could have set up OpenTelemetry, which is then not imported (15 ms)."""
    used = "opentelemetry.trace" in sys.modules or "opentelemetry.metrics" in sys.modules
    if not used and not any(os.environ.get(name) for name in _PROVIDER_VARIABLES):
        return None
    try:
        from tyler._spans import Spans
    except ModuleNotFoundError:  # the variable is set for another program; opentelemetry-api is not installed
        return None
    return Spans(agent, model_name, ids)
