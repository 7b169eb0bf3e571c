"""Reading a page without stopping the event loop: small pages in a thread, large ones in a process.

HTML of a few megabytes can hold any parser for minutes (distinct attributes cost libxml2 n², elements trafilatura).
"""

from __future__ import annotations

import asyncio

from lye._limited_process import MAX_MEMORY_BYTES, ask_process, give_answer, take_question
from lye._page import Page, is_slow, read_page
from lye.errors import FetchFailed


async def read_page_aside(body: bytes, content_type: str, url: str, max_memory_bytes: int = MAX_MEMORY_BYTES) -> Page:
    """What `read_page` gives; FetchFailed also when a large page needs more memory. Cancelled, it leaves no
    process behind.
    """
    if not is_slow(body, content_type):
        return await asyncio.to_thread(read_page, body, content_type, url)
    question = {"content_type": content_type, "url": url}
    answer = await ask_process("lye._page_process", question, body, max_memory_bytes)
    if answer is None:
        raise FetchFailed(f"{url!r} could not be read within {max_memory_bytes:,} bytes of memory; use another page")
    return Page(**answer)


def serve() -> None:
    """The process's work: a page."""
    question, body = take_question()
    page = read_page(body, **question)
    give_answer({"title": page.title, "url": page.url, "text": page.text})
