"""LeftOpen: a call that has no result yet. It stays open, and the next `go` runs it again."""

from __future__ import annotations

from collections.abc import Sequence

from narrator import NarratorError, PendingCall


class LeftOpen(Exception):
    """Raised by a tool of effect "idempotent" that cannot end now, so that nothing is stored as its result.

    `pending`: what it waits for, if that is a human; the run pauses then. `error`: what the run has to raise, if not.
    """

    def __init__(self, pending: Sequence[PendingCall] = (), error: NarratorError | None = None) -> None:
        super().__init__("the call has no result yet")
        self.pending = list(pending)
        self.error = error
