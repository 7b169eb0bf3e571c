"""Gate: sorts the open calls of a message into those that may run, those that are denied, and those that wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from narrator import Message, PendingCall, ToolCall
from narrator._backend import CallRecord
from tyler._part import Part
from tyler._setup import Setup
from tyler.approval import ApprovalRequest, Verdict, digest_of
from tyler.budget import Deadline
from tyler.tools import ToolArgumentsError, ToolContext

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

    def __init__(self, part: Part, setup: Setup, deadline: Deadline) -> None:
        self._part = part
        self._setup = setup
        self._deadline = deadline

    async def sort(
        self,
        asked: Message,
        calls: Sequence[ToolCall],
        records: Mapping[str, CallRecord],
        context: Callable[[ToolCall], ToolContext],
    ) -> Sorted:
        """A decision that was made about a call as it is now stands; the agent's rules decide on the others."""
        found, questions = Sorted(), []
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
                request = ApprovalRequest(call, tool, context(call))
                verdict = await self._deadline.wait(self._setup.approval.verdict(request))
                if verdict is True:
                    found.run.append(call)
                elif verdict is not None:
                    found.denied[call.id] = _denied(verdict)
                elif known and known.approval and known.asked_at:
                    thread = self._part.turn.thread
                    found.waiting.append(
                        PendingCall(known.approval, thread.id, thread.owner, asked.id, call, known.asked_at)
                    )
                else:
                    questions.append((call, digest))
        if questions:
            found.waiting += await self._part.turn.ask(asked.id, questions)
        return found


def _fits(check: Callable[[str], None], call: ToolCall) -> bool:
    try:
        check(call.arguments)
    except ToolArgumentsError:
        return False
    return True


def _denied(reason: Verdict) -> str:
    return f"{DENIED} Reason: {reason}" if isinstance(reason, str) and reason else DENIED
