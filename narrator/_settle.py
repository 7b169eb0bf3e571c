"""Blocking work in a thread, settled before the caller leaves (promise P8).

`asyncio.to_thread` abandons its thread when the caller is cancelled: the write goes on behind the
caller's back. Here a cancelled caller waits for the end of what was started, then gets its CancelledError.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def settled(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """The function's result, computed in a worker thread that has ended when this returns or raises.

    Cancelled meanwhile, it waits for the thread and raises CancelledError; the outcome is then dropped.
    """
    # A future, not a task: asyncio.run cancels every task at its end, and this one must stay awaitable.
    context = contextvars.copy_context()
    future = asyncio.get_running_loop().run_in_executor(None, lambda: context.run(function, *args))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue  # cancelled again; the first CancelledError is on its way out
        if not future.cancelled():
            future.exception()  # marks it as seen, or asyncio logs it as never retrieved
        raise


async def settled_task(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result; a cancelled caller waits for its end, then gets its CancelledError."""
    task = asyncio.create_task(coroutine)
    # The end of asyncio.run cancels every registered task, this one in mid-write too; it waits for the caller's.
    asyncio.tasks._unregister_task(task)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                continue
        if not task.cancelled():
            task.exception()
        raise
