"""The row operations as SQLAlchemy Core statements, the same for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from narrator._backend import TEXT_CHARS, Head, Selection, TextRow, ThreadRef, metadata_digest
from narrator._codec import StoredMessage
from narrator._collector import held_back
from narrator._schema import files, message_files, messages, thread_metadata, threads
from narrator._sql_listing import HEAD, read_heads
from narrator._sql_texts import read_texts
from narrator._sql_turns import SqlTurns, now, of_thread, this_thread
from narrator._values import utc_now

_ROW = [messages.c[name] for name in StoredMessage._fields]
_CHUNK = 500  # ids in one statement: SQLite allows 32,766 parameters, PostgreSQL 32,767


class SqlTransaction(SqlTurns):
    """Row operations in one transaction of one connection."""

    async def claim(
        self,
        ref: ThreadRef,
        *,
        write: str,
        grow: int = 0,
        count: int = 0,
        created_at: datetime | None = None,
        fence: int | None = None,
    ) -> Head | None:
        values: dict[str, Any] = {"grow": grow, "by": count, "token": write}
        if not self._postgres:
            values["now"] = utc_now()
        if created_at is not None:
            statement = _claim_or_make(self._postgres)
            values |= {"new_owner": ref.owner, "new_id": ref.id, "made": created_at}
        else:
            statement = _claim(self._postgres, keyed=ref.key is not None, fenced=fence is not None)
            values |= of_thread(ref) | ({} if fence is None else {"held": fence})
        found = (await self._connection.execute(statement, values)).first()
        return None if found is None else Head._make(found)

    async def head(self, ref: ThreadRef) -> Head | None:
        query = select(*HEAD).where(this_thread(ref.key is not None))
        found = (await self._connection.execute(query, of_thread(ref))).first()
        return None if found is None else Head._make(found)

    async def heads(self, id: str) -> list[Head]:
        query = select(*HEAD).where(threads.c.id == id).order_by(threads.c.owner).limit(2)  # none's before all others
        return [Head._make(row) for row in await self._connection.execute(query)]

    async def set_head(self, key: int, **columns: Any) -> None:
        await self._connection.execute(update(threads).where(threads.c.key == key).values(columns))

    async def metadata(self, keys: Sequence[int]) -> dict[int, dict[str, str]]:
        found: dict[int, dict[str, str]] = {}
        c = thread_metadata.c
        for chunk in _chunks(keys):
            query = select(c.thread, c.name, c.value).where(c.thread.in_(chunk))
            for key, name, value in await self._connection.execute(query):
                found.setdefault(key, {})[name] = value
        return found

    async def set_metadata(self, key: int, values: Mapping[str, str | None]) -> None:
        c = thread_metadata.c
        gone = [name for name, value in values.items() if value is None]
        if gone:
            await self._connection.execute(delete(thread_metadata).where(c.thread == key, c.name.in_(gone)))
        rows = [
            {"thread": key, "name": name, "value": value, "digest": metadata_digest(name, value)}
            for name, value in values.items()
            if value is not None
        ]
        if rows:
            insert = self._insert(thread_metadata)
            await self._connection.execute(
                insert.on_conflict_do_update(
                    index_elements=[c.thread, c.name],
                    set_={"value": insert.excluded.value, "digest": insert.excluded.digest},
                ),
                rows,
            )

    async def read(self, key: int, *, since: int = 0, ids: Sequence[str] | None = None) -> list[StoredMessage]:
        query = select(*_ROW).where(messages.c.thread == key).order_by(messages.c.position)
        if since:
            query = query.where(messages.c.revision > since)
        if ids is None:
            found = await self._connection.execute(query)
            with held_back():
                return [StoredMessage._make(row) for row in found.all()]
        rows = [
            StoredMessage._make(row)
            for chunk in _chunks(ids)
            for row in await self._connection.execute(query.where(messages.c.id.in_(chunk)))
        ]
        return sorted(rows)

    async def insert(self, key: int, rows: Sequence[StoredMessage]) -> set[str]:
        values = [{"thread": key, **row._asdict()} for row in rows]
        statement = _insert(self._postgres)
        result = await self._connection.execute(statement, values if len(values) > 1 else values[0])
        return set(result.scalars())

    async def update(self, key: int, rows: Sequence[StoredMessage]) -> None:
        statement = (
            update(messages)
            .where(messages.c.thread == bindparam("_thread"), messages.c.id == bindparam("_id"))
            .values({name: bindparam(name) for name in ("role", "content", "detail", "created_at", "revision")})
        )
        values = [{**row._asdict(), "_thread": key, "_id": row.id} for row in rows]
        for value in values:
            del value["position"], value["id"]
        await self._connection.execute(statement, values)

    async def remove(self, key: int, ids: Sequence[str]) -> None:
        for chunk in _chunks(ids):
            await self._connection.execute(delete(messages).where(messages.c.thread == key, messages.c.id.in_(chunk)))

    async def move(self, key: int, positions: Mapping[str, int], revision: int) -> None:
        statement = (
            update(messages)
            .where(messages.c.thread == key, messages.c.id == bindparam("_id"))
            .values(position=bindparam("_position"), revision=revision)
        )
        await self._connection.execute(statement, [{"_id": i, "_position": p} for i, p in positions.items()])

    async def position_of(self, key: int, id: str) -> int | None:
        query = select(messages.c.position).where(messages.c.thread == key, messages.c.id == id)
        return (await self._connection.execute(query)).scalar()

    async def next_position(self, key: int, after: int | None) -> int | None:
        query = select(func.min(messages.c.position)).where(messages.c.thread == key)
        if after is not None:
            query = query.where(messages.c.position > after)
        found: int | None = (await self._connection.execute(query)).scalar()
        return found

    async def add_files(self, key: int, refs: Iterable[tuple[str, str, str, int]]) -> None:
        ordered = sorted(refs, key=lambda ref: ref[1:3])  # one order for all, or two savers could lock each other out
        for file_id in sorted({ref[2] for ref in ordered}) if self._postgres else ():
            await self._connection.execute(select(func.pg_advisory_xact_lock_shared(_lock_key(file_id))))
        for message, owner, file_id, size_bytes in ordered:
            insert = self._insert(files).values(owner=owner, file_id=file_id, size_bytes=size_bytes)
            await self._connection.execute(
                insert.on_conflict_do_update(
                    index_elements=[files.c.owner, files.c.file_id], set_={"size_bytes": size_bytes}
                )
            )
            reference = {"thread": key, "message": message, "owner": owner, "file_id": file_id}
            await self._connection.execute(self._insert(message_files).values(reference).on_conflict_do_nothing())

    async def forget_files(self, key: int, ids: Sequence[str]) -> None:
        c = message_files.c
        for chunk in _chunks(ids):
            await self._connection.execute(delete(message_files).where(c.thread == key, c.message.in_(chunk)))

    async def lock_file(self, file_id: str) -> None:
        # A row cannot be the lock here: the owner is not known, and another transaction's new row not visible.
        if self._postgres:
            await self._connection.execute(select(func.pg_advisory_xact_lock(_lock_key(file_id))))

    async def files_of(self, key: int, ids: Sequence[str] | None = None) -> set[tuple[str, str]]:
        c = message_files.c
        query = select(c.owner, c.file_id, c.message).where(c.thread == key)
        found = await self._connection.execute(query)
        wanted = None if ids is None else set(ids)
        return {(owner, file_id) for owner, file_id, message in found if wanted is None or message in wanted}

    async def drop_file(self, owner: str, file_id: str) -> bool:
        this = and_(files.c.owner == owner, files.c.file_id == file_id)
        # The lock first, as a statement of its own: the next one then sees references committed meanwhile.
        await self._connection.execute(
            self._insert(files)
            .values(owner=owner, file_id=file_id, size_bytes=0)
            .on_conflict_do_update(
                index_elements=[files.c.owner, files.c.file_id], set_={"size_bytes": files.c.size_bytes}
            )
        )
        referred = exists().where(message_files.c.owner == owner, message_files.c.file_id == file_id)
        result = await self._connection.execute(delete(files).where(this, ~referred))
        return bool(result.rowcount)

    async def file_owners(self, file_id: str) -> set[str]:
        query = select(files.c.owner).where(files.c.file_id == file_id)
        return set((await self._connection.execute(query)).scalars())

    async def unreferenced(self) -> set[tuple[str, str]]:
        same = and_(message_files.c.owner == files.c.owner, message_files.c.file_id == files.c.file_id)
        query = select(files.c.owner, files.c.file_id).where(~exists().where(same))
        return {(owner, file_id) for owner, file_id in await self._connection.execute(query)}

    async def select(self, selection: Selection) -> list[Head]:
        return await read_heads(self._connection, selection)

    async def texts(
        self, keys: Sequence[int], before: int | None, limit: int, *, max_chars: int | None = TEXT_CHARS
    ) -> list[TextRow]:
        return await read_texts(self._connection, keys, before, limit, max_chars)

    async def delete_thread(self, key: int) -> bool:
        return bool((await self._connection.execute(delete(threads).where(threads.c.key == key))).rowcount)

    async def counts(self, owner: str | None) -> tuple[int, int, int]:
        of_messages = select(func.count()).select_from(messages)
        if owner is not None:
            of_messages = of_messages.join(threads, threads.c.key == messages.c.thread).where(threads.c.owner == owner)
        of_threads, of_files = (
            select(func.count()).select_from(table).where(true() if owner is None else table.c.owner == owner)
            for table in (threads, files)
        )
        query = select(*(count.scalar_subquery() for count in (of_threads, of_messages, of_files)))
        found = (await self._connection.execute(query)).one()
        return found[0], found[1], found[2]


# -- what each turn needs, made once: SQLAlchemy takes longer to put a statement together than to run it ----------


@cache
def _claim(postgres: bool, *, keyed: bool, fenced: bool) -> Any:
    where = this_thread(keyed)
    if fenced:
        where = and_(where, threads.c.fence == bindparam("held"))
    return update(threads).where(where).values(_claimed(postgres)).returning(*HEAD)


@cache
def _claim_or_make(postgres: bool) -> Any:
    row = {
        "owner": bindparam("new_owner"),
        "id": bindparam("new_id"),
        "created_at": bindparam("made"),
        "updated_at": now(postgres),
        "message_count": bindparam("by"),
        "tail": bindparam("grow"),
        "revision": 1,
        "reshaped": 0,
        "last_write": bindparam("token"),
    }
    return (
        _insert_into(threads, postgres)
        .values(row)
        .on_conflict_do_update(index_elements=[threads.c.owner, threads.c.id], set_=_claimed(postgres))
        .returning(*HEAD)
    )


def _claimed(postgres: bool) -> dict[str, Any]:
    return {
        "revision": threads.c.revision + 1,
        "tail": threads.c.tail + bindparam("grow"),
        "message_count": threads.c.message_count + bindparam("by"),
        "updated_at": now(postgres),
        "last_write": bindparam("token"),
    }


@cache
def _insert(postgres: bool) -> Any:
    unless_there = [messages.c.thread, messages.c.id]
    into = _insert_into(messages, postgres)
    return into.on_conflict_do_nothing(index_elements=unless_there).returning(messages.c.id)


def _insert_into(table: Table, postgres: bool) -> Any:
    return (postgresql if postgres else sqlite).insert(table)


def _lock_key(file_id: str) -> ColumnElement[int]:
    return literal(int(file_id[:15], 16), BigInteger)


def _chunks(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[i : i + _CHUNK] for i in range(0, len(values), _CHUNK))
