"""Result: what one `go` brought."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal

from typing_extensions import TypeVar

from narrator import Message, PendingCall, Thread, Usage
from narrator._html import message_rows, table
from narrator.message import total_usage
from tyler.budget import Limit
from tyler.context import Summary

Status = Literal["completed", "cut", "filtered", "repeated_failure", "awaiting_approval", "invalid_output"] | Limit
# What `output` is: what was asked for by go(output=...), None otherwise.
OutputT_co = TypeVar("OutputT_co", covariant=True, default=Any)


def usage_of(messages: Iterable[Message], summaries: Sequence[Summary]) -> Usage:
    """What these messages, and making these summaries, have cost together; the cost is None where it is not known."""
    usage = total_usage(messages)
    for summary in summaries:
        if summary.model:
            usage += summary.usage or Usage()
    return usage


@dataclass(frozen=True)
class Result(Generic[OutputT_co]):
    """The outcome of a run. `thread` is the object that was passed in, up to date with what is stored.

    `status`: "completed"; "cut" when the model stopped at its length limit, and "filtered" when the
    provider's filter stopped it, so `content` is not whole;
    "step_limit", "tool_call_limit", "time_limit", "token_limit" or "cost_limit" when its Budget ended the run,
    "repeated_failure" when the model made the same failing call three times; `go` takes it up again.
    "invalid_output" when the answer did not fit `go(output=...)` three times (or a recorded one does not).
    "awaiting_approval": the calls in `pending` wait for `store.decide(...)`, and then for another `go`.
    `summaries`: those that the run made to keep within its `ContextWindow`.
    `output`: the answer as an instance of the type that was asked for; None unless completed.
    `replayed`: the answer was recorded before and no model was called; `new_messages` are then the recorded ones.
    """

    thread: Thread
    new_messages: list[Message]
    status: Status
    replayed: bool = False
    pending: list[PendingCall] = field(default_factory=list)
    output: OutputT_co | None = None
    summaries: list[Summary] = field(default_factory=list)

    @property
    def content(self) -> str:
        """The text of the last answer, "" where there is none."""
        return next((m.text for m in reversed(self.new_messages) if m.role == "assistant"), "")

    @property
    def usage(self) -> Usage:
        """Tokens and cost of this run's model calls; zero tokens when it was replayed."""
        return usage_of([] if self.replayed else self.new_messages, self.summaries)

    def _repr_html_(self) -> str:
        used = self.usage
        cost = "cost unknown" if used.cost_usd is None else f"${used.cost_usd:.4f}"
        spent = "replayed" if self.replayed else f"{used.input_tokens + used.output_tokens:,} tokens, {cost}"
        return table(f"{self.status} ({spent})", ("role", "content"), message_rows(self.new_messages))

    def __repr__(self) -> str:
        return f"Result({self.status!r}, {len(self.new_messages)} new messages in {self.thread!r})"
