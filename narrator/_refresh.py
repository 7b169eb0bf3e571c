"""After a read or write: the object learns what is stored, so that the two are equal again (promise P4)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from narrator._backend import Head
from narrator._baseline import Baseline
from narrator._changes import LAST_UPDATED
from narrator._codec import decode, encode
from narrator._collector import held_back
from narrator._saving import Stored, Write
from narrator._values import to_json
from narrator.message import Message
from narrator.thread import Thread, ThreadSummary


def summary(head: Head, values: Mapping[str, str]) -> ThreadSummary:
    """One line of a listing."""
    return ThreadSummary(
        id=head.id,
        title=head.title,
        metadata=_metadata(head, values),
        owner=head.owner or None,
        created_at=head.created_at,
        updated_at=head.updated_at,
        message_count=head.message_count,
        _key=head.key,
    )


def learn(thread: Thread, stored: Stored, database: object, write: Write | None) -> None:
    """Bring the object and its baseline up to what the database holds; messages keep their identity."""
    head = stored.head
    base = thread._baseline
    if base is None or base.database != database:
        for message in base.messages if base is not None else ():
            message._start_watch(None)  # they are this thread's still, and no copies are needed
        base = Baseline(database=database, key=head.key, revision=0, title=None, metadata={})
    seen = write.changes.seen_metadata if write is not None else None
    seen = dict(base.metadata) if seen is None else seen
    _learn_title(thread, base, stored, write)
    if write is not None:
        # Edited while the save was under way: for the next one.
        base.edited |= {m.id for m in write.changes.written if encode(m) != write.rows[m.id]}
    clash = _both_edited(base, stored, write)
    if stored.rows is not None:
        _merge_rows(thread, base, stored)
        base.metadata = stored.metadata or {}
    elif write is not None:
        _adopt_written(thread, base, stored, write)
    base.edited.intersection_update(base.positions)  # in place: the messages hold this very set
    if not clash:  # else the next save of this edit has to be refused
        base.revision = head.revision
    thread._baseline = base
    _learn_metadata(thread.metadata, _metadata(head, base.metadata), seen)
    thread.__dict__["created_at"], thread.__dict__["updated_at"] = head.created_at, head.updated_at


def _both_edited(base: Baseline, stored: Stored, write: Write | None) -> bool:
    """Whether someone else changed a message that this object has edited and not saved."""
    own = write.rows if write is not None else {}
    return bool(base.edited) and any(
        row.id in base.edited and row.revision > base.revision and row.id not in own for row in stored.rows or ()
    )


def _learn_title(thread: Thread, base: Baseline, stored: Stored, write: Write | None) -> None:
    """Take the stored title, unless this object has one that it has not saved."""
    seen = base.title
    if write is not None and write.changes.title_changed:
        seen = base.title = write.title
    elif stored.rows is not None:
        base.title = stored.head.title
    if thread.title == seen:
        thread.__dict__["title"] = base.title


def _adopt_written(thread: Thread, base: Baseline, stored: Stored, write: Write) -> None:
    """Nobody else wrote: what this object wrote is all that is new."""
    changes = write.changes
    fresh = [message for message in changes.appended if message.id not in base.positions]
    for id in changes.removed:
        base.positions.pop(id, None)
    base.positions |= stored.positions
    for name, value in changes.metadata.items():
        if value is None:
            base.metadata.pop(name, None)
        else:
            base.metadata[name] = value
    if changes.repeats:
        drop_repeats(thread)
    if changes.arranged is not None:
        base.messages = [_owned(thread, message, base) for message in changes.arranged]
    elif write.fence is None:
        base.messages += [_owned(thread, message, base) for message in fresh]
    else:
        for message in fresh:
            place = _place(base, message)
            thread.messages.insert(place, message)
            base.messages.insert(place, _owned(thread, message, base))


def _place(base: Baseline, message: Message) -> int:
    """Where the message stands among those known: from the end, for that is where runs add."""
    position, place = base.positions[message.id], len(base.messages)
    while place and base.positions[base.messages[place - 1].id] > position:
        place -= 1
    return place


def _owned(thread: Thread, message: Message, base: Baseline) -> Message:
    """The message, watched for this thread; a copy if it is already part of another stored thread."""
    watch = message._watched()
    if watch is not None and watch[0] is not base.edited:
        copied = message.model_copy(deep=True)
        thread.messages[:] = [copied if m is message else m for m in thread.messages]
        message = copied
    if watch is None or watch[0] is not base.edited:
        message._start_watch(base.edited)
    return message


def drop_repeats(thread: Thread) -> None:
    """A message appended a second time was stored once, so the object has it once, where it stood first."""
    first: dict[str, Message] = {}
    for message in thread.messages:
        first.setdefault(message.id, message)
    thread.messages[:] = first.values()


def _learn_metadata(current: dict[str, Any], stored: dict[str, Any], seen: Mapping[str, str]) -> None:
    """Make the dict equal to what is stored, but for keys that this object changed and has not saved."""
    for name in current.keys() | stored.keys():
        if name != LAST_UPDATED:
            now = to_json(current[name]) if name in current else None
            if now != seen.get(name):
                continue
        if name in stored:
            current[name] = stored[name]
        else:
            del current[name]


def _merge_rows(thread: Thread, base: Baseline, stored: Stored) -> None:
    """Put what others wrote in its place; what this object has not saved yet stays at the end."""
    assert stored.rows is not None
    mine = {message.id: message for message in thread.messages}
    known = {} if stored.whole else {message.id: message for message in base.messages}
    positions = {} if stored.whole else dict(base.positions)
    with held_back():
        for row in stored.rows:
            message = decode(row, base.edited)
            own = mine.get(row.id)
            if own is not None and (row.id in base.edited or own == message):
                # An edit made while the save was under way is kept, for the next one.
                message = _owned(thread, own, base)
            known[row.id] = message
            positions[row.id] = row.position
    # What this object knew as stored and is not there any more, someone else removed.
    unsaved = [m for m in thread.messages if m.id not in known and m.id not in base.positions]
    base.positions = positions
    base.messages = [known[id] for id in sorted(known, key=positions.__getitem__)]
    thread.messages[:] = base.messages + unsaved


def _metadata(head: Head, values: Mapping[str, str]) -> dict[str, Any]:
    metadata = {name: json.loads(text) for name, text in sorted(values.items())}
    return metadata | {LAST_UPDATED: head.updated_at.isoformat(timespec="microseconds")}
