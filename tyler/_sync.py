"""The one sync front: run a coroutine on a loop of our own, in a thread that all callers share.

Works in scripts, in threads, and inside a running loop (a notebook), where asyncio.run cannot.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result. Ctrl-C cancels it, waits until it has unwound, and raises KeyboardInterrupt."""
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
    try:
        return future.result()
    except KeyboardInterrupt:
        future.cancel()
        raise


@functools.lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    # A daemon: it must not keep a finished script alive. What was committed is on the disk already.
    threading.Thread(target=loop.run_forever, name="tyler-sync", daemon=True).start()
    return loop
