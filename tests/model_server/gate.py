"""Where answers wait until a test lets them go, so that no test needs a sleep."""

import asyncio
import threading


class Gate:
    """Coroutines wait on the server's loop; a test opens from its own thread. Arrivals notify `changed`."""

    def __init__(self, changed: threading.Condition) -> None:
        self.closed = False
        self.waiting = 0
        self._changed = changed
        self._opened = asyncio.Event()

    def close(self) -> None:
        """Ask all who come to wait."""
        with self._changed:
            self.closed = True

    def open(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Let go who waits now; who comes to `wait` later waits for the next opening."""
        with self._changed:
            opened, self._opened = self._opened, asyncio.Event()
            self.closed = False
            if loop is not None:
                loop.call_soon_threadsafe(opened.set)

    async def wait(self) -> None:
        """Wait for the next `open`."""
        with self._changed:
            opened = self._opened
            self.waiting += 1
            self._changed.notify_all()
        try:
            await opened.wait()
        finally:
            with self._changed:
                self.waiting -= 1
