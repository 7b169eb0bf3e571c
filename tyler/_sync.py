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
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_LOOK_EVERY_S = 0.1


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result. Ctrl-C cancels it, waits until it has unwound, and raises KeyboardInterrupt.

    So does a cancellation of the task that calls it from a running loop; then CancelledError is raised.
    """
    loop, thread = _loop(os.getpid())
    if threading.current_thread() is thread:
        coroutine.close()
        raise RuntimeError("go_sync would wait for itself: this code runs on its event loop; use `await agent.go(...)`")
    told = _cancellations()
    before = told() if told else 0
    ended = threading.Event()
    tasks: list[asyncio.Task[T]] = []
    context = contextvars.copy_context()

    def start() -> None:
        task = loop.create_task(coroutine, context=context)
        task.add_done_callback(end)
        tasks.append(task)

    def end(task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # marks it as seen, for Ctrl-C leaves without the outcome
        ended.set()

    def stop() -> None:
        if tasks:
            tasks[0].cancel()
        else:  # Ctrl-C was faster than the start
            coroutine.close()
            ended.set()

    try:
        loop.call_soon_threadsafe(start)
        while not ended.wait(_LOOK_EVERY_S if told else None):
            if told and told() > before:
                loop.call_soon_threadsafe(stop)
                told = None
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(stop)
        ended.wait()  # a second Ctrl-C leaves at once
        raise
    return tasks[0].result()


def _cancellations() -> Callable[[], int] | None:
    """How often the task that calls was told to end, None outside of one.

    asyncio.run turns Ctrl-C into that, and a task that stands in go_sync cannot hear it.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None
    return task.cancelling if task else None


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
