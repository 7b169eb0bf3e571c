"""The one sync front: run a coroutine on a loop of our own, in a thread that all callers share.

Works in scripts, in threads, and inside a running loop (a notebook), where asyncio.run cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result. Ctrl-C cancels it, waits until it has unwound, and raises KeyboardInterrupt."""
    loop, thread = _loop(os.getpid())
    if threading.current_thread() is thread:
        coroutine.close()
        raise RuntimeError("go_sync would wait for itself: this code runs on its event loop; use `await agent.go(...)`")
    ended = threading.Event()
    tasks: list[asyncio.Task[T]] = []
    context = contextvars.copy_context()

    def start() -> None:
        task = loop.create_task(coroutine, context=context)
        task.add_done_callback(lambda _: ended.set())
        tasks.append(task)

    def stop() -> None:
        tasks[0].cancel()

    loop.call_soon_threadsafe(start)
    try:
        ended.wait()
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(stop)
        ended.wait()  # a second Ctrl-C leaves at once
        raise
    return tasks[0].result()


@functools.lru_cache(maxsize=1)
def _loop(_process_id: int) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    """The loop and its thread; a forked process has the parent's loop, but not its thread, so it gets its own."""
    loop = asyncio.new_event_loop()
    # A daemon: it must not keep a finished script alive. What was committed is on the disk already.
    thread = threading.Thread(target=_run_forever, args=[loop], name="tyler-sync", daemon=True)
    thread.start()
    return loop, thread


def _run_forever(loop: asyncio.AbstractEventLoop) -> None:
    while True:  # a tool that raises KeyboardInterrupt or SystemExit stops the loop; its caller gets the exception
        with contextlib.suppress(KeyboardInterrupt, SystemExit):
            loop.run_forever()
