"""What a store sends to its database, counted by SQLAlchemy's own events on the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event
from sqlalchemy.engine import Engine


class Statements(list[str]):
    """The statements in order; `rows` is how many rows the writing ones were about."""

    rows = 0

    @property
    def writes(self) -> list[str]:
        return [statement for statement in self if statement.startswith(("INSERT", "UPDATE", "DELETE"))]


@contextmanager
def recorded() -> Iterator[Statements]:
    """All statements of all engines of this process while the block runs."""
    seen = Statements()

    def note(_connection, _cursor, statement, parameters, _context, many) -> None:
        seen.append(statement)
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            seen.rows += len(parameters) if many else max(1, statement.count("), ("))

    event.listen(Engine, "after_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "after_cursor_execute", note)
