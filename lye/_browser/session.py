"""One conversation's page: opened, read, clicked, filled, photographed.

What a page does by itself meanwhile is `watch.py`'s. How long a call may take, and what becomes of a page that is lost,
is `pool.py`'s.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from lye._browser.process import Chromium
from lye._browser.proxy import Proxy
from lye._browser.snapshot import shown_url, take
from lye._browser.watch import NAVIGATION_S, Watch, quietly
from lye._clean import clean
from lye._web.url import parse_url, without_query
from lye.errors import BrowserFailed, FetchFailed, UrlRefused

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Frame, Locator, Page

_ACTION_S = 10.0  # for an element to be free to be clicked
_CLOSE_S = 5.0
_MAX_PHOTO_PIXELS = 10_000  # of height
_ENDED = re.compile(r"(browser|page|Connection|Target) (has been closed|closed|crashed)")
_LOST = "it is lost; call browser_open to open a page again"


@dataclass
class Session:
    """A context of its own with one page, behind a proxy of its own."""

    context: BrowserContext
    proxy: Proxy
    watch: Watch
    used_at: float = field(default_factory=time.monotonic)
    _frames: dict[str, Frame] = field(default_factory=dict)
    _next_number: int = 1

    @classmethod
    async def start(cls, chromium: Chromium, proxy: Proxy) -> Session:
        """An empty page; the proxy is started, and closed with the session."""
        context: BrowserContext | None = None
        try:
            await proxy.start()
            context = await chromium.new_context(proxy.port)
            return cls(context, proxy, Watch(context, await context.new_page()))
        except BaseException:
            await proxy.close()
            if context is not None:
                await asyncio.wait_for(quietly(context.close()), _CLOSE_S)
            raise

    @property
    def page(self) -> Page:
        """The one page; another one after a click that opened a tab."""
        return self.watch.page

    @property
    def lost(self) -> str:
        """Why the page can't be used any more; "" while it can."""
        return self.watch.lost

    async def close(self) -> bool:
        """Let go of page and proxy; False if the browser did not answer and has to be ended itself."""
        from playwright.async_api import Error

        self.watch.lost = self.lost or "it was closed"
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
        self.watch.leave_for(str(target))
        try:
            # The caller's own text: the fragment, which `target` has not, can name a part of the page.
            response = await self.page.goto(url.strip(), wait_until="domcontentloaded", timeout=NAVIGATION_S * 1000)
        except Error as error:
            if self.is_ended_by(error):
                raise
            if "net::ERR_" in str(error) and "ERR_ABORTED" not in str(error):
                await self.watch.wait_for_error_page()
            self._raise_refusal()
            raise BrowserFailed(self._why_not_opened(url, str(error))) from error
        await self.watch.settle()
        if response is not None and response.status >= 400:
            known = {known.value: f" ({known.phrase})" for known in HTTPStatus}
            raise BrowserFailed(
                f"{_named(response.url)!r} answered {response.status}{known.get(response.status, '')};"
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
        return "".join(f"({note})\n" for note in self.watch.take_notes()) + text

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
            self.watch.lost = self.lost or "the browser ended, or the page closed itself"
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

        try:
            await self.watch.through(action)
        except Error as error:
            if self.is_ended_by(error):
                raise
            reason = clean(str(error).partition("\nCall log:")[0])[:300]
            raise BrowserFailed(
                f"element {element[:80]!r} could not be used ({reason}); call browser_read to see the page as it is"
            ) from error
        self._check_document()

    def _check_document(self, url: str = "") -> None:
        """Raise for a page that is none: refused, not loaded, or of a kind that nobody should be led to."""
        if self.lost or self.page.is_closed():
            self.watch.lost = self.lost or "it closed itself"
            raise BrowserFailed(f"the page cannot be used ({self.lost}): {_LOST}")
        url = url or self.page.url
        if url.startswith("chrome-error:"):
            self._raise_refusal()
            raise BrowserFailed(
                f"{_named(self.watch.navigation)!r} could not be loaded; call browser_open with another URL"
            )
        if not url.startswith(("http://", "https://", "about:blank", "blob:http")):
            self.watch.lost = f"it went to {_named(url)!r}"
            raise BrowserFailed(f"the page is closed, for {self.lost}, which is no web page; {_LOST}")

    def _raise_refusal(self) -> None:
        """The proxy's own error, if it did not let the last navigation through."""
        try:
            target = parse_url(self.watch.navigation)
        except UrlRefused:
            return  # of another kind; what the browser says of it is told
        error = self.proxy.refusals.get((target.host, target.port))
        if isinstance(error, FetchFailed):
            raise BrowserFailed(str(error)) from error
        if error is not None:
            raise error

    def _why_not_opened(self, url: str, text: str) -> str:
        if "Download is starting" in text or self.watch.downloads:
            return f"{_named(url)!r} is a file and no page; call download_file to keep it, if there is such a tool"
        found = re.search(r"net::(ERR_\w+)", text)
        reason = found[1] if found else clean(text.partition("\n")[0])[:200]
        return f"{_named(url)!r} could not be opened ({reason}); check the URL or try again later"


def _named(url: str) -> str:
    """The URL for an error, which may be logged."""
    return shown_url(without_query(url))


def _ref(element: str) -> str:
    """The name in what a model writes: `e7`, `[e7]`, `[e7 button "Send"]`."""
    match = re.match(r"\W{0,3}(e\d{1,9})\b", element.strip(), re.IGNORECASE)
    return match[1].lower() if match else ""
