"""An event loop in a thread of its own, where the browser lives: whatever loop a tool is called from, its page stays.

A page must outlive `asyncio.run` and `go_sync`, whose loops end with each call and cancel all that is left on them.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_END_S = 10.0


class LoopThread:
    """Starts with the first `run`. `at_end` is awaited in the thread by `close`, or else at the program's end."""

    def __init__(self, at_end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._at_end = at_end
        self._lock = threading.Lock()
        self._running: tuple[int, asyncio.AbstractEventLoop, threading.Thread] | None = None

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` gives, awaited in the thread. Cancelled, it is cancelled there, and waited for."""
        here = asyncio.get_running_loop()
        ended = asyncio.Event()

        async def watched() -> T:
            try:
                return await work()
            finally:
                with contextlib.suppress(RuntimeError):  # the caller's loop is closed
                    here.call_soon_threadsafe(ended.set)

        future = asyncio.run_coroutine_threadsafe(watched(), self._start())
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await ended.wait()
            raise

    async def close(self) -> None:
        """Await `at_end` in the thread and end it; nothing if it does not run. It may be started again."""
        await asyncio.to_thread(self._end)

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._running is None or self._running[0] != os.getpid():  # a forked child has no threads
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_serve, args=(loop,), name="lye-browser", daemon=True)
                thread.start()
                self._running = os.getpid(), loop, thread
                atexit.register(self._end)
            return self._running[1]

    def _end(self) -> None:
        with self._lock:
            running, self._running = self._running, None
        atexit.unregister(self._end)
        if running is None or running[0] != os.getpid():
            return
        _, loop, thread = running
        ending = asyncio.run_coroutine_threadsafe(self._at_end(), loop)
        with contextlib.suppress(TimeoutError):
            ending.result(_END_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_END_S)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        for task in (left := asyncio.all_tasks(loop)):
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
