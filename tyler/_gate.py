"""Gate: sorts the open calls of a message into those that may run, those that are denied, and those that wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from narrator import Message, PendingCall, ToolCall
from narrator._backend import CallRecord
from tyler._guard import Guard
from tyler._part import Part
from tyler._setup import Setup
from tyler.approval import ApprovalRequest, Verdict, digest_of
from tyler.budget import Deadline
from tyler.tools import ToolArgumentsError, ToolContext, Touch

DENIED = "This call was denied; it was not run."


@dataclass
class Sorted:
    """What is to be done with each call."""

    run: list[ToolCall] = field(default_factory=list)
    approved: dict[str, str] = field(default_factory=dict)  # of those: call id -> digest that a human approved
    denied: dict[str, str] = field(default_factory=dict)  # call id -> what the model is told
    waiting: list[PendingCall] = field(default_factory=list)


class Gate:
    """Asks who has to be asked, a call at a time."""

    def __init__(self, part: Part, setup: Setup, deadline: Deadline, guard: Guard) -> None:
        self._guard = guard
        self._part = part
        self._setup = setup
        self._deadline = deadline

    async def sort(
        self,
        asked: Message,
        calls: Sequence[ToolCall],
        records: Mapping[str, CallRecord],
        touched: Mapping[Touch, str],
        context: Callable[[ToolCall], ToolContext],
    ) -> Sorted:
        """A decision that was made about a call as it is now stands; the agent's rules decide on the others."""
        found, questions = Sorted(), []
        reasons: dict[str, str] = {}
        for call in calls:
            tool, record = self._setup.tools.get(call.name), records.get(call.id)
            digest = digest_of(call, tool) if tool else ""
            known = record if record and record.digest == digest and not record.expired else None
            if tool is None or (known and known.state == "started") or not _fits(tool.check, call):
                found.run.append(call)  # what cannot run tells the model so, and has no effect
            elif known and known.state == "approved":
                found.run.append(call)
                found.approved[call.id] = digest
            elif known and known.state == "denied":
                found.denied[call.id] = _denied(known.reason)
            else:
                reason = self._guard.reason(tool, call, touched, self._part.messages()) if self._setup.guard else None
                request = ApprovalRequest(call, tool, context(call), reason)
                verdict = await self._deadline.wait(self._setup.approval.verdict(request))
                if verdict is True:
                    found.run.append(call)
                elif verdict is not None:
                    found.denied[call.id] = _denied(verdict)
                elif known and known.approval and known.asked_at:
                    thread, at = self._part.turn.thread, known.asked_at
                    pending = PendingCall(known.approval, thread.id, thread.owner, asked.id, call, at, known.reason)
                    found.waiting.append(pending)
                elif reason and self._setup.store is None and not tool.asks(request.arguments):
                    found.denied[call.id] = _denied(f"{reason}. Use an address that the user wrote, or go on without.")
                else:
                    questions.append((call, digest))
                    reasons |= {call.id: reason} if reason else {}
        if questions:
            found.waiting += await self._part.turn.ask(asked.id, questions, reasons)
        return found


def _fits(check: Callable[[str], None], call: ToolCall) -> bool:
    try:
        check(call.arguments)
    except ToolArgumentsError:
        return False
    return True


def _denied(reason: Verdict) -> str:
    return f"{DENIED} Reason: {reason}" if isinstance(reason, str) and reason else DENIED
