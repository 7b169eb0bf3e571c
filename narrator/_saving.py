"""The rules of saving, over any backend (promises P2, P3, P4).

One transaction: claim the thread's row (which orders all writers), then write what changed. Every step may
run twice: rows are found again by id, and a write finds its own token in the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from narrator._backend import Head, ThreadRef, Transaction
from narrator._baseline import Baseline
from narrator._changes import Changes
from narrator._codec import StoredMessage, decode
from narrator._positions import GAP, after_tail, between
from narrator.errors import LeaseLost, MessageConflict, ThreadConflict


@dataclass
class Write:
    """One save, its rows encoded before anything waits, so that later edits of the object do not slip in."""

    ref: ThreadRef
    token: str
    created_at: datetime
    base: Baseline | None
    changes: Changes
    title: str | None
    rows: dict[str, StoredMessage]
    files: list[tuple[str, str, str, int]] = field(default_factory=list)  # (message id, owner, file id, bytes)
    behind: str | None = None  # a run's addition: right behind this message instead of at the end
    fence: int | None = None
    finishes: tuple[str, str] | None = None  # (assistant message id, call id) whose result this is


@dataclass
class Stored:
    """What the database holds after a write, as far as the writer's object has to learn it."""

    head: Head
    positions: dict[str, int] = field(default_factory=dict)  # of the rows written or moved
    rows: list[StoredMessage] | None = None  # what others wrote, when they did
    whole: bool = False  # rows are the whole thread
    metadata: dict[str, str] | None = None


class NothingToWrite(Exception):
    """Everything was stored before: roll back, so that a repeated append changes nothing at all."""


async def write_changes(tx: Transaction, attempt: int, write: Write) -> Stored:
    """Apply the changes, or raise ThreadConflict, MessageConflict or LeaseLost and leave the thread as it is."""
    changes, base, ref = write.changes, write.base, write.ref
    if attempt > 1 and (head := await tx.head(ref)) and head.last_write == write.token:
        return await read_since(tx, head, None)
    inserted = sum(len(run) for _, run in changes.inserted)
    count = len(changes.appended) + inserted - len(changes.removed)
    head = await tx.claim(
        ref,
        write=write.token,
        grow=GAP * len(changes.appended),
        count=count,
        created_at=write.created_at if base is None else None,
        fence=write.fence,
    )
    if head is None:
        raise _gone(write)
    others_wrote = head.revision != (base.revision if base else 0) + 1
    if changes.rewrites and others_wrote:
        raise ThreadConflict(
            f"thread {ref.id!r} was changed by someone else since it was loaded, so edits, removals and moves were "
            "not saved; get_thread() it again and repeat them (new messages alone are always kept)"
        )
    stored = Stored(head)
    await _reshape(tx, write, stored)
    fresh = await _insert_all(tx, write, stored, others_wrote)
    if write.files:
        written = fresh | {message.id for message in changes.edited}
        await tx.add_files(head.key, [ref for ref in write.files if ref[0] in written])
    if write.finishes:
        await tx.finish_call(head.key, *write.finishes)
    if changes.metadata:
        await tx.set_metadata(head.key, changes.metadata)
    if changes.title_changed:
        await tx.set_head(head.key, title=write.title)
    repeated = count + len(changes.removed) - len(fresh)
    if repeated and not fresh and not changes.rewrites and not changes.metadata and not changes.title_changed:
        raise NothingToWrite
    if repeated:
        await tx.set_head(head.key, message_count=head.message_count - repeated)
    if others_wrote and head.revision > 1:
        await _reload(tx, head, stored, base)
    return stored


def _gone(write: Write) -> Exception:
    if write.fence is not None:
        return LeaseLost(
            f"the turn on thread {write.ref.id!r} has passed to another run (or the thread was deleted), so this run "
            "may not write any more; call go() again to go on from what is stored"
        )
    return ThreadConflict(
        f"thread {write.ref.id!r} was deleted by someone else since it was loaded; nothing was saved. "
        "A new Thread with this id starts afresh"
    )


async def _reshape(tx: Transaction, write: Write, stored: Stored) -> None:
    """Removals and edits; the edited messages' files are referred to anew afterwards."""
    changes, head = write.changes, stored.head
    if changes.removed:
        await tx.remove(head.key, changes.removed)
    if changes.edited:
        rows = [write.rows[message.id]._replace(revision=head.revision) for message in changes.edited]
        await tx.update(head.key, rows)
        await tx.forget_files(head.key, [row.id for row in rows])
    if changes.removed or changes.order:
        await tx.set_head(head.key, reshaped=head.revision)


async def _insert_all(tx: Transaction, write: Write, stored: Stored, others_wrote: bool) -> set[str]:
    """Write the new rows where they belong; the ids of those that were not stored before."""
    changes, head = write.changes, stored.head
    known = {} if others_wrote or write.base is None else write.base.positions
    fresh: set[str] = set()
    if changes.appended:
        ids = [message.id for message in changes.appended]
        if write.behind is None:
            positions = after_tail(head.tail - GAP * len(ids), len(ids))
        else:
            positions = await _place(tx, write, stored, write.behind, len(ids), known)
        fresh |= await _insert(tx, write, stored, ids, positions)
    # After the appended ones, so that these are already there to be put in front of.
    for previous, run in changes.inserted:
        positions = await _place(tx, write, stored, previous, len(run), known)
        fresh |= await _insert(tx, write, stored, [m.id for m in run], positions)
    if changes.order:
        await _renumber(tx, stored, changes.order)
    return fresh


async def _insert(
    tx: Transaction, write: Write, stored: Stored, ids: Sequence[str], positions: Sequence[int]
) -> set[str]:
    head = stored.head
    rows = [
        write.rows[i]._replace(position=position, revision=head.revision)
        for i, position in zip(ids, positions, strict=True)
    ]
    inserted = await tx.insert(head.key, rows)
    stored.positions |= {row.id: row.position for row in rows if row.id in inserted}
    if len(inserted) < len(rows):
        for there in await tx.read(head.key, ids=[i for i in ids if i not in inserted]):
            stored.positions[there.id] = there.position
            if not decode(there, set()).same_as(decode(write.rows[there.id], set())):
                raise MessageConflict(
                    f"thread {write.ref.id!r} already has a message {there.id!r} with other content; nothing was "
                    "saved. Load the thread to edit that message, or give the new one an id of its own"
                )
    return inserted


async def _place(
    tx: Transaction, write: Write, stored: Stored, previous: str | None, count: int, known: dict[str, int]
) -> list[int]:
    """Positions for `count` messages right behind `previous` (None: at the front)."""
    head = stored.head
    if previous is None:
        first = await tx.next_position(head.key, None)
        return [(GAP if first is None else first) - GAP * (count - i) for i in range(count)]
    before = stored.positions.get(previous, known.get(previous))
    if before is None:
        before = await tx.position_of(head.key, previous)
    if before is None:
        raise ThreadConflict(
            f"message {previous!r} of thread {write.ref.id!r} was removed by someone else; nothing was saved. "
            "get_thread() it again and repeat the change"
        )
    if write.behind is not None and before == head.tail - GAP * count:
        return after_tail(before, count)  # it was the last one: these are its reserved places
    behind = await tx.next_position(head.key, before)
    if behind is None:
        tail = max(head.tail, before) + GAP * count
        await tx.set_head(head.key, tail=tail)
        stored.head = head._replace(tail=tail)
        return after_tail(tail - GAP * count, count)
    positions = between(before, behind, count)
    if positions is None:
        await _renumber(tx, stored, [row.id for row in await tx.read(head.key)])
        before = stored.positions[previous]
        positions = between(before, before + GAP, count)
        assert positions is not None, "a gap between renumbered neighbours holds four billion messages"
    return positions


async def _renumber(tx: Transaction, stored: Stored, order: Sequence[str]) -> None:
    """Give every message a new position behind the present tail, in this order: wide gaps again."""
    head = stored.head
    positions = dict(zip(order, after_tail(head.tail, len(order)), strict=True))
    await tx.move(head.key, positions, head.revision)
    tail = head.tail + GAP * len(order)
    await tx.set_head(head.key, tail=tail, reshaped=head.revision)
    stored.head = head._replace(tail=tail, reshaped=head.revision)
    stored.positions |= positions


async def read_since(tx: Transaction, head: Head, base: Baseline | None) -> Stored:
    """What is stored, as far as an object with this baseline does not know it."""
    return await _reload(tx, head, Stored(head), base)


async def _reload(tx: Transaction, head: Head, stored: Stored, base: Baseline | None) -> Stored:
    """Read what others wrote since `base`: only the rows that changed, unless some were removed or moved."""
    stored.head = head
    stored.whole = base is None or head.reshaped > base.revision
    stored.rows = await tx.read(head.key, since=0 if base is None or stored.whole else base.revision)
    stored.metadata = (await tx.metadata([head.key])).get(head.key, {})
    return stored
