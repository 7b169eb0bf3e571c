"""Threads by their id alone: who is no owner's view does not know whose they are."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_index("narrator_threads_id", "narrator_threads", ["id", "owner"])
