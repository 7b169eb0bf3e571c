"""Which threads a listing is about, as SQL. Where a filter leaves few of them, they are looked up; else walked to.

Neither way is right for every filter, and PostgreSQL does not choose well between them: it takes the threads that pass
for spread evenly, counts workers as free, and after five executions uses a plan that knows no values.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, any_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from narrator._backend import Head, Selection
from narrator._schema import thread_metadata, threads

HEAD = [threads.c[name] for name in Head._fields]
FEW = 2_000  # looked up in about 10 ms; of more, a page is found among the newest 2,500 of 100,000 threads


async def read_heads(connection: AsyncConnection, selection: Selection) -> list[Head]:
    """See Transaction.select."""
    c = threads.c
    query = select(*HEAD).order_by(c.updated_at.desc(), c.key.desc()).limit(selection.limit)
    if selection.owner is not None:
        query = query.where(c.owner == selection.owner)
    if selection.updated_before is not None:
        query = query.where(c.updated_at < selection.updated_before)
    if selection.before is not None:
        at, key = selection.before
        # The first condition follows from the second, but only it tells the database where in the index to begin.
        query = query.where(c.updated_at <= at, or_(c.updated_at < at, and_(c.updated_at == at, c.key < key)))
    begin = await _rare_entry(connection, selection) if selection.metadata else None
    postgres = connection.dialect.name == "postgresql"
    for digest in selection.metadata:
        query = query.where(_looked_up(digest, postgres=postgres) if digest == begin else _has(digest))
    return [Head._make(row) for row in await connection.execute(query)]


async def _rare_entry(connection: AsyncConnection, selection: Selection) -> bytes | None:
    """The digest that fewest threads have, or None where it is better to walk through the threads, newest first.

    That is where many threads have it, unless all that pass are wanted; or where the owner has fewer threads.
    """
    c = threads.c
    candidates: dict[bytes | None, Select[Any]] = {digest: _keys(digest) for digest in selection.metadata}
    if selection.owner is not None:
        candidates[None] = select(c.key).where(c.owner == selection.owner)
    bounded = [candidate.limit(FEW + 1).subquery() for candidate in candidates.values()]
    counts = select(*(select(func.count()).select_from(rows).scalar_subquery() for rows in bounded))
    found = (await connection.execute(counts)).one()
    least, rarest = min(zip(found, candidates, strict=True), key=itemgetter(0))
    return rarest if least <= FEW or selection.limit is None else None


def _keys(digest: bytes) -> Select[Any]:
    # In the index's order, or PostgreSQL would go through the table for a digest that it takes for a common one.
    c = thread_metadata.c
    return select(c.thread).where(c.digest == digest).order_by(c.thread)


def _looked_up(digest: bytes, *, postgres: bool) -> ColumnElement[bool]:
    keys = _keys(digest)
    # An array, for PostgreSQL would make a join of IN, and go through all threads for one of 1,000 rows.
    return threads.c.key == any_(func.array(keys.scalar_subquery())) if postgres else threads.c.key.in_(keys)


def _has(digest: bytes) -> ColumnElement[bool]:
    # Not EXISTS, of which PostgreSQL would make a join that begins with the entries, however many they are.
    c = thread_metadata.c
    found = select(c.thread).where(c.thread == threads.c.key, c.digest == digest)
    return found.scalar_subquery().is_not(None)
