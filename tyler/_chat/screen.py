"""Screen: what a conversation shows, and the words for each event. Two kinds: plain text, and rich's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal, Protocol

from narrator import ToolCall
from tyler._chat.printable import escaped, shortened
from tyler.events import (
    ApprovalNeeded,
    Event,
    Finished,
    MessageAdded,
    TextDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from tyler.result import Status

CallState = Literal["runs", "done", "failed"]
MOST_ARGUMENT_CHARS = 40
MOST_CALL_CHARS = 120
MOST_PROGRESS_CHARS = 60
MOST_FAILURE_CHARS = 160

_ENDS: Mapping[Status, str] = {
    "cut": "the model stopped at its length limit: the answer is not whole",
    "filtered": "the provider's filter stopped the model: the answer is not whole",
    "awaiting_approval": "stopped: a call waits for approval; in a terminal the next message asks for it",
    "repeated_failure": "stopped: the same call failed three times",
    "step_limit": "stopped: the limit of model calls is reached; any message goes on",
    "tool_call_limit": "stopped: the limit of tool calls is reached; any message goes on",
    "time_limit": "stopped: the time is used up; any message goes on",
    "token_limit": "stopped: the limit of tokens is reached; any message goes on",
    "cost_limit": "stopped: the limit of cost is reached; any message goes on",
}


class Screen(Protocol):
    """Where a conversation is shown. All text given to it may be anybody's; it shows none of its control characters."""

    def begin(self) -> None:
        """An answer is awaited."""

    def text(self, piece: str) -> None:
        """The next piece of the answer."""

    def end_text(self) -> None:
        """The text so far is whole."""

    def call(self, id: str, what: str, state: CallState, more: str = "") -> None:
        """A tool call, which runs (again with each progress), is done or has failed."""

    def end(self) -> None:
        """Nothing more comes: keep what was shown. Also after a failure or an interrupt."""

    def note(self, text: str) -> None:
        """A line of the program's own."""

    def error(self, text: str) -> None:
        """A failure, in one line."""


def show(screen: Screen, event: Event) -> None:
    """Show what has happened."""
    match event:
        case TextDelta(text):
            screen.text(text)
        case MessageAdded(message) if message.role == "assistant":
            screen.end_text()
        case ToolStarted(call):
            screen.call(call.id, described(call), "runs")
        case ToolProgress(call, data):
            screen.call(call.id, described(call), "runs", shortened(_as_text(data), MOST_PROGRESS_CHARS))
        case ToolFinished(call, result):
            reason = shortened(result.content, MOST_FAILURE_CHARS) if result.failed else ""
            screen.call(call.id, described(call), "failed" if result.failed else "done", reason)
        case ApprovalNeeded(pending):
            screen.note(f"[{described(pending.call)} waits for approval]")
        case Finished(result) if ending := _ENDS.get(result.status):
            screen.note(f"({ending})")


def described(call: ToolCall) -> str:
    """The call in one short line: `fetch_page(url="https://…")`."""
    name = shortened(call.name, MOST_ARGUMENT_CHARS)
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        return f"{name}({shortened(call.arguments, MOST_CALL_CHARS)})"
    pairs = (
        f"{shortened(key, MOST_ARGUMENT_CHARS)}={shortened(_as_text(value, quoted=True), MOST_ARGUMENT_CHARS)}"
        for key, value in arguments.items()
    )
    return f"{name}({shortened(', '.join(pairs), MOST_CALL_CHARS)})"


def one_line(message: str) -> str:
    """An error's message, all of it, in one line."""
    return escaped(" ".join(message.split()))


def _as_text(data: object, *, quoted: bool = False) -> str:
    if isinstance(data, str) and not quoted:
        return data
    try:
        return json.dumps(data, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        return str(data)
