"""Python's garbage collector, held back while many objects are made that all stay.

It looks through all objects whenever some thousands have come: opening a thread of 10,000 messages took twice as long
(benchmarks/save_one_more.py), and none of them is garbage.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back() -> Iterator[None]:
    """For a block that does not await. Several threads may do so at once: who found it running sets it going again."""
    was_running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_running:
            gc.enable()
