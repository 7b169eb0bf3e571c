"""A tool call that waits for a human's decision, and the decision. Which calls have to wait is the agent's business."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from narrator._backend import Asked, Backend, Decision, Transaction
from narrator._values import clean_text
from narrator._writer import ThreadWriter
from narrator.errors import ApprovalNotFound
from narrator.message import ToolCall


@dataclass(frozen=True)
class PendingCall:
    """What a human has to decide on: `store.decide(pending.id, approved=True)`.

    `id` stands for this very question: for these arguments, of this tool as it is defined now. Once one of them has
    changed, or the call was started, the id is void. `reason`: why a human is asked, where more than the tool itself
    says so. The arguments are not shown in its repr.
    """

    id: str
    thread_id: str
    owner: str | None
    message_id: str
    call: ToolCall = field(repr=False)
    asked_at: datetime
    reason: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What the tool would be called with, read from the call's JSON. Show this: escapes can hide in the text."""
        found: dict[str, Any] = json.loads(self.call.arguments.strip() or "{}")
        return found

    @property
    def tool_name(self) -> str:
        """The tool that would run."""
        return self.call.name


def decision(approved: bool, reason: str | None, by: str | None, valid_for: timedelta | None) -> Decision:
    """A human's decision, checked. ValueError for one that would be void at once."""
    if valid_for is not None and valid_for <= timedelta(0):
        raise ValueError(f"valid_for is {valid_for!r}; it must be above 0, or None")
    return Decision(approved, reason and clean_text(reason), by and clean_text(by), valid_for)


async def pending_calls(
    backend: Backend, owner: str | None, thread_id: str | None, limit: int | None
) -> list[PendingCall]:
    """See ThreadStore.pending_calls."""

    wanted = thread_id and clean_text(thread_id)

    async def work(tx: Transaction, _attempt: int) -> list[Asked]:
        return await tx.asked(owner, wanted, limit)

    return [_pending(asked) for asked in await backend.run(work, write=False)]


async def decide(writer: ThreadWriter, owner: str | None, pending_id: str, decision: Decision) -> PendingCall:
    """See ThreadStore.decide."""

    async def work(tx: Transaction, _attempt: int) -> Asked | None:
        return await tx.decide(owner, clean_text(pending_id), decision)

    asked = await writer.commit(work)
    if asked is None:
        raise ApprovalNotFound(
            f"no tool call waits for a decision as {pending_id!r} here: it was started, closed or asked about anew "
            "since, or is another owner's; see pending_calls()"
        )
    return _pending(asked)


def _pending(asked: Asked) -> PendingCall:
    call = ToolCall.model_validate_json(asked.request)
    owner = asked.owner or None
    return PendingCall(asked.approval, asked.thread, owner, asked.message, call, asked.asked_at, asked.reason)
