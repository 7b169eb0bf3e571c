"""Blocking code in a daemon thread of its own: a sync tool, which nothing can stop when it hangs; litellm's import.

The default executor would not do: a few hanging tools take all its threads, which the stores' files need too, and
the end of an event loop waits for them. Nobody waits for a daemon thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def in_daemon_thread(function: Callable[[], T]) -> T:
    """The function's result, with this task's context variables. Cancelled, it leaves the thread to its own end."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def work() -> None:
        settle: Callable[[Any], None] = outcome.set_result
        value: Any
        try:
            value = context.run(function)
        except StopIteration as error:  # a future cannot carry it: the waiting task would hang
            settle, value = outcome.set_exception, RuntimeError(f"it raised {error!r}")
        except BaseException as error:  # whatever it is, it is raised again where the call is awaited
            settle, value = outcome.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
            loop.call_soon_threadsafe(_settle, outcome, settle, value)

    threading.Thread(target=work, name="tyler", daemon=True).start()
    return await outcome


def _settle(outcome: asyncio.Future[Any], settle: Callable[[Any], None], value: Any) -> None:
    if not outcome.done():  # cancelled meanwhile
        settle(value)
