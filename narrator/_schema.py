"""The tables, for SQLite and PostgreSQL alike, and their versions (promise P13).

The tables are made and changed by the migrations alone; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UtcDateTime(TypeDecorator[datetime]):
    """timestamptz on PostgreSQL, integer microseconds since 1970 on SQLite: exact, ordered, aware UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(BigInteger() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if dialect.name != "sqlite" or value is None:
            return value
        return (value - _EPOCH) // _MICROSECOND

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        return _from_microseconds if dialect.name == "sqlite" else _aware


def _from_microseconds(value: int | None) -> datetime | None:
    return None if value is None else _EPOCH + timedelta(0, 0, value)


def _aware(value: datetime | None) -> datetime | None:
    # asyncpg returns the first and last moment, its infinities, naive
    return value if value is None or value.tzinfo is UTC else value.replace(tzinfo=UTC)


# SQLite numbers rows by itself only in a column of type INTEGER.
_Key = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

_ASKED, _AWAITING = text("approval IS NOT NULL"), text("state = 'awaiting'")

threads = Table(
    "narrator_threads",
    metadata,
    Column("key", _Key, primary_key=True, autoincrement=True),
    Column("owner", Text, nullable=False),  # "" for none
    Column("id", Text, nullable=False),
    Column("title", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("message_count", BigInteger, nullable=False),
    Column("tail", BigInteger, nullable=False),  # position of the last message
    Column("revision", BigInteger, nullable=False),  # counts the writes
    Column("reshaped", BigInteger, nullable=False),  # the last revision that removed or moved messages
    Column("last_write", String(32), nullable=False),  # who made it: a retried save finds its own
    Column("fence", BigInteger, nullable=False, server_default="0"),  # counts the turns
    Column("lease_holder", Text),
    Column("lease_since", UtcDateTime),
    Column("lease_until", UtcDateTime),
    UniqueConstraint("owner", "id"),
    Index("narrator_threads_id", "id", "owner"),  # for who does not say whose
    Index("narrator_threads_newest", "updated_at", "key"),
    Index("narrator_threads_owner_newest", "owner", "updated_at", "key"),
    sqlite_autoincrement=True,  # a deleted thread's key must never name another one
)

thread_metadata = Table(
    "narrator_thread_metadata",
    metadata,
    Column("thread", ForeignKey(threads.c.key, ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("value", Text, nullable=False),  # JSON
    Column("digest", LargeBinary(16), nullable=False),  # of name and value: exact, typed, short to index
    PrimaryKeyConstraint("thread", "name"),
    Index("narrator_thread_metadata_digest", "digest", "thread"),
)

messages = Table(
    "narrator_messages",
    metadata,
    Column("thread", ForeignKey(threads.c.key, ondelete="CASCADE"), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("id", Text, nullable=False),
    Column("role", String(9), nullable=False),
    Column("content", Text),  # text content; parts are in detail
    Column("detail", Text),  # JSON of every other field that is not at its default
    Column("created_at", UtcDateTime, nullable=False),
    Column("revision", BigInteger, nullable=False),  # the thread's, when this row was written
    PrimaryKeyConstraint("thread", "id"),
    UniqueConstraint("thread", "position"),
)

files = Table(
    "narrator_files",
    metadata,
    Column("owner", Text, nullable=False),
    Column("file_id", String(64), nullable=False),  # sha256
    Column("size_bytes", BigInteger, nullable=False),
    PrimaryKeyConstraint("owner", "file_id"),
)

message_files = Table(
    "narrator_message_files",
    metadata,
    Column("thread", BigInteger, nullable=False),
    Column("message", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("file_id", String(64), nullable=False),
    PrimaryKeyConstraint("thread", "message", "file_id"),
    ForeignKeyConstraint(["thread", "message"], [messages.c.thread, messages.c.id], ondelete="CASCADE"),
    ForeignKeyConstraint(["owner", "file_id"], [files.c.owner, files.c.file_id]),
    Index("narrator_message_files_file", "owner", "file_id"),
)

waiting = Table(
    "narrator_waiting",
    metadata,
    Column("place", _Key, primary_key=True, autoincrement=True),
    Column("thread", ForeignKey(threads.c.key, ondelete="CASCADE"), nullable=False),
    Column("holder", Text, nullable=False),
    Column("until", UtcDateTime, nullable=False),  # renewed while the holder waits
    Index("narrator_waiting_thread", "thread", "place"),
    sqlite_autoincrement=True,  # a place that was given up must not come again: a newcomer would be first
)

calls = Table(
    "narrator_calls",
    metadata,
    Column("thread", BigInteger, nullable=False),
    Column("message", Text, nullable=False),  # the assistant message that asks for it
    Column("call_id", Text, nullable=False),
    Column("state", String(9), nullable=False),  # awaiting, approved, denied, started, finished
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("approval", String(32)),  # which question was asked about the call; a new one makes the old one void
    Column("digest", String(64)),  # sha256 of the arguments and the tool's definition, as they were asked about
    Column("request", Text),  # the call as JSON, as it was shown
    Column("asked_at", UtcDateTime),
    Column("decided_at", UtcDateTime),
    Column("decided_by", Text),
    Column("reason", Text),
    Column("valid_until", UtcDateTime),
    PrimaryKeyConstraint("thread", "message", "call_id"),
    ForeignKeyConstraint(["thread", "message"], [messages.c.thread, messages.c.id], ondelete="CASCADE"),
    # Partial, so that a call nobody was asked about costs no entry.
    Index("narrator_calls_approval", "approval", unique=True, sqlite_where=_ASKED, postgresql_where=_ASKED),
    Index("narrator_calls_awaiting", "asked_at", "approval", sqlite_where=_AWAITING, postgresql_where=_AWAITING),
)
