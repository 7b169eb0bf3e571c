"""Reading a page without stopping the event loop: small pages in a thread, large ones in a process.

A thread cannot be stopped, and HTML of a few megabytes can hold any parser for minutes (distinct
attributes cost libxml2 n², elements trafilatura), so what could is read where it can be killed.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from lye._child import MAX_MEMORY_BYTES, answer, ask_child
from lye._web.page import Page, is_slow, read_page
from lye._web.url import without_query
from lye.errors import FetchFailed


async def read_page_aside(
    body: bytes, content_type: str, url: str, *, links: bool = False, max_memory_bytes: int = MAX_MEMORY_BYTES
) -> Page:
    """What `read_page` gives; FetchFailed also when a large page needs more memory. Cancelled, it leaves no
    process behind.
    """
    if not is_slow(body, content_type):
        return await asyncio.to_thread(read_page, body, content_type, url, links)
    question = {"content_type": content_type, "url": url, "links": links}
    try:
        found = await ask_child("lye._web.page_process:serve", question, body, max_memory_bytes)
    except OSError as error:
        raise FetchFailed(
            f"{without_query(url)!r} could not be read ({error.strerror}): no process for it could be started; try"
            " again later, with fewer pages at once"
        ) from error
    if found is None:
        raise FetchFailed(
            f"{without_query(url)!r} is damaged, or could not be read within {max_memory_bytes:,} bytes of memory; use"
            " another page, or call download_file to keep it as a file"
        )
    if "failure" in found:
        raise FetchFailed(found["failure"])
    return Page(**found)


def serve() -> None:
    """The process's work: a Page, or why there is none."""
    answer(_read)


def _read(question: dict[str, Any], body: bytes) -> dict[str, str]:
    try:
        return asdict(read_page(body, **question))
    except FetchFailed as error:
        return {"failure": str(error)}
