"""What a search reads, as SQL: the text of a thread's messages, from its end. Long ones only when asked for alone."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, case, func, null, select
from sqlalchemy.ext.asyncio import AsyncConnection

from narrator._backend import TextRow
from narrator._codec import PARTS
from narrator._schema import messages


async def read_texts(
    connection: AsyncConnection, keys: Sequence[int], before: int | None, limit: int, max_chars: int | None
) -> list[TextRow]:
    """See Transaction.texts."""
    c = messages.c
    is_parts = and_(c.content.is_(None), func.substr(c.detail, 1, len(PARTS)) == PARTS)
    said = case((c.role.in_(("user", "assistant")), case((is_parts, c.detail), else_=c.content)), else_=null())
    chars = func.coalesce(func.length(said), 0)
    text = said if max_chars is None else case((chars <= max_chars, said), else_=null())
    query = select(c.thread, c.position, c.id, c.role, text, is_parts, chars, c.created_at)
    if len(keys) == 1:
        query = query.where(c.thread == keys[0]).order_by(c.position.desc()).limit(limit)
    else:  # neither order nor limit: for their sake PostgreSQL would go through the threads of everybody
        query = query.where(c.thread.in_(keys))
    if before is not None:
        query = query.where(c.position < before)
    return [TextRow._make([*row[:5], bool(row[5]), *row[6:]]) for row in await connection.execute(query)]
