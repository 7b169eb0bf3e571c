"""The writers of one event loop, one behind the other: SQLite takes one at a time, and its own waiting is not fair."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

_NEARLY = 0.9  # of the patience: the first gives up a little early, and those behind it came a little later


class StillLocked(Exception):
    """Nobody has got into the database for as long as this writer was ready to wait."""


class WriteQueue:
    """Lets in one writer at a time.

    A database that another program keeps locked holds up the first of the queue for its whole patience, and without
    a bound the tenth for ten times that. So a writer is refused when its turn comes after a wait of `patience_s` in
    which nobody got in. A long queue in which one after the other gets in is healthy, however long it takes.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._stuck_since: float | None = None

    @asynccontextmanager
    async def turn(self, patience_s: float) -> AsyncIterator[Callable[[], None]]:
        """Wait for the turn; the writer calls what this yields when it is in. Raises StillLocked."""
        came = monotonic()
        async with self._lock:
            begun = monotonic()
            if self._stuck_since is not None and begun - max(came, self._stuck_since) >= _NEARLY * patience_s:
                raise StillLocked
            inside = False

            def enter() -> None:
                nonlocal inside
                inside = True
                self._stuck_since = None

            try:
                yield enter
            finally:
                if not inside and self._stuck_since is None:
                    self._stuck_since = begun
