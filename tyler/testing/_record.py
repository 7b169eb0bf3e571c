"""A stored conversation as exchanges: what was put in, what the model said to it, and what its tools brought."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

from narrator import Message, Thread, ToolCall
from tyler._run import CANCELLED, CANCELLED_UNKNOWN, OUT_OF_TIME, OUT_OF_TIME_UNKNOWN
from tyler._steps import FAILED, INPUTS, INTERRUPTED, is_answer
from tyler._tool_calls import UNKNOWN_OUTCOME
from tyler.model import Reply
from tyler.testing._lines import Line
from tyler.tools import ToolResult
from tyler.wire import NO_RESULT

_CLOSED = (CANCELLED, CANCELLED_UNKNOWN, OUT_OF_TIME, OUT_OF_TIME_UNKNOWN, UNKNOWN_OUTCOME)
_BEYOND_BUDGET = "This call was not run: the run has used up its "


@dataclass(frozen=True)
class RecordedCall:
    """A call and the message that is its result, if there is one."""

    call: ToolCall
    message: Message | None

    @property
    def result(self) -> ToolResult:
        """What the model reads about it; of a call without a result the same as a model reads of one."""
        if self.message is None:
            return ToolResult(NO_RESULT, failed=True)
        said = self.message
        return ToolResult(said.text, list(said.attachments), bool(said.metadata.get(FAILED)), said.usage)

    @property
    def ended(self) -> bool:
        """Whether the result tells how the tool ended: no run closed the call, and it is not missing."""
        text = self.result.content
        return self.message is not None and not (
            self.result.failed and (text in _CLOSED or text.startswith(_BEYOND_BUDGET))
        )


@dataclass(frozen=True)
class RecordedStep:
    """A message of the model, and its calls; calls that share an id are one, as they are to a run."""

    message: Message
    calls: list[RecordedCall]

    @property
    def reply(self) -> Reply:
        """What the model said."""
        said = self.message
        finish = said.metadata.get("finish")
        return Reply(
            content=said.text or None,
            tool_calls=list(said.tool_calls),
            usage=said.usage,
            finish=finish if finish in ("length", "filtered") else "stop",
        )

    def messages(self) -> list[Message]:
        """Copies of the message and the results, one for each call."""
        results = [call.message or _without_result(call.call) for call in self.calls]
        return [copy.copy(message) for message in (self.message, *results)]


@dataclass
class Exchange:
    """Inputs that one `go` answers, and what was recorded behind them.

    `answered`: the steps end with an answer; else the run was stopped there. `behind`: what no run would say there,
    answers put in by hand and interrupted ones; it stands in the thread for the next exchanges.
    """

    inputs: list[Message] = field(default_factory=list)
    steps: list[RecordedStep] = field(default_factory=list)
    behind: list[RecordedStep] = field(default_factory=list)
    answered: bool = False
    notes: list[str] = field(default_factory=list)


def exchanges_of(messages: Sequence[Message]) -> list[Exchange]:
    """The conversation in exchanges; the notes say what is not replayed."""
    results, lost = _results(messages)
    exchanges = [Exchange()]
    for index, message in enumerate(messages):
        current = exchanges[-1]
        if message.role in INPUTS:
            if current.steps or current.behind:
                exchanges.append(current := Exchange())
            current.inputs.append(message)
        elif message.role == "assistant":
            _take(current, RecordedStep(message, _calls(message, results.get(index, {}))), messages[index + 1 :])
        elif index in lost:
            current.notes.append(f"a result without a call: {message.name or message.tool_call_id or 'nameless'}")
    return [exchange for exchange in exchanges if exchange != Exchange()]


def script_of(thread: Thread) -> list[Line]:
    """The model's part of a stored conversation, for a ScriptedModel: `ScriptedModel(script_of(thread))`.

    One Reply for each request that its inputs led to, with the recorded ids of calls and usages. Interrupted answers
    and answers that were put in by hand are not in it.
    """
    return [step.reply for exchange in exchanges_of(thread.messages) for step in exchange.steps]


def _take(exchange: Exchange, step: RecordedStep, following: Sequence[Message]) -> None:
    if step.message.metadata.get(INTERRUPTED) and not step.message.tool_calls:
        after = next((message for message in following if message.role != "tool"), None)
        if after is not None and after.role == "assistant":  # no model sees it any more
            exchange.notes.append("an interrupted answer, which was asked for anew")
            return
        exchange.notes.append("the answer was interrupted here")
        exchange.behind.append(step)
    elif exchange.answered or exchange.behind or not exchange.inputs:
        exchange.notes.append("an answer that was put in by hand")
        exchange.behind.append(step)
    else:
        exchange.steps.append(step)
        exchange.answered = is_answer(step.message)
        missing = [call.call.name for call in step.calls if call.message is None]
        exchange.notes += [f"a call without a result: {name}" for name in missing]


def _calls(message: Message, results: dict[str, Message]) -> list[RecordedCall]:
    first = {call.id: call for call in reversed(message.tool_calls)}
    return [RecordedCall(call, results.get(call.id)) for call in message.tool_calls if first[call.id] is call]


def _results(messages: Sequence[Message]) -> tuple[dict[int, dict[str, Message]], set[int]]:
    """Results by the place of the message that asks and the call's id; the places of those that nobody asked for.

    A result belongs to the nearest message before it that has a call of this id.
    """
    found: dict[int, dict[str, Message]] = {}
    asked: dict[str, int] = {}
    lost: set[int] = set()
    for index, message in enumerate(messages):
        if message.role == "assistant":
            asked |= {call.id: index for call in message.tool_calls}
        elif message.role == "tool":
            place = asked.get(message.tool_call_id or "")
            if place is None or (message.tool_call_id or "") in found.get(place, {}):
                lost.add(index)
            else:
                found.setdefault(place, {})[message.tool_call_id or ""] = message
    return found, lost


def _without_result(call: ToolCall) -> Message:
    return Message(
        role="tool", content=NO_RESULT, name=call.name or None, tool_call_id=call.id, metadata={FAILED: True}
    )
