"""The turn on a thread (lease and fence), and the life of its tool calls."""

import sqlalchemy as sa
from alembic import op

from narrator._schema import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("narrator_threads", sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("narrator_threads", sa.Column("lease_holder", sa.Text))
    op.add_column("narrator_threads", sa.Column("lease_since", UtcDateTime))
    op.add_column("narrator_threads", sa.Column("lease_until", UtcDateTime))
    op.create_table(
        "narrator_calls",
        sa.Column("thread", sa.BigInteger, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("call_id", sa.Text, nullable=False),
        sa.Column("state", sa.String(9), nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("finished_at", UtcDateTime),
        sa.PrimaryKeyConstraint("thread", "message", "call_id"),
        sa.ForeignKeyConstraint(
            ["thread", "message"], ["narrator_messages.thread", "narrator_messages.id"], ondelete="CASCADE"
        ),
    )
