"""Blocking work in a thread that ends when its caller is cancelled: nothing goes on behind the caller's back."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The work was given up; nobody waits for its result."""


@dataclass(frozen=True)
class Stop:
    """Asked by the work between its pieces: is anybody still waiting, and is there time?"""

    deadline: float = float("inf")  # by time.monotonic()
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def time_is_up(self) -> bool:
        return time.monotonic() > self.deadline

    def check(self) -> None:
        """Raise Stopped when the caller was cancelled."""
        if self.cancelled.is_set():
            raise Stopped


async def in_thread(work: Callable[[Stop], T], timeout_s: float = float("inf")) -> T:
    """The work's result. Cancelled, it tells the work to stop, waits for its end, and raises CancelledError."""
    stop = Stop(time.monotonic() + timeout_s)
    context = contextvars.copy_context()
    # A future, not a task: asyncio.run cancels every task at its end, and this one must stay awaitable.
    future = asyncio.get_running_loop().run_in_executor(None, lambda: context.run(work, stop))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.cancelled.set()
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue  # cancelled again; the first CancelledError is on its way out
        if not future.cancelled():
            future.exception()  # marks it as seen, or asyncio logs it as never retrieved
        raise
