"""A database in this process's memory: rows in dicts, values as the JSON text that a disk would hold.

For tests and for runs that keep nothing. One lock makes transactions take turns, between tasks, event loops
and threads alike; a failed one is undone step by step.
"""

from __future__ import annotations

import asyncio
import threading
from bisect import bisect_left, insort
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from narrator._backend import TEXT_CHARS, Head, Lease, Selection, T, TextRow, ThreadRef, Waiting, metadata_digest
from narrator._codec import PARTS, StoredMessage
from narrator._memory_calls import CallRows
from narrator._values import utc_now

_POLL_S = 0.001


@dataclass
class _ThreadRows:
    head: Head
    metadata: dict[str, str] = field(default_factory=dict)
    messages: dict[str, StoredMessage] = field(default_factory=dict)
    order: list[tuple[int, str]] = field(default_factory=list)  # (position, id), sorted
    files: set[tuple[str, str, str]] = field(default_factory=set)  # (message, owner, file id)
    fence: int = 0
    holder: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    waiting: dict[str, datetime] = field(default_factory=dict)  # holder -> until, in the order of their coming


class MemoryBackend:
    """The rows of one store in memory. Gone with the object."""

    name = "memory"
    location = "memory"

    def __init__(self) -> None:
        self.identity: object = self
        self._lock = threading.Lock()
        self._rows = MemoryTransaction()

    async def run(
        self, work: Callable[[MemoryTransaction, int], Awaitable[T]], *, write: bool, one_statement: bool = False
    ) -> T:
        while not self._lock.acquire(blocking=False):
            await asyncio.sleep(_POLL_S)  # held across an await only while a file is looked at
        try:
            result = await work(self._rows, 1)
            self._rows.undo.clear()
            return result
        except BaseException:
            for step in reversed(self._rows.undo):
                step()
            self._rows.undo.clear()
            raise
        finally:
            self._lock.release()

    async def schema_version(self) -> str:
        return "-"

    async def close(self) -> None:
        """Nothing is held that would have to be given back."""


class MemoryTransaction(CallRows):
    """Row operations on dicts. Each change notes how it is undone."""

    def __init__(self) -> None:
        super().__init__()
        self._threads: dict[int, _ThreadRows] = {}
        self._keys: dict[tuple[str, str], int] = {}
        self._files: dict[tuple[str, str], int] = {}
        self._last_key = 0

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
        rows = self._find(ref)
        if rows is None:
            if created_at is None:
                return None
            rows = self._create(ref, created_at)
        if fence is not None and rows.fence != fence:
            return None
        head = rows.head
        self._set(rows, "head", head._replace(
            revision=head.revision + 1,
            tail=head.tail + grow,
            message_count=head.message_count + count,
            updated_at=utc_now(),
            last_write=write,
        ))  # fmt: skip
        return rows.head

    async def head(self, ref: ThreadRef) -> Head | None:
        rows = self._find(ref)
        return rows.head if rows else None

    async def heads(self, id: str) -> list[Head]:
        found = [rows.head for rows in self._threads.values() if rows.head.id == id]
        return sorted(found, key=lambda head: head.owner)[:2]

    async def set_head(self, key: int, **columns: Any) -> None:
        rows = self._threads[key]
        self._set(rows, "head", rows.head._replace(**columns))

    async def metadata(self, keys: Sequence[int]) -> dict[int, dict[str, str]]:
        return {key: dict(self._threads[key].metadata) for key in keys if key in self._threads}

    async def set_metadata(self, key: int, values: Mapping[str, str | None]) -> None:
        rows = self._threads[key]
        merged = {k: v for k, v in (rows.metadata | dict(values)).items() if v is not None}
        self._set(rows, "metadata", merged)

    async def read(self, key: int, *, since: int = 0, ids: Sequence[str] | None = None) -> list[StoredMessage]:
        rows = self._threads[key]
        if ids is not None:
            return sorted(rows.messages[i] for i in ids if i in rows.messages)
        every = (rows.messages[id] for _, id in rows.order)
        return [row for row in every if row.revision > since]

    async def insert(self, key: int, rows: Sequence[StoredMessage]) -> set[str]:
        thread = self._threads[key]
        inserted = set()
        for row in rows:
            if row.id not in thread.messages:
                thread.messages[row.id] = row
                insort(thread.order, (row.position, row.id))
                self.undo.append(lambda row=row: self._take_out(thread, row.id))  # type: ignore[misc]
                inserted.add(row.id)
        return inserted

    async def update(self, key: int, rows: Sequence[StoredMessage]) -> None:
        thread = self._threads[key]
        for row in rows:
            before = thread.messages[row.id]
            self._put(thread.messages, row.id, row._replace(position=before.position))

    async def remove(self, key: int, ids: Sequence[str]) -> None:
        thread = self._threads[key]
        for id in ids:
            if row := self._take_out(thread, id):
                self.undo.append(lambda row=row: self._put_in(thread, row))  # type: ignore[misc]
        await self.forget_files(key, ids)
        self._forget_calls(key, set(ids))

    async def move(self, key: int, positions: Mapping[str, int], revision: int) -> None:
        thread = self._threads[key]
        moved = {
            id: row._replace(position=positions[id], revision=revision) if id in positions else row
            for id, row in thread.messages.items()
        }
        self._set(thread, "messages", moved)
        self._set(thread, "order", sorted((row.position, id) for id, row in moved.items()))

    async def position_of(self, key: int, id: str) -> int | None:
        row = self._threads[key].messages.get(id)
        return row.position if row else None

    async def next_position(self, key: int, after: int | None) -> int | None:
        order = self._threads[key].order
        index = 0 if after is None else bisect_left(order, (after + 1, ""))
        return order[index][0] if index < len(order) else None

    async def add_files(self, key: int, refs: Iterable[tuple[str, str, str, int]]) -> None:
        thread = self._threads[key]
        added = set(thread.files)
        for message, owner, file_id, size_bytes in refs:
            self._put(self._files, (owner, file_id), size_bytes)
            added.add((message, owner, file_id))
        self._set(thread, "files", added)

    async def forget_files(self, key: int, ids: Sequence[str]) -> None:
        gone, thread = set(ids), self._threads[key]
        self._set(thread, "files", {ref for ref in thread.files if ref[0] not in gone})

    async def lock_file(self, file_id: str) -> None:
        """Transactions take turns as it is."""

    async def files_of(self, key: int, ids: Sequence[str] | None = None) -> set[tuple[str, str]]:
        refs = self._threads[key].files if key in self._threads else ()
        return {(o, f) for message, o, f in refs if ids is None or message in ids}

    async def drop_file(self, owner: str, file_id: str) -> bool:
        if any((o, f) == (owner, file_id) for rows in self._threads.values() for _, o, f in rows.files):
            return False
        if (size_bytes := self._files.pop((owner, file_id), None)) is not None:
            self.undo.append(lambda: self._files.__setitem__((owner, file_id), size_bytes))
        return True

    async def file_owners(self, file_id: str) -> set[str]:
        return {owner for owner, id in self._files if id == file_id}

    async def unreferenced(self) -> set[tuple[str, str]]:
        return self._files.keys() - {(o, f) for rows in self._threads.values() for _, o, f in rows.files}

    async def take_free_turn(self, ref: ThreadRef, holder: str, length: timedelta) -> tuple[int, Head] | None:
        rows = self._find(ref)
        if rows is None or rows.until is not None or rows.waiting:
            return None
        await self.take_lease(rows.head.key, rows.fence, holder, length)
        return rows.fence, rows.head

    async def lease(self, ref: ThreadRef) -> Lease | None:
        rows = self._find(ref)
        if rows is None:
            return None
        expired = rows.until is None or rows.until < utc_now()
        return Lease(rows.fence, rows.holder, rows.since, expired, bool(rows.waiting))

    async def take_lease(self, key: int, seen: int, holder: str, length: timedelta) -> bool:
        rows = self._threads.get(key)
        if rows is None or rows.fence != seen:
            return False
        rows.fence, rows.holder, rows.since = seen + 1, holder, utc_now()
        rows.until = rows.since + length
        return True

    async def renew_lease(self, key: int, fence: int, length: timedelta) -> bool:
        rows = self._threads.get(key)
        if rows is None or rows.fence != fence:
            return False
        rows.until = utc_now() + length
        return True

    async def end_lease(self, key: int, fence: int) -> None:
        rows = self._threads.get(key)
        if rows is not None and rows.fence == fence:
            rows.holder = rows.since = rows.until = None

    async def queue(self, key: int) -> list[Waiting]:
        now = utc_now()
        return [Waiting(holder, until < now) for holder, until in self._threads[key].waiting.items()]

    async def keep_place(self, key: int, holder: str, length: timedelta) -> None:
        self._threads[key].waiting[holder] = utc_now() + length

    async def leave_queue(self, key: int, holders: Sequence[str]) -> None:
        if rows := self._threads.get(key):
            for holder in holders:
                rows.waiting.pop(holder, None)

    async def select(self, selection: Selection) -> list[Head]:
        chosen = []
        for rows in self._threads.values():
            head = rows.head
            digests = {metadata_digest(k, v) for k, v in rows.metadata.items()}
            if (
                selection.owner in (None, head.owner)
                and digests.issuperset(selection.metadata)
                and (selection.updated_before is None or head.updated_at < selection.updated_before)
                and (selection.before is None or (head.updated_at, head.key) < selection.before)
            ):
                chosen.append(head)
        chosen.sort(key=lambda head: (head.updated_at, head.key), reverse=True)
        return chosen[: selection.limit]

    async def texts(
        self, keys: Sequence[int], before: int | None, limit: int, *, max_chars: int | None = TEXT_CHARS
    ) -> list[TextRow]:
        found: list[TextRow] = []
        for key in self._threads.keys() & keys:
            rows = self._threads[key]
            end = len(rows.order) if before is None else bisect_left(rows.order, (before, ""))
            start = max(end - limit, 0) if len(keys) == 1 else 0
            ids = [id for _, id in rows.order[start:end]]
            found += [_text_row(key, rows.messages[id], max_chars) for id in reversed(ids)]
        return found

    async def delete_thread(self, key: int) -> bool:
        rows = self._threads.pop(key, None)
        if rows is None:
            return False
        name = (rows.head.owner, rows.head.id)
        del self._keys[name]
        self._forget_calls(key)
        self.undo += [lambda: self._threads.__setitem__(key, rows), lambda: self._keys.__setitem__(name, key)]
        return True

    async def counts(self, owner: str | None) -> tuple[int, int, int]:
        threads = [rows for rows in self._threads.values() if owner in (None, rows.head.owner)]
        files = [key for key in self._files if owner in (None, key[0])]
        return len(threads), sum(len(rows.messages) for rows in threads), len(files)

    def _names(self, key: int) -> tuple[str, str]:
        head = self._threads[key].head
        return head.owner, head.id

    def _find(self, ref: ThreadRef) -> _ThreadRows | None:
        key = self._keys.get((ref.owner, ref.id))
        return None if key is None or ref.key not in (None, key) else self._threads[key]

    def _create(self, ref: ThreadRef, created_at: datetime) -> _ThreadRows:
        self._last_key += 1
        key, name = self._last_key, (ref.owner, ref.id)
        head = Head(key, ref.owner, ref.id, None, created_at, created_at, 0, 0, 0, 0, "")
        rows = self._threads[key] = _ThreadRows(head)
        self._keys[name] = key
        self.undo += [lambda: self._threads.pop(key, None), lambda: self._keys.pop(name, None)]
        return rows

    def _set(self, rows: _ThreadRows, attribute: str, value: object) -> None:
        before = getattr(rows, attribute)
        self.undo.append(lambda: setattr(rows, attribute, before))
        setattr(rows, attribute, value)

    def _put(self, table: dict[Any, Any], name: object, value: object) -> None:
        before, there = table.get(name), name in table
        self.undo.append(lambda: table.__setitem__(name, before) if there else table.pop(name, None))
        table[name] = value

    @staticmethod
    def _take_out(thread: _ThreadRows, id: str) -> StoredMessage | None:
        row = thread.messages.pop(id, None)
        if row is not None:
            del thread.order[bisect_left(thread.order, (row.position, id))]
        return row

    @staticmethod
    def _put_in(thread: _ThreadRows, row: StoredMessage) -> None:
        thread.messages[row.id] = row
        insort(thread.order, (row.position, row.id))


def _text_row(key: int, row: StoredMessage, max_chars: int | None) -> TextRow:
    is_parts = row.content is None and (row.detail or "").startswith(PARTS)
    said = (row.detail if is_parts else row.content) if row.role in ("user", "assistant") else None
    chars = len(said or "")
    text = None if max_chars is not None and chars > max_chars else said
    return TextRow(key, row.position, row.id, row.role, text, is_parts, chars, row.created_at)
