"""One conversation's page: opened, read, clicked, filled, photographed.

How long a call may take, and what becomes of a page that is lost, is `pool.py`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from lye._browser.process import Chromium
from lye._browser.proxy import Proxy
from lye._browser.snapshot import shown_url, take
from lye._clean import clean
from lye._web.url import parse_url
from lye.errors import BrowserFailed, FetchFailed, UrlRefused

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Dialog, Download, Frame, Locator, Page, Request

NAVIGATION_S = 30.0
_ACTION_S = 10.0  # for an element to be free to be clicked
_CLOSE_S = 5.0
_QUIET_S, _SETTLE_S, _LOOK_S = 0.3, 3.0, 0.05
_MAX_PHOTO_PIXELS = 10_000  # of height
_MAX_NOTES = 5
_ENDED = re.compile(r"(browser|page|Connection|Target) (has been closed|closed|crashed)")
_LOST = "it is lost; call browser_open to open a page again"


@dataclass
class Session:
    """A context of its own with one page, behind a proxy of its own. `lost` says why it can't be used any more."""

    context: BrowserContext
    page: Page
    proxy: Proxy
    lost: str = ""
    on_lost: Callable[[], None] = field(default=lambda: None, repr=False)
    used_at: float = field(default_factory=time.monotonic)
    _frames: dict[str, Frame] = field(default_factory=dict)
    _next_number: int = 1
    _notes: list[str] = field(default_factory=list)
    _in_flight: set[Request] = field(default_factory=set)
    _navigation: str = ""
    _adopts: bool = False
    _popup: Page | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    async def start(cls, chromium: Chromium, proxy: Proxy) -> Session:
        """An empty page; the proxy is started, and closed with the session."""
        context: BrowserContext | None = None
        try:
            await proxy.start()
            context = await chromium.new_context(proxy.port)
            session = cls(context, await context.new_page(), proxy)
        except BaseException:
            await proxy.close()
            if context is not None:
                await asyncio.wait_for(_quietly(context.close()), _CLOSE_S)
            raise
        session._listen()
        return session

    async def close(self) -> bool:
        """Let go of page and proxy; False if the browser did not answer and has to be ended itself."""
        from playwright.async_api import Error

        self.lost = self.lost or "it was closed"
        await self.proxy.close()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self.context.close()
        except TimeoutError:
            return False
        except Error:
            pass  # it is closed already
        return True

    async def open(self, url: str) -> None:
        """Go to the URL. Raises UrlRefused; BrowserFailed for what is no page, and for a status of 400 and above."""
        from playwright.async_api import Error

        target = parse_url(url)
        self._navigation = str(target)
        try:
            # The caller's own text: the fragment, which `target` has not, can name a part of the page.
            response = await self.page.goto(url.strip(), wait_until="domcontentloaded", timeout=NAVIGATION_S * 1000)
        except Error as error:
            if self.is_ended_by(error):
                raise
            self._raise_refusal()
            raise BrowserFailed(self._why_not_opened(url, str(error))) from error
        await self._settle()
        if response is not None and response.status >= 400:
            known = {known.value: f" ({known.phrase})" for known in HTTPStatus}
            raise BrowserFailed(
                f"{shown_url(response.url)!r} answered {response.status}{known.get(response.status, '')};"
                " check the URL, or call browser_read to see the page that came with it"
            )

    async def click(self, element: str) -> None:
        """Click it, and wait for what follows; a new tab that it opens takes the page's place."""
        locator = await self._locate(element)
        await self._act(element, locator.click(timeout=_ACTION_S * 1000))

    async def fill(self, element: str, text: str, submit: bool) -> None:
        """Put the text into a field, or choose the option of that name; with `submit` press Enter in it."""
        locator = await self._locate(element)
        if await locator.get_attribute("type") == "file":
            raise BrowserFailed(f"element {element!r} takes a file, and these tools give no files to a page")
        if await locator.and_(self._frames[_ref(element)].locator("css=select")).count():
            await self._act(element, locator.select_option(text, timeout=_ACTION_S * 1000))
        else:
            await self._act(element, locator.fill(text, timeout=_ACTION_S * 1000))
        if submit:
            await self._act(element, locator.press("Enter", timeout=_ACTION_S * 1000))

    async def show(self, number: int) -> str:
        """Page `number` of the document's text, read anew, under what has happened to the page since the last time."""
        self._check_document()
        snapshot = await take(self.page.main_frame, self._next_number)
        self._check_document(snapshot.page.url)  # it may have changed while it was read
        self._frames, self._next_number = snapshot.frames, snapshot.next_number
        try:
            text = snapshot.page.show(number, "call browser_read")
        except FetchFailed as error:
            raise BrowserFailed(str(error)) from error
        notes, self._notes[:] = "".join(f"({note})\n" for note in self._notes), []
        return notes + text

    async def photograph(self, full_page: bool) -> bytes:
        """A PNG of what is in view, or of the whole page down to 10,000 pixels."""
        self._check_document()
        if not full_page:
            return await self.page.screenshot(timeout=_ACTION_S * 1000)
        size = re.fullmatch(r"(\d{1,9}) (\d{1,9})", await self.page.main_frame.text_content("lye=size") or "")
        width, height = (min(int(part), _MAX_PHOTO_PIXELS) for part in size.groups()) if size else (1, 1)
        clip: Any = {"x": 0, "y": 0, "width": max(1, min(width, 4_000)), "height": max(1, height)}
        return await self.page.screenshot(full_page=True, clip=clip, timeout=_ACTION_S * 1000)

    def is_ended_by(self, error: Exception) -> bool:
        """Whether one of Playwright's errors means that the page is no more; `lost` is set then."""
        if self.page.is_closed() or _ENDED.search(str(error)):
            self.lost = self.lost or "the browser ended, or the page closed itself"
        return bool(self.lost)

    @property
    def url(self) -> str:
        """Where the page is, on one line."""
        return shown_url(self.page.url)

    async def _locate(self, element: str) -> Locator:
        self._check_document()
        frame = self._frames.get(_ref(element))
        locator = frame.locator(f"lye=ref:{_ref(element)}") if frame is not None and not frame.is_detached() else None
        if locator is None or not await locator.count():
            raise BrowserFailed(
                f"there is no element {element[:80]!r} on the page now; call browser_read and use a name such as 'e7'"
            )
        return locator

    async def _act(self, element: str, action: Coroutine[Any, Any, object]) -> None:
        from playwright.async_api import Error

        self._adopts, self._popup = True, None
        try:
            await action
            await self._settle()
            await self._adopt_popup()
        except Error as error:
            if self.is_ended_by(error):
                raise
            reason = clean(str(error).partition("\nCall log:")[0])[:300]
            raise BrowserFailed(
                f"element {element[:80]!r} could not be used ({reason}); call browser_read to see the page as it is"
            ) from error
        finally:
            self._adopts = False
        self._check_document()

    async def _adopt_popup(self) -> None:
        from playwright.async_api import Error

        popup, self._popup = self._popup, None
        if popup is None:
            return
        old, self.page = self.page, popup
        with contextlib.suppress(Error):  # slow, or refused: the document is looked at next
            await popup.wait_for_load_state("domcontentloaded", timeout=NAVIGATION_S * 1000)
        await old.close()
        await self._settle()
        self._note("a new tab was opened and took the page's place")

    async def _settle(self) -> None:
        """Wait until nothing has been loaded for a moment, at most three seconds: pages fill themselves by script."""
        end = time.monotonic() + _SETTLE_S
        quiet_since = time.monotonic()
        while (now := time.monotonic()) < end and now - quiet_since < _QUIET_S and not self.lost:
            if self._in_flight:
                quiet_since = now
            await asyncio.sleep(_LOOK_S)

    def _check_document(self, url: str = "") -> None:
        """Raise for a page that is none: refused, not loaded, or of a kind that nobody should be led to."""
        if self.lost or self.page.is_closed():
            self.lost = self.lost or "it closed itself"
            raise BrowserFailed(f"the page cannot be used ({self.lost}): {_LOST}")
        url = url or self.page.url
        if url.startswith("chrome-error:"):
            self._raise_refusal()
            raise BrowserFailed(
                f"{shown_url(self._navigation)!r} could not be loaded; call browser_open with another URL"
            )
        if not url.startswith(("http://", "https://", "about:blank", "blob:http")):
            self.lost = f"it went to {shown_url(url)!r}"
            raise BrowserFailed(f"the page is closed, for {self.lost}, which is no web page; {_LOST}")

    def _raise_refusal(self) -> None:
        """The proxy's own error, if it did not let the last navigation through."""
        try:
            target = parse_url(self._navigation)
        except UrlRefused:
            return  # of another kind; what the browser says of it is told
        error = self.proxy.refusals.get((target.host, target.port))
        if isinstance(error, FetchFailed):
            raise BrowserFailed(str(error)) from error
        if error is not None:
            raise error

    def _why_not_opened(self, url: str, text: str) -> str:
        if "Download is starting" in text or (self._notes and self._notes[-1].startswith("a download")):
            return f"{shown_url(url)!r} is a file and no page; call download_file to keep it, if there is such a tool"
        found = re.search(r"net::(ERR_\w+)", text)
        reason = found[1] if found else clean(text.partition("\n")[0])[:200]
        return f"{shown_url(url)!r} could not be opened ({reason}); check the URL or try again later"

    def _listen(self) -> None:
        self.context.on("page", self._on_page)
        self.context.on("request", self._on_request)
        self.context.on("requestfinished", self._on_request_end)
        self.context.on("requestfailed", self._on_request_end)
        self.context.on("close", lambda _: self._lose("the browser ended"))
        self._listen_to(self.page)

    def _listen_to(self, page: Page) -> None:
        page.on("dialog", self._on_dialog)
        page.on("download", self._on_download)
        page.on("crash", lambda crashed: self._lose("it crashed, or took too much memory"))

    def _lose(self, why: str) -> None:
        self.lost = self.lost or why
        self.on_lost()

    def _on_page(self, page: Page) -> None:
        if self._adopts and self._popup is None:
            self._popup = page
            self._listen_to(page)
        else:
            self._start(page.close())

    def _on_request(self, request: Request) -> None:
        if len(self._in_flight) < 1_000:
            self._in_flight.add(request)
        from playwright.async_api import Error

        try:
            is_main = request.frame == (self._popup or self.page).main_frame
        except Error:  # of a page that is about to be made: a new tab
            is_main = True
        if is_main and request.is_navigation_request():
            self._navigation = request.url

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
        task = asyncio.create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    from playwright.async_api import Error

    with contextlib.suppress(Error):  # what it is about is gone
        await work


def _ref(element: str) -> str:
    """The name in what a model writes: `e7`, `[e7]`, `[e7 button "Send"]`."""
    match = re.match(r"\W{0,3}(e\d{1,9})\b", element.strip(), re.IGNORECASE)
    return match[1].lower() if match else ""
