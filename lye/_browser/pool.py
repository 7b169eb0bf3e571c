"""The conversations' pages: one for each thread, in one Chromium; bounded in time, number and idleness."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from lye._browser.process import Chromium
from lye._browser.proxy import Proxy
from lye._browser.session import Session
from lye._web.resolve import Resolver, look_up
from lye._web.rules import Rules
from lye.errors import BrowserFailed

T = TypeVar("T")
Key = tuple[str | None, str]
_START_S = 60.0
_AGAIN = "call browser_open to open it again"


@dataclass(frozen=True)
class Limits:
    """What a call and a page may use up."""

    timeout_s: float
    max_bytes: int
    max_memory_bytes: int
    max_pages: int
    idle_s: float


@dataclass
class Pool:
    """All of one loop. `call` is the only way in."""

    rules: Rules
    limits: Limits
    executable: str | None = None
    resolve: Resolver = look_up
    _chromium: Chromium | None = None
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _sessions: dict[Key, Session] = field(default_factory=dict)
    _locks: dict[Key, tuple[asyncio.Lock, int]] = field(default_factory=dict)
    _gone: dict[Key, str] = field(default_factory=dict)
    _opening: int = 0
    _reaper: asyncio.Task[None] | None = None

    async def call(self, key: Key, work: Callable[[Session], Awaitable[T]], opens: bool = False) -> T:
        """What `work` does with the thread's page; only with `opens` a new one is made. One call a thread at a time.

        A call that is cancelled or takes too long loses its page, for nobody knows what goes on in it.
        """
        lock, waiting = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, waiting + 1
        try:
            async with lock:
                session = await self._session(key, opens)  # starting a browser is not the page's time
                return await self._timed(key, session, work)
        finally:
            lock, waiting = self._locks.pop(key)
            if waiting > 1:
                self._locks[key] = lock, waiting - 1

    async def close(self) -> None:
        """Close every page and the browser."""
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.gather(self._reaper, return_exceptions=True)
            self._reaper = None
        for key in list(self._sessions):
            await self._drop(key, "the browser was closed")
        await self._end_chromium()
        self._starting = asyncio.Lock()  # what comes after a close may be another loop

    async def _timed(self, key: Key, session: Session, work: Callable[[Session], Awaitable[T]]) -> T:
        session.proxy.allow(self.limits.max_bytes)
        try:
            async with asyncio.timeout(self.limits.timeout_s) as deadline:
                with _ended_early(session, deadline):
                    return await self._guarded(session, work)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            why = self._why_ended(session)
            await self._drop(key, why)
            raise BrowserFailed(f"the page was closed: {why}; {_AGAIN}, or use another one") from error
        except asyncio.CancelledError:
            await self._drop(key, "the call was cancelled")
            raise
        finally:
            session.used_at = time.monotonic()
            if session.lost:
                await self._drop(key, session.lost)

    async def _guarded(self, session: Session, work: Callable[[Session], Awaitable[T]]) -> T:
        from playwright.async_api import Error

        try:
            return await work(session)
        except Error as error:
            if session.is_ended_by(error):
                raise BrowserFailed(f"the page was lost: {session.lost}; {_AGAIN}") from error
            raise BrowserFailed(
                f"the page could not be used ({str(error)[:200]}); call browser_read to see it"
            ) from error

    def _why_ended(self, session: Session) -> str:
        """Why a call's time was up."""
        if session.proxy.exhausted:
            return f"it loads more than the limit of {self.limits.max_bytes:,} bytes"
        if session.lost:
            return session.lost
        return f"it did not answer within {self.limits.timeout_s:g} s"

    async def _session(self, key: Key, opens: bool) -> Session:
        session = self._sessions.get(key)
        if session is not None and (session.lost or not self._is_alive()):
            await self._drop(key, session.lost or "the browser ended")
            session = None
        if session is None and not opens:
            why = self._gone.get(key)
            raise BrowserFailed(
                f"the page is gone ({why}); {_AGAIN}" if why else "no page is open; call browser_open first"
            )
        if session is None:
            self._opening += 1
            try:
                await self._make_room()
                async with asyncio.timeout(_START_S):
                    session = await self._new_session()
                self._sessions[key] = session
                self._gone.pop(key, None)
                if self._reaper is None or self._reaper.done():
                    self._reaper = asyncio.create_task(self._reap())
            except TimeoutError as error:
                raise BrowserFailed(f"the browser did not start within {_START_S:g} s; try again later") from error
            finally:
                self._opening -= 1
        return session

    async def _new_session(self) -> Session:
        chromium = await self._running_chromium()
        from playwright.async_api import Error

        try:
            return await Session.start(chromium, Proxy(self.rules, self.resolve))
        except Error:  # a browser that has ended meanwhile, which is not always known before it is used
            chromium.closed = True
        try:
            return await Session.start(await self._running_chromium(), Proxy(self.rules, self.resolve))
        except Error as error:
            raise BrowserFailed(f"the browser ended as soon as it was used ({str(error)[:200]}); try again") from error

    async def _make_room(self) -> None:
        """Close the page that has been idle for longest, if there are too many."""
        while len(self._sessions) + self._opening > self.limits.max_pages:
            idle = [key for key in self._sessions if key not in self._locks]
            if not idle:
                raise BrowserFailed(f"all {self.limits.max_pages} pages of the browser are in use; try again later")
            oldest = min(idle, key=lambda key: self._sessions[key].used_at)
            await self._drop(oldest, "it was closed to make room for another one")

    async def _running_chromium(self) -> Chromium:
        async with self._starting:
            if not self._is_alive():
                await self._end_chromium()
                self._chromium = await Chromium.start(self.executable, self.limits.max_memory_bytes)
            assert self._chromium is not None
            return self._chromium

    def _is_alive(self) -> bool:
        return self._chromium is not None and not self._chromium.closed and self._chromium.browser.is_connected()

    async def _drop(self, key: Key, why: str) -> None:
        session = self._sessions.pop(key, None)
        if session is None:
            return
        self._gone[key] = why
        while len(self._gone) > 1_000:
            self._gone.pop(next(iter(self._gone)))
        if not await session.close():
            await self._end_chromium()

    async def _end_chromium(self) -> None:
        chromium, self._chromium = self._chromium, None
        if chromium is not None:
            await chromium.close()

    async def _reap(self) -> None:
        """Close pages that are idle for too long, and the browser with the last one."""
        while self._sessions:
            now = time.monotonic()
            for key, session in list(self._sessions.items()):
                if key not in self._locks and now - session.used_at > self.limits.idle_s:
                    await self._drop(key, f"it was idle for {self.limits.idle_s / 60:g} minutes")
            await asyncio.sleep(min(self.limits.idle_s / 4, 15))
        async with self._starting:
            if not self._sessions and not self._locks and not self._opening:
                await self._end_chromium()


@contextlib.contextmanager
def _ended_early(session: Session, deadline: asyncio.Timeout) -> Iterator[None]:
    """The deadline comes at once when the page is lost or has loaded too much: what waits for it would wait on."""

    def end() -> None:
        deadline.reschedule(asyncio.get_running_loop().time())

    session.watch.on_lost = session.proxy.on_exhausted = end
    try:
        yield
    finally:
        session.watch.on_lost = session.proxy.on_exhausted = lambda: None
