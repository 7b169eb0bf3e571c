"""What `agent.stream` yields, in the order in which it happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from narrator import Message, PendingCall, ToolCall
from tyler.result import Result
from tyler.tools import ToolResult


@dataclass(frozen=True)
class TextDelta:
    """A piece of the answer, as the model writes it."""

    text: str


@dataclass(frozen=True)
class ReasoningDelta:
    """A piece of what the model thinks before it answers, where its provider shows that."""

    text: str


@dataclass(frozen=True)
class MessageAdded:
    """This message is in the thread, and stored."""

    message: Message


@dataclass(frozen=True)
class ApprovalNeeded:
    """This call waits for a human's decision, and the question is stored; the run pauses once nothing else is open."""

    pending: PendingCall


@dataclass(frozen=True)
class ToolStarted:
    """The start of this call is stored; its tool runs now."""

    call: ToolCall


@dataclass(frozen=True)
class ToolProgress:
    """What the call's tool says of itself, by `ctx.progress(data)`; nothing is stored."""

    call: ToolCall
    data: object


@dataclass(frozen=True)
class ToolFinished:
    """The call's result is stored."""

    call: ToolCall
    result: ToolResult


@dataclass(frozen=True)
class Finished:
    """The last event of every stream that is not interrupted."""

    result: Result[Any]


Event = (
    TextDelta | ReasoningDelta | MessageAdded | ApprovalNeeded | ToolStarted | ToolProgress | ToolFinished | Finished
)
