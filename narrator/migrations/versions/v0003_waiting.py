"""The queue for a thread's turn."""

import sqlalchemy as sa
from alembic import op

from narrator._schema import UtcDateTime

revision = "0003"
down_revision = "0002"

_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "narrator_waiting",
        sa.Column("place", _Key, primary_key=True, autoincrement=True),
        sa.Column("thread", _Key, sa.ForeignKey("narrator_threads.key", ondelete="CASCADE"), nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until", UtcDateTime, nullable=False),
        # A place that was given up must not come again: its number would put a newcomer first.
        sqlite_autoincrement=True,
    )
    op.create_index("narrator_waiting_thread", "narrator_waiting", ["thread", "place"])
