"""The life of tool calls in memory; the other rows are `_memory.py`'s."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from narrator._backend import Asked, CallRecord, CallState, Decision, Question
from narrator._values import utc_now


@dataclass(frozen=True)
class CallRow:
    """One call that was asked about or started."""

    state: CallState
    approval: str | None = None
    digest: str | None = None
    request: str = ""
    asked_at: datetime | None = None
    reason: str | None = None
    by: str | None = None
    valid_until: datetime | None = None

    def record(self) -> CallRecord:
        """As a run reads it."""
        expired = self.valid_until is not None and self.valid_until <= utc_now()
        return CallRecord(self.state, self.approval, self.digest, self.reason, self.asked_at, expired)


class CallRows:
    """The calls of one store. Each change notes in `undo` how it is undone."""

    def __init__(self) -> None:
        self.undo: list[Callable[[], object]] = []
        self._calls: dict[int, dict[tuple[str, str], CallRow]] = {}  # thread -> (message, call) -> row

    def _names(self, key: int) -> tuple[str, str]:
        """Owner and id of a thread."""
        raise NotImplementedError

    async def ask_calls(self, key: int, message: str, questions: Sequence[Question]) -> None:
        now = utc_now()
        for call_id, approval, digest, request, reason in questions:
            self._put_call(key, (message, call_id), CallRow("awaiting", approval, digest, request, now, reason=reason))

    async def start_calls(self, key: int, message: str, call_ids: Sequence[str]) -> None:
        for call_id in call_ids:
            row = self._calls.get(key, {}).get((message, call_id), CallRow("started"))
            self._put_call(key, (message, call_id), replace(row, state="started"))

    async def start_approved(self, key: int, message: str, call_id: str, digest: str) -> bool:
        row = self._calls.get(key, {}).get((message, call_id))
        if row is None or row.state != "approved" or row.digest != digest or row.record().expired:
            return False
        self._put_call(key, (message, call_id), replace(row, state="started"))
        return True

    async def finish_call(self, key: int, message: str, call_id: str) -> None:
        if row := self._calls.get(key, {}).get((message, call_id)):
            self._put_call(key, (message, call_id), replace(row, state="finished"))

    async def call_states(self, key: int, message: str) -> dict[str, CallRecord]:
        return {call: row.record() for (m, call), row in self._calls.get(key, {}).items() if m == message}

    async def asked(self, owner: str | None, thread_id: str | None, limit: int | None) -> list[Asked]:
        every = [
            self._asked(key, message, row)
            for key, rows in self._calls.items()
            for (message, _), row in rows.items()
            if row.state == "awaiting"
        ]
        found = [asked for asked in every if owner in (None, asked.owner) and thread_id in (None, asked.thread)]
        return sorted(found, key=lambda asked: (asked.asked_at, asked.approval))[:limit]

    async def decide(self, owner: str | None, approval: str, decision: Decision) -> Asked | None:
        for key, rows in self._calls.items():
            for at, row in rows.items():
                if row.approval == approval and row.state in ("awaiting", "approved", "denied"):
                    asked = self._asked(key, at[0], row)
                    if owner not in (None, asked.owner):
                        return None
                    until = None if decision.length is None else utc_now() + decision.length
                    state: CallState = "approved" if decision.approved else "denied"
                    decided = replace(row, state=state, reason=decision.reason, by=decision.by, valid_until=until)
                    self._put_call(key, at, decided)
                    return asked
        return None

    def _asked(self, key: int, message: str, row: CallRow) -> Asked:
        owner, thread_id = self._names(key)
        assert row.approval is not None
        assert row.asked_at is not None
        reason = row.reason if row.state == "awaiting" else None  # afterwards it is the decision's
        return Asked(row.approval, owner, thread_id, message, row.request, row.asked_at, reason)

    def _put_call(self, key: int, at: tuple[str, str], row: CallRow) -> None:
        rows = self._calls.setdefault(key, {})
        before = rows.get(at)
        self.undo.append(lambda: rows.pop(at, None) if before is None else rows.__setitem__(at, before))
        rows[at] = row

    def _forget_calls(self, key: int, messages: set[str] | None = None) -> None:
        """Of these messages, or of the whole thread."""
        before = self._calls.get(key, {})
        self.undo.append(lambda: self._calls.__setitem__(key, before))
        self._calls[key] = {} if messages is None else {at: r for at, r in before.items() if at[0] not in messages}
