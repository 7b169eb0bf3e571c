"""What a save has to write: the difference between a Thread and what its object last saw stored. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import is_

from narrator._baseline import Baseline
from narrator._values import to_json
from narrator.errors import MessageConflict
from narrator.message import Message
from narrator.thread import Thread

LAST_UPDATED = "last_updated"  # in a thread's metadata, derived from updated_at and never stored


@dataclass
class Changes:
    """What to write. `rewrites` is true when it may only be applied to the thread as it was loaded."""

    appended: list[Message]
    inserted: list[tuple[str | None, list[Message]]] = field(default_factory=list)  # behind which message id
    edited: list[Message] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    order: list[str] | None = None  # all ids in their new order, when kept messages changed places
    metadata: dict[str, str | None] = field(default_factory=dict)  # key -> JSON text, None removes
    title_changed: bool = False
    repeats: bool = False  # the object holds a message twice, which is stored once
    arranged: list[Message] | None = None  # all messages in order, when not merely appended to
    seen_metadata: dict[str, str] | None = None  # as it was when this was computed

    @property
    def rewrites(self) -> bool:
        return bool(self.edited or self.removed or self.order)

    @property
    def written(self) -> list[Message]:
        """The messages whose rows are to be written."""
        return [*self.appended, *self.edited, *(m for _, run in self.inserted for m in run)]

    @property
    def empty(self) -> bool:
        return not (self.appended or self.inserted or self.rewrites or self.metadata or self.title_changed)


def changes_since(thread: Thread, base: Baseline | None) -> Changes:
    """The difference. Costs what changed, plus 25 ns a message to see that nothing else moved.

    Raises MessageConflict when two different messages of the thread share an id.
    """
    seen = {key: to_json(value) for key, value in thread.metadata.items() if key != LAST_UPDATED}
    if base is None:
        changes = Changes(appended=_unique(thread.messages, {}))
        changes.title_changed = thread.title is not None
        expected = len(changes.appended)
    else:
        known = len(base.messages)
        current = thread.messages
        if len(current) >= known and all(map(is_, current, base.messages)):
            stored = {m.id: m for m in current[:known]} if _repeats(current[known:], base) else {}
            changes = Changes(appended=_unique(current[known:], stored))
            changes.edited = [m for m in current[:known] if m.id in base.edited] if base.edited else []
        else:
            changes = _rearranged(current, base)
        changes.title_changed = thread.title != base.title
        expected = known + len(changes.appended) if changes.arranged is None else len(changes.arranged)
    changes.repeats = len(thread.messages) > expected
    changes.metadata = _metadata_changes(seen, base.metadata if base else {})
    changes.seen_metadata = seen
    return changes


def _repeats(messages: list[Message], base: Baseline) -> bool:
    return any(message.id in base.positions for message in messages)


def _unique(messages: list[Message], stored: dict[str, Message]) -> list[Message]:
    """The messages that are not there yet, each once."""
    seen = dict(stored)
    fresh: list[Message] = []
    for message in messages:
        earlier = seen.setdefault(message.id, message)
        if len(seen) > len(stored) + len(fresh):
            fresh.append(message)
        elif not earlier.same_as(message):
            raise MessageConflict(
                f"two messages of this thread have the id {message.id!r} and different content; "
                "give the new one an id of its own"
            )
    return fresh


def _rearranged(current: list[Message], base: Baseline) -> Changes:
    """The general case: something before the end was inserted, removed, replaced or moved."""
    before = {message.id: message for message in base.messages}
    messages = _unique(current, {})
    now = {message.id for message in messages}
    kept = [message.id for message in messages if message.id in before]
    changes = Changes(appended=[], arranged=messages)
    changes.removed = [i for i in before if i not in now]
    changes.edited = [
        m for m in messages if m.id in before and (m.id in base.edited or (m is not before[m.id] and m != before[m.id]))
    ]
    if kept != [i for i in before if i in now]:
        changes.order = [message.id for message in messages]
    previous: str | None = None
    run: list[Message] = []
    for message in messages:
        if message.id not in before:
            run.append(message)
            continue
        if run:
            changes.inserted.append((previous, run))
            run = []
        previous = message.id
    changes.appended = run
    return changes


def _metadata_changes(texts: dict[str, str], stored: dict[str, str]) -> dict[str, str | None]:
    changed: dict[str, str | None] = {k: text for k, text in texts.items() if stored.get(k) != text}
    return changed | dict.fromkeys(stored.keys() - texts.keys())
