"""Threads, their metadata, messages, and the files that messages refer to."""

import sqlalchemy as sa
from alembic import op

from narrator._schema import UtcDateTime

revision = "0001"
down_revision = None

_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "narrator_threads",
        sa.Column("key", _Key, primary_key=True, autoincrement=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("title", sa.Text),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("message_count", sa.BigInteger, nullable=False),
        sa.Column("tail", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("reshaped", sa.BigInteger, nullable=False),
        sa.Column("last_write", sa.String(32), nullable=False),
        sa.UniqueConstraint("owner", "id"),
        # A deleted thread's key must never name another one: old objects may still hold it.
        sqlite_autoincrement=True,
    )
    op.create_index("narrator_threads_newest", "narrator_threads", ["updated_at", "key"])
    op.create_index("narrator_threads_owner_newest", "narrator_threads", ["owner", "updated_at", "key"])
    op.create_table(
        "narrator_thread_metadata",
        sa.Column("thread", _Key, sa.ForeignKey("narrator_threads.key", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.PrimaryKeyConstraint("thread", "name"),
    )
    op.create_index("narrator_thread_metadata_digest", "narrator_thread_metadata", ["digest", "thread"])
    op.create_table(
        "narrator_messages",
        sa.Column("thread", _Key, sa.ForeignKey("narrator_threads.key", ondelete="CASCADE"), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("role", sa.String(9), nullable=False),
        sa.Column("content", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("thread", "id"),
        sa.UniqueConstraint("thread", "position"),
    )
    op.create_table(
        "narrator_files",
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("file_id", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("owner", "file_id"),
    )
    op.create_table(
        "narrator_message_files",
        sa.Column("thread", sa.BigInteger, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("file_id", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("thread", "message", "file_id"),
        sa.ForeignKeyConstraint(
            ["thread", "message"], ["narrator_messages.thread", "narrator_messages.id"], ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["owner", "file_id"], ["narrator_files.owner", "narrator_files.file_id"]),
    )
    op.create_index("narrator_message_files_file", "narrator_message_files", ["owner", "file_id"])
