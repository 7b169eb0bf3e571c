"""What a page does by itself: it loads, asks, offers files, opens tabs, ends. Noted for the model, answered with no."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from lye._browser.snapshot import shown_url
from lye._clean import clean

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Dialog, Download, Frame, Page, Request

NAVIGATION_S = 30.0
_ERROR_PAGE_S = 2.0
_QUIET_S, _SETTLE_S, _LOOK_S = 0.3, 3.0, 0.05
_MAX_NOTES = 5
_MAX_IN_FLIGHT = 1_000  # a page can start any number of requests


class Watch:
    """Listens to a context and its one page from now on.

    `navigation` is where the page went last, `lost` why it can't be used any more; `on_lost` is called then.
    """

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.page = page
        self.navigation = ""
        self.lost = ""
        self.on_lost: Callable[[], None] = lambda: None
        self._notes: list[str] = []
        self._in_flight: set[Request] = set()
        self._error_page = asyncio.Event()
        self._adopts = False
        self._popup: Page | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        context.on("page", self._on_page)
        context.on("request", self._on_request)
        context.on("requestfinished", self._on_request_end)
        context.on("requestfailed", self._on_request_end)
        context.on("close", lambda _: self._lose("the browser ended"))
        self._listen_to(page)

    @property
    def downloads(self) -> bool:
        """Whether the last thing of note was a file that the page offered."""
        return bool(self._notes) and self._notes[-1].startswith("a download")

    def take_notes(self) -> list[str]:
        """What happened since the last time, and forget it."""
        notes, self._notes = self._notes, []
        return notes

    def leave_for(self, url: str) -> None:
        """The page is about to be led there."""
        self.navigation = url
        self._error_page.clear()

    async def wait_for_error_page(self) -> None:
        """Chromium shows it a moment after a failure is known. A navigation in between would be cut off by it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ERROR_PAGE_S):
                await self._error_page.wait()

    async def settle(self) -> None:
        """Wait until nothing has been loaded for a moment, at most three seconds: pages fill themselves by script."""
        end = time.monotonic() + _SETTLE_S
        quiet_since = time.monotonic()
        while (now := time.monotonic()) < end and now - quiet_since < _QUIET_S and not self.lost:
            if self._in_flight:
                quiet_since = now
            await asyncio.sleep(_LOOK_S)

    async def through(self, action: Coroutine[Any, Any, object]) -> None:
        """Await the action and what follows from it; a new tab that it opens takes the page's place."""
        self._adopts, self._popup = True, None
        try:
            await action
            await self.settle()
            await self._adopt_popup()
        finally:
            self._adopts = False

    async def _adopt_popup(self) -> None:
        from playwright.async_api import Error

        popup, self._popup = self._popup, None
        if popup is None:
            return
        old, self.page = self.page, popup
        with contextlib.suppress(Error):  # slow, or refused: the document is looked at next
            await popup.wait_for_load_state("domcontentloaded", timeout=NAVIGATION_S * 1000)
        await old.close()
        await self.settle()
        self._note("a new tab was opened and took the page's place")

    def _listen_to(self, page: Page) -> None:
        page.on("framenavigated", self._on_navigation)
        page.on("dialog", self._on_dialog)
        page.on("download", self._on_download)
        page.on("crash", lambda _: self._lose("it crashed, or took too much memory"))

    def _lose(self, why: str) -> None:
        self.lost = self.lost or why
        self.on_lost()

    def _on_page(self, page: Page) -> None:
        if self._adopts and self._popup is None:
            self._popup = page
            self._listen_to(page)
        else:
            self._start(page.close())

    def _on_navigation(self, frame: Frame) -> None:
        if frame == self.page.main_frame and frame.url.startswith("chrome-error:"):
            self._error_page.set()

    def _on_request(self, request: Request) -> None:
        from playwright.async_api import Error

        if len(self._in_flight) < _MAX_IN_FLIGHT:
            self._in_flight.add(request)
        try:
            is_main = request.frame == (self._popup or self.page).main_frame
        except Error:  # of a page that is about to be made: a new tab
            is_main = True
        if is_main and request.is_navigation_request():
            self.navigation = request.url

    def _on_request_end(self, request: Request) -> None:
        self._in_flight.discard(request)

    def _on_dialog(self, dialog: Dialog) -> None:
        """Dismissed; but who wants to leave a page may leave it."""
        if dialog.type != "beforeunload":
            self._note(f"the page showed the {dialog.type} {clean(dialog.message)[:200]!r}, which was dismissed")
        self._start(dialog.accept() if dialog.type == "beforeunload" else dialog.dismiss())

    def _on_download(self, download: Download) -> None:
        self._note(f"a download was refused: {shown_url(download.url)!r}")

    def _note(self, text: str) -> None:
        if len(self._notes) < _MAX_NOTES:
            self._notes.append(text)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def quietly(work: Coroutine[Any, Any, None]) -> None:
    """Await it; that what it is about is gone is no error."""
    from playwright.async_api import Error

    with contextlib.suppress(Error):
        await work
