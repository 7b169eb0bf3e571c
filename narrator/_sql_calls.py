"""The life of tool calls as SQL: asked, decided, started, finished. The other rows are `_sql_rows.py`'s."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Interval, and_, case, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from narrator._backend import Asked, CallRecord, Decision, Question
from narrator._schema import UtcDateTime, calls, threads
from narrator._values import utc_now

_ASKED: list[ColumnElement[Any]] = [
    calls.c.approval,
    threads.c.owner,
    threads.c.id,
    calls.c.message,
    calls.c.request,
    calls.c.asked_at,
    case((calls.c.state == "awaiting", calls.c.reason)),  # afterwards the column has the decision's
]
_UNDECIDED = dict.fromkeys(("decided_at", "decided_by", "valid_until"))


class SqlCalls:
    """The statements about calls, in one transaction of one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._postgres = connection.dialect.name == "postgresql"
        self._insert: Any = postgresql.insert if self._postgres else sqlite.insert

    def _now(self) -> Any:
        """The database's clock. SQLite has none of its own: it runs in this process."""
        return func.clock_timestamp(type_=UtcDateTime) if self._postgres else utc_now()

    def _after(self, length: timedelta) -> Any:
        return self._now() + literal(length, Interval) if self._postgres else utc_now() + length

    async def ask_calls(self, key: int, message: str, questions: Sequence[Question]) -> None:
        for question in questions:
            asked = {"state": "awaiting", "asked_at": self._now(), "started_at": None, **_UNDECIDED}
            await self._put(key, message, question.call_id, asked | question._asdict())

    async def start_calls(self, key: int, message: str, call_ids: Sequence[str]) -> None:
        for call_id in call_ids:
            await self._put(key, message, call_id, {"state": "started", "started_at": self._now()})

    async def _put(self, key: int, message: str, call_id: str, columns: dict[str, Any]) -> None:
        row = self._insert(calls).values({**columns, "thread": key, "message": message, "call_id": call_id})
        same = [calls.c.thread, calls.c.message, calls.c.call_id]
        await self._connection.execute(row.on_conflict_do_update(index_elements=same, set_=columns))

    async def start_approved(self, key: int, message: str, call_id: str, digest: str) -> bool:
        c, now = calls.c, self._now()
        where = and_(_this(key, message, call_id), c.state == "approved", c.digest == digest, ~self._expired())
        started = update(calls).where(where).values(state="started", started_at=now)
        return bool((await self._connection.execute(started)).rowcount)

    async def finish_call(self, key: int, message: str, call_id: str) -> None:
        finished = update(calls).where(_this(key, message, call_id)).values(state="finished", finished_at=self._now())
        await self._connection.execute(finished)

    async def call_states(self, key: int, message: str) -> dict[str, CallRecord]:
        c = calls.c
        query = select(c.call_id, c.state, c.approval, c.digest, c.reason, c.asked_at, self._expired())
        rows = await self._connection.execute(query.where(c.thread == key, c.message == message))
        return {row[0]: CallRecord._make([*row[1:6], bool(row[6])]) for row in rows}

    async def asked(self, owner: str | None, thread_id: str | None, limit: int | None) -> list[Asked]:
        query = select(*_ASKED).join(threads, threads.c.key == calls.c.thread).where(calls.c.state == "awaiting")
        if owner is not None:
            query = query.where(threads.c.owner == owner)
        if thread_id is not None:
            query = query.where(threads.c.id == thread_id)
        query = query.order_by(calls.c.asked_at, calls.c.approval).limit(limit)
        return [Asked._make(row) for row in await self._connection.execute(query)]

    async def decide(self, owner: str | None, approval: str, decision: Decision) -> Asked | None:
        query = select(*_ASKED).join(threads, threads.c.key == calls.c.thread).where(calls.c.approval == approval)
        if owner is not None:
            query = query.where(threads.c.owner == owner)
        found = (await self._connection.execute(query)).first()
        if found is None:
            return None
        open_still = and_(calls.c.approval == approval, calls.c.state.in_(("awaiting", "approved", "denied")))
        decided = update(calls).where(open_still).values(
            state="approved" if decision.approved else "denied",
            decided_at=self._now(),
            decided_by=decision.by,
            reason=decision.reason,
            valid_until=self._after(decision.length) if decision.length is not None else None,
        )  # fmt: skip
        return Asked._make(found) if (await self._connection.execute(decided)).rowcount else None

    def _expired(self) -> ColumnElement[bool]:
        return and_(calls.c.valid_until.is_not(None), calls.c.valid_until <= self._now())


def _this(key: int, message: str, call_id: str) -> ColumnElement[bool]:
    return and_(calls.c.thread == key, calls.c.message == message, calls.c.call_id == call_id)
