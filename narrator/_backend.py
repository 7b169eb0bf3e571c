"""What a database must be able to do for a ThreadStore: row operations inside a transaction.

The rules of saving are written once, over these (`_saving.py`); a backend only moves rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from narrator._codec import StoredMessage

T = TypeVar("T")
TEXT_CHARS = 16_000  # longer texts are read one by one
CallState = Literal["awaiting", "approved", "denied", "started", "finished"]


class ThreadRef(NamedTuple):
    """Which thread: by its row key when it was stored before, else by owner and id."""

    owner: str
    id: str
    key: int | None


class Head(NamedTuple):
    """A thread's own row. `tail` is the position of its last message."""

    key: int
    owner: str
    id: str
    title: str | None
    created_at: datetime
    updated_at: datetime
    message_count: int
    tail: int
    revision: int
    reshaped: int
    last_write: str


class Lease(NamedTuple):
    """Who has a thread's turn, and whether others wait for it. `fence` counts; `expired` by the database's clock."""

    fence: int
    holder: str | None
    since: datetime | None
    expired: bool
    wanted: bool


class Waiting(NamedTuple):
    """Who waits for a thread's turn; `expired` by the database's clock."""

    holder: str
    expired: bool


class CallRecord(NamedTuple):
    """What is stored of a tool call. `approval` and `digest`: which question was asked about it, and what about.

    `reason`: why it was asked; once it is decided, why so.

    `expired`: the approval is too old, by the database's clock.
    """

    state: CallState
    approval: str | None = None
    digest: str | None = None
    reason: str | None = None
    asked_at: datetime | None = None
    expired: bool = False


class Question(NamedTuple):
    """A call that needs a decision; `request` is the call as JSON, as a human will see it, `reason` why he is asked."""

    call_id: str
    approval: str
    digest: str
    request: str
    reason: str | None = None


class Decision(NamedTuple):
    """What a human said. `length`: how long an approval may be used; None: for ever."""

    approved: bool
    reason: str | None
    by: str | None
    length: timedelta | None


class Asked(NamedTuple):
    """A question as it is stored, and whose it is."""

    approval: str
    owner: str
    thread: str
    message: str
    request: str
    asked_at: datetime
    reason: str | None


class TextRow(NamedTuple):
    """What a search reads of a message; `thread` is the thread's row key.

    `text`: what a user or assistant said; with `is_parts` the JSON that has it. None where there is none, or where its
    `chars` are more than were asked for.
    """

    thread: int
    position: int
    id: str
    role: str
    text: str | None
    is_parts: bool
    chars: int
    created_at: datetime


@dataclass(frozen=True)
class Selection:
    """Which threads a listing or purge is about; all conditions must hold."""

    owner: str | None = None
    metadata: tuple[bytes, ...] = ()  # digests of name and value
    updated_before: datetime | None = None
    before: tuple[datetime, int] | None = None
    limit: int | None = None


class Transaction(Protocol):
    """Row operations. A write transaction claims the thread's row first, which makes writers take turns."""

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
        """Count up the revision and reserve `grow` positions; the head after it.

        With `created_at` a missing thread is made (its revision is 1 then); else None if it is missing, or if
        the fence is not the given one.
        """

    async def head(self, ref: ThreadRef) -> Head | None: ...
    async def heads(self, id: str) -> list[Head]: ...
    async def set_head(self, key: int, **columns: Any) -> None: ...
    async def metadata(self, keys: Sequence[int]) -> dict[int, dict[str, str]]: ...
    async def set_metadata(self, key: int, values: Mapping[str, str | None]) -> None: ...

    async def read(self, key: int, *, since: int = 0, ids: Sequence[str] | None = None) -> list[StoredMessage]: ...
    async def insert(self, key: int, rows: Sequence[StoredMessage]) -> set[str]: ...
    async def update(self, key: int, rows: Sequence[StoredMessage]) -> None: ...
    async def remove(self, key: int, ids: Sequence[str]) -> None: ...
    async def move(self, key: int, positions: Mapping[str, int], revision: int) -> None: ...
    async def position_of(self, key: int, id: str) -> int | None: ...
    async def next_position(self, key: int, after: int | None) -> int | None: ...

    async def add_files(self, key: int, refs: Iterable[tuple[str, str, str, int]]) -> None:
        """Refer to files: (message id, owner, file id, bytes). Locks their rows until the end."""

    async def forget_files(self, key: int, ids: Sequence[str]) -> None:
        """Messages with these ids refer to no file any more."""

    async def lock_file(self, file_id: str) -> None:
        """Wait for the saves that refer to this file, whoever's it is, and keep others out until the end."""

    async def files_of(self, key: int, ids: Sequence[str] | None = None) -> set[tuple[str, str]]: ...
    async def drop_file(self, owner: str, file_id: str) -> bool:
        """Forget a file if no message refers to it; the row stays locked until the end. True if it may be removed."""

    async def file_owners(self, file_id: str) -> set[str]: ...
    async def unreferenced(self) -> set[tuple[str, str]]: ...

    async def take_free_turn(self, ref: ThreadRef, holder: str, length: timedelta) -> tuple[int, Head] | None:
        """In one statement: fencing number and head, or None if somebody has the turn, waits for it, or had it last
        and did not give it back."""

    async def lease(self, ref: ThreadRef) -> Lease | None: ...
    async def take_lease(self, key: int, seen: int, holder: str, length: timedelta) -> bool: ...
    async def renew_lease(self, key: int, fence: int, length: timedelta) -> bool: ...
    async def end_lease(self, key: int, fence: int) -> None: ...

    async def queue(self, key: int) -> list[Waiting]: ...
    async def keep_place(self, key: int, holder: str, length: timedelta) -> None:
        """Renew the place in the queue; who has none gets the last one."""

    async def leave_queue(self, key: int, holders: Sequence[str]) -> None: ...

    async def ask_calls(self, key: int, message: str, questions: Sequence[Question]) -> None:
        """These calls await a decision; an earlier question about one is void."""

    async def start_calls(self, key: int, message: str, call_ids: Sequence[str]) -> None: ...
    async def start_approved(self, key: int, message: str, call_id: str, digest: str) -> bool:
        """Start a call if it was approved as it is and the approval is not too old: that uses it up."""

    async def finish_call(self, key: int, message: str, call_id: str) -> None: ...
    async def call_states(self, key: int, message: str) -> dict[str, CallRecord]: ...
    async def asked(self, owner: str | None, thread_id: str | None, limit: int | None) -> list[Asked]:
        """The questions that await a decision, the oldest first; of all owners with None."""

    async def decide(self, owner: str | None, approval: str, decision: Decision) -> Asked | None:
        """Decide a question, or change the decision while it is not used; None if there is no such question."""

    async def select(self, selection: Selection) -> list[Head]: ...
    async def texts(
        self, keys: Sequence[int], before: int | None, limit: int, *, max_chars: int | None = TEXT_CHARS
    ) -> list[TextRow]:
        """Rows of these threads; of a single one at most `limit`, its last message first. In front of `before`."""

    async def delete_thread(self, key: int) -> bool: ...
    async def counts(self, owner: str | None) -> tuple[int, int, int]:
        """Threads, messages, files; of all owners with None."""


class Backend(Protocol):
    """A database. `identity` is equal for two backends on one database."""

    name: str
    location: str
    identity: object

    async def run(
        self, work: Callable[[Transaction, int], Awaitable[T]], *, write: bool, one_statement: bool = False
    ) -> T:
        """Run `work(transaction, attempt)` and commit; an exception rolls back and is raised.

        `one_statement`: the work is no more than that, which a database may commit by itself.

        Passing failures of the database are tried again with attempt 2, 3, ...: a write must notice that
        an earlier attempt was committed after all. Raises StoreUnavailable when it stays away.
        Who cancels a write's caller must let it settle first (`_settle.py`); a read does so by itself.
        """

    async def schema_version(self) -> str: ...
    async def close(self) -> None: ...


def metadata_digest(name: str, value_json: str) -> bytes:
    """16 bytes that stand for one exact metadata entry; 5 and 5.0 are one number, an object's keys have no order."""
    canonical = json.dumps(_canonical(json.loads(value_json)), sort_keys=True)
    return hashlib.sha256(f"{name}\x00{canonical}".encode()).digest()[:16]


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
