"""Which threads a listing is of, as SQL, the most recently saved first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from narrator._backend import Head, Selection
from narrator._schema import thread_metadata, threads

_HEAD = [threads.c[name] for name in Head._fields]
_FEW = 1_000  # so many are sorted sooner than they are met among all threads, the newest first


async def read_heads(connection: AsyncConnection, selection: Selection) -> list[Head]:
    """See Transaction.select."""
    c, entry = threads.c, thread_metadata.c
    query = select(*_HEAD).order_by(c.updated_at.desc(), c.key.desc()).limit(selection.limit)
    if selection.owner is not None:
        query = query.where(c.owner == selection.owner)
    rare = await _rare(connection, selection.metadata) if connection.dialect.name == "sqlite" else None
    for digest in selection.metadata:
        if digest == rare:
            query = query.where(c.key.in_(select(entry.thread).where(entry.digest == digest)))
        else:
            query = query.where(exists().where(entry.thread == c.key, entry.digest == digest))
    query = _between(query, selection)
    return [Head._make(row) for row in await connection.execute(query)]


def _between(query: Select[Any], selection: Selection) -> Select[Any]:
    c = threads.c
    if selection.updated_before is not None:
        query = query.where(c.updated_at < selection.updated_before)
    if selection.before is not None:
        at, key = selection.before
        # The first condition follows from the second, but only it tells the database where in the index to begin.
        query = query.where(c.updated_at <= at, or_(c.updated_at < at, and_(c.updated_at == at, c.key < key)))
    return query


async def _rare(connection: AsyncConnection, digests: Sequence[bytes]) -> bytes | None:
    """An entry that few threads have, if any. SQLite has no statistics: left alone it would go through all threads."""
    entry = thread_metadata.c
    for digest in digests:
        some = select(entry.thread).where(entry.digest == digest).limit(_FEW + 1).subquery()
        if (await connection.execute(select(func.count()).select_from(some))).scalar_one() <= _FEW:
            return digest
    return None
