"""Whose turn a thread is, as SQL: the lease in its row, and the queue of those who wait. Used by `_waiting.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Interval, and_, bindparam, delete, exists, func, or_, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from narrator._backend import Head, Lease, ThreadRef, Waiting
from narrator._schema import UtcDateTime, threads, waiting
from narrator._sql_calls import SqlCalls
from narrator._sql_listing import HEAD
from narrator._values import utc_now


class SqlTurns(SqlCalls):
    """The statements about turns, in one transaction of one connection."""

    async def take_free_turn(self, ref: ThreadRef, holder: str, length: timedelta) -> tuple[int, Head] | None:
        values = {**of_thread(ref), "holder": holder, **self._clock(length)}
        found = (await self._connection.execute(_take_free(self._postgres, ref.key is not None), values)).first()
        return None if found is None else (found[0], Head._make(found[1:]))

    async def lease(self, ref: ThreadRef) -> Lease | None:
        c = threads.c
        expired = or_(c.lease_until.is_(None), c.lease_until < self._now())
        wanted = exists().where(waiting.c.thread == c.key)
        query = select(c.fence, c.lease_holder, c.lease_since, expired, wanted).where(this_thread(ref.key is not None))
        found = (await self._connection.execute(query, of_thread(ref))).first()
        return None if found is None else Lease(found[0], found[1], found[2], bool(found[3]), bool(found[4]))

    async def take_lease(self, key: int, seen: int, holder: str, length: timedelta) -> bool:
        now = self._now()
        return await self._lease_change(
            key, seen, fence=seen + 1, lease_holder=holder, lease_since=now, lease_until=self._after(length)
        )

    async def renew_lease(self, key: int, fence: int, length: timedelta) -> bool:
        return await self._lease_change(key, fence, lease_until=self._after(length))

    async def end_lease(self, key: int, fence: int) -> None:
        await self._connection.execute(_END, {"of_key": key, "held": fence})

    async def _lease_change(self, key: int, held: int, **columns: Any) -> bool:
        where = and_(threads.c.key == key, threads.c.fence == held)
        return bool((await self._connection.execute(update(threads).where(where).values(columns))).rowcount)

    def _clock(self, length: timedelta) -> dict[str, Any]:
        """What a statement with `now` and `until` needs to be told."""
        if self._postgres:
            return {"length": length}
        now = utc_now()
        return {"now": now, "until": now + length}

    async def queue(self, key: int) -> list[Waiting]:
        c = waiting.c
        query = select(c.holder, c.until < self._now()).where(c.thread == key).order_by(c.place)
        return [Waiting(holder, bool(expired)) for holder, expired in await self._connection.execute(query)]

    async def keep_place(self, key: int, holder: str, length: timedelta) -> None:
        mine, until = and_(waiting.c.thread == key, waiting.c.holder == holder), self._after(length)
        if not (await self._connection.execute(update(waiting).where(mine).values(until=until))).rowcount:
            await self._connection.execute(self._insert(waiting).values(thread=key, holder=holder, until=until))

    async def leave_queue(self, key: int, holders: Sequence[str]) -> None:
        await self._connection.execute(delete(waiting).where(waiting.c.thread == key, waiting.c.holder.in_(holders)))


# -- made once: SQLAlchemy takes longer to put a statement together than to run it --------------------------------


def now(postgres: bool) -> ColumnElement[datetime]:
    """The database's clock; SQLite is told."""
    return func.clock_timestamp(type_=UtcDateTime) if postgres else bindparam("now", type_=UtcDateTime)


def this_thread(keyed: bool) -> ColumnElement[bool]:
    """Its row; with the owner, whoever has the key (promise P15)."""
    where = and_(threads.c.owner == bindparam("of_owner"), threads.c.id == bindparam("of_id"))
    return and_(threads.c.key == bindparam("of_key"), where) if keyed else where


def of_thread(ref: ThreadRef) -> dict[str, Any]:
    """What a statement with `this_thread` needs to be told."""
    return {"of_owner": ref.owner, "of_id": ref.id} | ({} if ref.key is None else {"of_key": ref.key})


@cache
def _take_free(postgres: bool, keyed: bool) -> ReturningUpdate[Any]:
    free = and_(threads.c.lease_until.is_(None), ~exists().where(waiting.c.thread == threads.c.key))
    until: Any = bindparam("until", type_=UtcDateTime)
    taken = {
        "fence": threads.c.fence + 1,
        "lease_holder": bindparam("holder"),
        "lease_since": now(postgres),
        "lease_until": now(postgres) + bindparam("length", type_=Interval) if postgres else until,
    }
    return update(threads).where(this_thread(keyed), free).values(taken).returning(threads.c.fence, *HEAD)


_END = (
    update(threads)
    .where(threads.c.key == bindparam("of_key"), threads.c.fence == bindparam("held"))
    .values(lease_holder=None, lease_since=None, lease_until=None)
)
