"""The web tools: search, read a page, keep a file. Safe as imported; `web_tools` opens what a developer wants open.

How a request is kept safe is `_web/fetch.py`'s, how a page becomes text `_web/page.py`'s, who is asked to search
`search.py`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from lye._clean import clean
from lye._web.fetch import Answer, Fetcher
from lye._web.page_process import read_page_aside
from lye._web.proxy import Proxy
from lye._web.rules import Rules
from lye._web.url import masked_url
from lye.errors import FetchFailed, FileStoreNeeded
from lye.search import Brave, Search, SearxNG
from lye.search import search as ask_search
from narrator.attachment import Attachment
from tyler.tools import Tool, ToolContext, ToolResult, Touch, tool

MAX_PAGE_BYTES = 5 * 1024 * 1024
MAX_DOWNLOAD_BYTES = 50_000_000  # what tyler keeps of a tool's file at most
TIMEOUT_S = 30.0
_WRITE_BYTES = 1 << 20
_MAX_NAME_CHARS = 150


def web_tools(
    allow_hosts: Sequence[str] = (),
    allow_private: bool = False,
    max_bytes: int = MAX_PAGE_BYTES,
    timeout_s: float = TIMEOUT_S,
    max_download_bytes: int = MAX_DOWNLOAD_BYTES,
    search: Search = "duckduckgo",
    proxy: str | None = None,
) -> list[Tool]:
    """`fetch_page`, `download_file` and `search_web`, with these limits.

    `allow_hosts` opens hosts that are not public, or on other ports: "localhost:8000", "10.0.0.5",
    "*.corp.example". `allow_private` opens all private addresses (never metadata or link-local ones).
    `max_bytes` bounds a page's decoded size, `timeout_s` one whole call. `search` is who is asked: "duckduckgo"
    (extra `search`), SearxNG(url) or Brave(api_key). `proxy` ("http://user:password@host:3128") carries
    everything; none is taken from the environment. Raises ValueError for an entry that is no host, a limit that
    is not above 0, a search service that is none of these, and a proxy that is no such URL.
    """
    limits = {"max_bytes": max_bytes, "timeout_s": timeout_s, "max_download_bytes": max_download_bytes}
    for name, value in limits.items():
        if not value > 0:
            raise ValueError(f"{name} is {value!r}; pass a number above 0")
    if search != "duckduckgo" and not isinstance(search, SearxNG | Brave):
        # Not the value: it may be a key.
        raise ValueError(f"search is a {type(search).__name__}; pass 'duckduckgo', SearxNG(url) or Brave(api_key)")
    rules = Rules.of(allow_hosts, allow_private)
    fetcher = Fetcher(rules, timeout_s, proxy=None if proxy is None else Proxy.parse(proxy))

    def touches(arguments: dict[str, Any]) -> set[Touch]:
        return {"untrusted"} if rules.names(arguments.get("url")) else {"untrusted", "outward"}

    @tool(risk="external", effect="read", touches=touches)
    async def fetch_page(url: str, page: int = 1, links: bool = False) -> str:
        """Read a public web page or PDF. Returns its title, final URL and text as Markdown, long ones in pages.

        Args:
            url: The full address, starting with https:// or http://
            page: Which page of a long text, from 1
            links: true for a numbered list of the page's links instead of its text
        """
        return await _fetch_page(fetcher, url, page, links, max_bytes)

    @tool(risk="external", effect="idempotent", touches=touches)
    async def download_file(ctx: ToolContext, url: str, filename: str | None = None) -> ToolResult:
        """Download a file from the public web and attach it to the conversation. For pages use fetch_page.

        Args:
            url: The full address, starting with https:// or http://
            filename: A name for the file; the server's if left out
        """
        return await _download_file(fetcher, ctx, url, filename, max_download_bytes)

    @tool(risk="external", effect="read", touches={"untrusted", "outward"})
    async def search_web(query: str, max_results: int = 5) -> str:
        """Search the web. Returns a numbered list of titles, URLs and descriptions; read one with fetch_page.

        Args:
            query: The words to search for
            max_results: How many results, at most 10
        """
        return await ask_search(search, fetcher, query, max_results)

    return [fetch_page, download_file, search_web]


async def _fetch_page(fetcher: Fetcher, url: str, number: int, links: bool, max_bytes: int) -> str:
    async with fetcher.get(url, max_bytes) as answer:
        body = b"".join([piece async for piece in answer.body])
        page = await read_page_aside(body, answer.content_type, answer.url, links=links)
    return page.show(number)


async def _download_file(
    fetcher: Fetcher, ctx: ToolContext, url: str, filename: str | None, max_bytes: int
) -> ToolResult:
    if ctx.file_store is None:
        raise FileStoreNeeded(
            f"{masked_url(url)!r} was not downloaded: the agent has no file store; the developer can pass"
            " Agent(file_store=await FileStore.create('files'))"
        )
    file = _open_temporary()
    path = Path(file.name)
    try:
        async with fetcher.get(url, min(max_bytes, ctx.file_store.max_file_bytes)) as answer:
            await _write(answer.body, file)
        shown_name, mime_type = file_name(answer, filename), _mime_type(answer)
        attachment = await asyncio.to_thread(Attachment.from_path, path, filename=shown_name, mime_type=mime_type)
        saved = await ctx.file_store.save(attachment)
    finally:
        await asyncio.to_thread(_remove, file, path)
    text = f"Downloaded {answer.url} as {saved.filename!r} ({saved.mime_type}, {saved.size_bytes:,} bytes)."
    return ToolResult(text, [saved])


def _open_temporary() -> BinaryIO:
    """A file object, not a descriptor: closed after a cancellation, it waits for a write still in its thread."""
    try:
        return cast(BinaryIO, tempfile.NamedTemporaryFile(prefix="lye-", delete=False))
    except OSError as error:
        raise _not_kept(error) from error


async def _write(body: AsyncIterator[bytes], file: BinaryIO) -> None:
    waiting = bytearray()
    async for piece in body:
        waiting += piece
        if len(waiting) >= _WRITE_BYTES:
            await asyncio.to_thread(_write_now, file, bytes(waiting))
            waiting.clear()
    await asyncio.to_thread(_write_now, file, bytes(waiting))


def _write_now(file: BinaryIO, data: bytes) -> None:
    try:
        file.write(data)
        file.flush()
    except OSError as error:
        raise _not_kept(error) from error


def _not_kept(error: OSError) -> FetchFailed:
    """Without the error's own words, which name a folder of this machine."""
    return FetchFailed(
        f"the file could not be kept on the disk ({error.strerror}); the developer has to look at its space"
        " and the temporary folder"
    )


def _remove(file: BinaryIO, path: Path) -> None:
    with contextlib.suppress(OSError):  # what could not be written is tried again here, and is not wanted any more
        file.close()
    path.unlink(missing_ok=True)


def file_name(answer: Answer, wanted: str | None = None) -> str:
    """A plain file name: the wanted one, the server's, the URL's last part, or "download"; never a path."""
    candidates = (wanted or "", _disposition_name(answer.disposition), unquote(urlsplit(answer.url).path))
    for candidate in candidates:
        name = re.split(r"[/\\]", clean(candidate).strip().rstrip("/"))[-1]
        name = re.sub(r'[\n\t<>:"|?*]+', "_", name).strip(" .")
        if name:
            stem, dot, suffix = name.rpartition(".")
            if dot and len(suffix) <= 20:
                return f"{stem[: _MAX_NAME_CHARS - len(suffix) - 1]}.{suffix}"
            return name[:_MAX_NAME_CHARS]
    return "download"


def _disposition_name(header: str) -> str:
    """The filename of a Content-Disposition header; `filename*` (RFC 8187) wins."""
    if match := re.search(r"filename\*\s*=\s*([\w-]+)'[\w-]*'([^;\s]+)", header[:2000], re.IGNORECASE):
        encoding = "utf-8" if match[1].lower() == "utf-8" else "latin-1"
        return unquote(match[2], encoding=encoding, errors="replace")
    match = re.search(r'filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', header[:2000], re.IGNORECASE)
    return (match[1] or match[2] or "") if match else ""


def _mime_type(answer: Answer) -> str:
    """The declared type; "" (guess it by the name) when the server declares none."""
    declared = answer.content_type.partition(";")[0].strip().lower()
    is_real = re.fullmatch(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,90}", declared)
    return declared if is_real and declared != "application/octet-stream" else ""


WEB_TOOLS = web_tools()
