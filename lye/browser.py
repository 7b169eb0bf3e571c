"""The browser tools: open a page, read it, click, fill in, photograph, in a Chromium that obeys the web tools' rules.

How its requests are bound is `_browser/proxy.py`'s, the pages of many conversations `_browser/pool.py`'s, what a page's
text is `_browser/snapshot.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from lye._browser.pool import Limits, Pool
from lye._browser.session import Session
from lye._browser.thread import LoopThread
from lye._web.rules import Rules
from lye._web.url import parse_url
from lye.errors import FileStoreNeeded
from narrator.attachment import Attachment
from tyler.tools import Tool, ToolContext, ToolResult, Touch, tool

T = TypeVar("T")
TIMEOUT_S = 60.0
MAX_CALL_BYTES = 50_000_000
MAX_MEMORY_BYTES = 1 << 30
MAX_PAGES = 8
IDLE_S = 600.0


class Browser:
    """A Chromium that starts with the first call, and `tools` to use it. `async with` closes it at the end.

    Each thread has one page, with cookies of its own that are forgotten with it; any number of threads, event loops
    and agents may share a Browser. A page that is idle for `idle_s` is closed, and the longest idle one when there are
    more than `max_pages`; with the last page the Chromium ends. `executable` is its program: None takes Playwright's
    own or an installed one. `allow_hosts` and `allow_private` open what `web_tools` opens by them. `timeout_s` bounds
    a call, `max_bytes` what the page may load and send from call to call, `max_memory_bytes` each process of pages.
    Raises ValueError for an entry that is no host and for a limit that is not above 0.
    """

    def __init__(
        self,
        *,
        allow_hosts: Sequence[str] = (),
        allow_private: bool = False,
        executable: str | None = None,
        timeout_s: float = TIMEOUT_S,
        max_bytes: int = MAX_CALL_BYTES,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
        max_pages: int = MAX_PAGES,
        idle_s: float = IDLE_S,
    ) -> None:
        limits = Limits(timeout_s, max_bytes, max_memory_bytes, max_pages, idle_s)
        for name, value in vars(limits).items():
            if not value > 0:
                raise ValueError(f"{name} is {value!r}; pass a number above 0")
        self._pool = Pool(Rules.of(allow_hosts, allow_private, "browser_tools"), limits, executable)
        self._thread = LoopThread(self._pool.close)
        self.tools: list[Tool] = tools_of(self._pool, self._thread)

    async def close(self) -> None:
        """Close every page and end the Chromium; a later call starts a new one."""
        await self._thread.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def browser_tools(
    *,
    allow_hosts: Sequence[str] = (),
    allow_private: bool = False,
    executable: str | None = None,
    timeout_s: float = TIMEOUT_S,
    max_bytes: int = MAX_CALL_BYTES,
    max_memory_bytes: int = MAX_MEMORY_BYTES,
    max_pages: int = MAX_PAGES,
    idle_s: float = IDLE_S,
) -> list[Tool]:
    """The tools of a new `Browser` with these options, which ends with the program, or when its pages are idle."""
    return Browser(
        allow_hosts=allow_hosts,
        allow_private=allow_private,
        executable=executable,
        timeout_s=timeout_s,
        max_bytes=max_bytes,
        max_memory_bytes=max_memory_bytes,
        max_pages=max_pages,
        idle_s=idle_s,
    ).tools


def tools_of(pool: Pool, thread: LoopThread) -> list[Tool]:
    """`browser_open`, `browser_read`, `browser_click`, `browser_fill` and `browser_screenshot` on the pool's pages."""

    async def on_page(ctx: ToolContext, work: Callable[[Session], Awaitable[T]], opens: bool = False) -> T:
        return await thread.run(lambda: pool.call((ctx.owner, ctx.thread_id), work, opens))

    def touched_by_open(arguments: dict[str, Any]) -> set[Touch]:
        url = arguments.get("url")
        opened = isinstance(url, str) and pool.rules.names(url)
        return {"untrusted"} if opened else {"untrusted", "outward"}

    @tool(risk="external", effect="read", touches=touched_by_open)
    async def browser_open(ctx: ToolContext, url: str) -> str:
        """Open a public web page in a browser, with its scripts. Returns its text with elements as [e7 button "Send"].

        Args:
            url: The full address, starting with https:// or http://
        """
        parse_url(url)  # before a browser is started for it

        async def work(session: Session) -> str:
            await session.open(url)
            return await session.show(1)

        return await on_page(ctx, work, opens=True)

    @tool(risk="external", effect="read", touches={"untrusted"})
    async def browser_read(ctx: ToolContext, page: int = 1) -> str:
        """Read the page in the browser as it is now: its text and the names of its elements, long ones in pages.

        Args:
            page: Which page of a long text, from 1
        """
        return await on_page(ctx, lambda session: session.show(page))

    @tool(risk="external", effect="once", touches={"untrusted", "outward"})
    async def browser_click(ctx: ToolContext, element: str) -> str:
        """Click an element of the page in the browser. Returns the page as it is then.

        Args:
            element: Its name in the page's text, such as e7
        """

        async def work(session: Session) -> str:
            await session.click(element)
            return await session.show(1)

        return await on_page(ctx, work)

    @tool(risk="external", effect="once", touches={"untrusted", "outward"})
    async def browser_fill(ctx: ToolContext, element: str, text: str, submit: bool = False) -> str:
        """Put text into a field of the page in the browser, or choose an option of a select. Returns the page then.

        Args:
            element: The field's name in the page's text, such as e7
            text: What shall stand in the field; it replaces what is there
            submit: Press Enter in the field afterwards
        """

        async def work(session: Session) -> str:
            await session.fill(element, text, submit)
            return await session.show(1)

        return await on_page(ctx, work)

    @tool(risk="external", effect="read", touches={"untrusted"})
    async def browser_screenshot(ctx: ToolContext, full_page: bool = False) -> ToolResult:
        """Take a picture of the page in the browser and attach it to the conversation.

        Args:
            full_page: The whole page, down to 10,000 pixels, instead of what is in view
        """
        if ctx.file_store is None:
            raise FileStoreNeeded(
                "no picture was taken: the agent has no file store; the developer can pass"
                " Agent(file_store=await FileStore.create('files'))"
            )

        async def work(session: Session) -> tuple[str, bytes]:
            picture = await session.photograph(full_page)
            return session.url, picture

        url, picture = await on_page(ctx, work)
        name = f"screenshot-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.png"
        saved = await ctx.file_store.save(Attachment(filename=name, content=picture, mime_type="image/png"))
        return ToolResult(f"Took {saved.filename!r} of {url} ({saved.size_bytes:,} bytes).", [saved])

    return [browser_open, browser_read, browser_click, browser_fill, browser_screenshot]


BROWSER_TOOLS = browser_tools()
