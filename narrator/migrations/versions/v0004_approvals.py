"""Approvals: a tool call may be asked for and decided before it is started."""

import sqlalchemy as sa
from alembic import op

from narrator._schema import UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("narrator_calls") as calls:  # SQLite cannot drop NOT NULL: the rows are copied there
        calls.alter_column("started_at", existing_type=UtcDateTime(), nullable=True)
        calls.add_column(sa.Column("approval", sa.String(32)))
        calls.add_column(sa.Column("digest", sa.String(64)))
        calls.add_column(sa.Column("request", sa.Text))
        calls.add_column(sa.Column("asked_at", UtcDateTime))
        calls.add_column(sa.Column("decided_at", UtcDateTime))
        calls.add_column(sa.Column("decided_by", sa.Text))
        calls.add_column(sa.Column("reason", sa.Text))
        calls.add_column(sa.Column("valid_until", UtcDateTime))
    asked, awaiting = sa.text("approval IS NOT NULL"), sa.text("state = 'awaiting'")
    op.create_index(
        "narrator_calls_approval",
        "narrator_calls",
        ["approval"],
        unique=True,
        sqlite_where=asked,
        postgresql_where=asked,
    )
    op.create_index(
        "narrator_calls_awaiting",
        "narrator_calls",
        ["asked_at", "approval"],
        sqlite_where=awaiting,
        postgresql_where=awaiting,
    )
