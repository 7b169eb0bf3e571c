"""One run: asking the model and running its tool calls, each step stored before the next (promises P1, P6, P8)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from narrator import Message, NarratorError, PendingCall, Usage
from narrator._settle import settled_task
from tyler._compaction import Compaction
from tyler._part import Part
from tyler._setup import Setup
from tyler._steps import INPUTS, INTERRUPTED, INVALID, AskModel, RunTools, repeats_failure
from tyler._tool_calls import ToolCalls
from tyler._tracing import RunTrace
from tyler._unsaved import RunTurn
from tyler._view import View
from tyler.budget import Deadline, Limit, OutOfTime
from tyler.context import SUMMARIES, Summary, with_summary
from tyler.errors import ContextTooLong, ModelAnswerBroken, NothingToAnswer
from tyler.events import Event, ReasoningDelta, TextDelta
from tyler.model import Reasoning, Reply, Request
from tyler.output import TRIES, InvalidOutput
from tyler.result import Result, Status, usage_of

CANCELLED = "The run was cancelled before this call was started; it was not run."
CANCELLED_UNKNOWN = "The run was cancelled while this call was under way; whether it had an effect is unknown."
OUT_OF_TIME = "The run's time was used up before this call was started; it was not run."
OUT_OF_TIME_UNKNOWN = "The run's time was used up while this call was under way; whether it had an effect is unknown."

_STATUS_OF_FINISH: Mapping[object, Status] = {"length": "cut", "filtered": "filtered"}


class Run:
    """The state of one `go`: which part of the thread, what it has used up. Gone with the call."""

    def __init__(self, turn: RunTurn, upto: str | None, setup: Setup, trace: RunTrace) -> None:
        self.part = Part(turn, upto)
        self._trace = trace
        self._setup = setup
        self._deadline = Deadline(setup.budget.seconds)
        self._calls = ToolCalls(self.part, setup, self._deadline, trace)
        self._definitions = [tool.definition() for tool in setup.tools.values()]
        self._view = View(turn.thread, setup.model, setup.purpose, setup.files, setup.window)
        self._compaction = Compaction(self._view, setup.model, self._definitions, setup.window, trace)
        self._summaries: list[Summary] = []  # made by this run
        self._steps = self._invalid = 0
        self._limit: Limit | None = None  # the one that a step ran into
        trace.began(self.part, setup.purpose, self._usage)

    def stop(self, action: AskModel | RunTools) -> Status | None:
        """Why this must not be done now (promise P14); the thread is valid, and another `go` takes it up."""
        if isinstance(action, RunTools):
            return "awaiting_approval" if self.waiting and self._calls.all_wait(action) else None
        if limit := self._limit or self._calls.limit:
            return limit
        if self._invalid == TRIES:
            return "invalid_output"
        if repeats_failure(self.part.added):
            return "repeated_failure"
        if self._deadline.left_s() == 0:
            return "time_limit"
        return self._setup.budget.used_up(self._steps, self._usage())

    def result(self, status: Status) -> Result[Any]:
        """What the run brought; the recorded answer, where there was one already."""
        messages, added = self.part.messages(), {message.id for message in self.part.added}
        ran = bool(added) or status != "completed"
        output: Any = None
        if status == "completed":
            status = _STATUS_OF_FINISH.get(messages[-1].metadata.get("finish"), status)
        if status == "completed" and self._setup.output is not None:
            try:
                output = self._setup.output.read(messages[-1].text)
            except InvalidOutput:
                status = "invalid_output"  # it was recorded by a run that wanted another form, or none
        start = next((i for i in range(len(messages) - 1, -1, -1) if messages[i].role in INPUTS), -1)
        # In the order of the thread: tools may end in any other.
        new = [message for message in messages if message.id in added] if ran else messages[start + 1 :]
        return Result(
            self.part.turn.thread,
            new,
            status,
            replayed=not ran,
            pending=self.waiting,
            output=output,
            summaries=self._summaries,
        )

    @property
    def waiting(self) -> list[PendingCall]:
        """The calls that a human has to decide on."""
        return self._calls.waiting

    async def perform(self, action: AskModel | RunTools) -> AsyncGenerator[Event, None]:
        """Do the next thing. Who cancels does not want open calls run later: they are closed then."""
        steps = self._calls.run(action) if isinstance(action, RunTools) else self._ask_model()
        try:
            async with aclosing(steps) as events:
                async for event in events:
                    yield event
        except (asyncio.CancelledError, GeneratorExit):
            try:
                await settled_task(self._calls.close(CANCELLED, CANCELLED_UNKNOWN))
            except (NarratorError, NothingToAnswer) as error:
                self._trace.log(logging.WARNING, "open calls could not be closed: %s", type(error).__name__)
            raise
        except OutOfTime:
            self._limit = "time_limit"
            await self._calls.close(OUT_OF_TIME, OUT_OF_TIME_UNKNOWN, but_waiting=True)

    async def _ask_model(self) -> AsyncGenerator[Event, None]:
        """Ask for the next message, with the oldest ones left out where the thread has become too long."""
        self._steps += 1
        self._trace.step_begins()
        seen, streamed = self.part.messages(), False
        await self._make_room(self._compaction.needed(seen, self._metadata))
        try:
            async with aclosing(self._answered(seen)) as events:
                async for event in events:
                    streamed = True
                    yield event
        except ContextTooLong:  # once a step: what is left cannot be much shorter
            if streamed or not await self._make_room(self._compaction.forced(seen, self._metadata)):
                raise
            async with aclosing(self._answered(seen)) as events:
                async for event in events:
                    yield event

    async def _make_room(self, decision: Awaitable[Summary | None]) -> bool:
        summary = await self._deadline.wait(decision)
        if summary is None:
            return False
        self._summaries.append(summary)
        await self.part.turn.set_metadata(SUMMARIES, with_summary(self._metadata, summary))
        return True

    @property
    def _metadata(self) -> dict[str, Any]:
        return self.part.turn.thread.metadata

    def _usage(self) -> Usage:
        """Of the run's messages, and of the summaries that it made."""
        return usage_of(self.part.added, self._summaries)

    async def _answered(self, seen: list[Message]) -> AsyncGenerator[Event, None]:
        """Stream an answer and store it. What was streamed before it was stopped is kept, marked as interrupted."""
        request = self._request(await self._view.of(seen))
        behind = seen[-1].id
        text: list[str] = []
        reply: Reply | None = None
        try:
            async with aclosing(self._trace.requested(self._setup.model, request)) as pieces:
                while (piece := await self._deadline.wait(anext(pieces, None))) is not None:
                    if isinstance(piece, Reply):
                        reply = piece
                    elif isinstance(piece, Reasoning):
                        yield ReasoningDelta(piece.text)
                    else:
                        text.append(piece)
                        yield TextDelta(piece)
        except (asyncio.CancelledError, GeneratorExit, OutOfTime):
            await settled_task(self._keep_partial("".join(text), behind))
            raise
        if reply is None:
            raise ModelAnswerBroken(f"{self._setup.model!r} ended its stream without a Reply")
        answer = self._answer(reply)
        self._trace.answered(answer)
        yield await self.part.add(answer, behind)

    def _request(self, messages: list[dict[str, Any]]) -> Request:
        output = self._setup.output
        return Request(messages, self._definitions, output.schema if output else None, self._setup.params)

    def _answer(self, reply: Reply) -> Message:
        """The reply as a message; an answer without the form that is needed keeps with it what is wrong."""
        metadata: dict[str, Any] = {} if reply.finish == "stop" else {"finish": reply.finish}
        if reply.reasoning is not None:
            metadata["reasoning"] = asdict(reply.reasoning)
        if reply.model is not None:
            metadata["model"] = reply.model
        if self._setup.output is not None and not reply.tool_calls and reply.finish == "stop":
            try:
                self._setup.output.read(reply.content or "")
            except InvalidOutput as error:
                self._invalid += 1
                metadata[INVALID] = str(error)
        return Message(
            role="assistant", content=reply.content, tool_calls=reply.tool_calls, usage=reply.usage, metadata=metadata
        )

    async def _keep_partial(self, text: str, behind: str) -> None:
        if not text:
            return
        try:
            await self.part.add(Message(role="assistant", content=text, metadata={INTERRUPTED: True}), behind)
        except NarratorError as error:
            self._trace.log(logging.WARNING, "an interrupted answer could not be stored: %s", type(error).__name__)
