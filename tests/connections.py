"""How many connections a store has checked out: none, while it waits for a model or a tool (promise P1)."""

from __future__ import annotations

from narrator import ThreadStore


def checked_out(store: ThreadStore) -> int:
    """Over all event loops; 0 in memory."""
    loops = getattr(store._backend, "_engines", None)
    return 0 if loops is None else sum(entry.engine.pool.checkedout() for entry in loops._engines.values())
