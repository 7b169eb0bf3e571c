"""DuckDuckGo through the library `ddgs`, in a process of its own.

The library blocks, reads answers of any size, and takes proxies from the environment (its own DDGS_PROXY,
and its HTTP client's); a child process can be killed, is bounded, and has no such environment.
"""

from __future__ import annotations

import asyncio
from typing import Any

from lye._child import answer, ask_child
from lye._extras import load, require
from lye.errors import SearchFailed

_ONE_ANSWER_S = 15  # for one request of the library
_MAX_TEXT_CHARS = 20_000
_NEXT = "try again later; the developer can name another service with web_tools(search=...)"


async def search_duckduckgo(
    query: str, max_results: int, timeout_s: float, proxy: str | None
) -> list[tuple[str, str, str]]:
    """Title, URL and snippet of each result; ExtraNeeded without the library, SearchFailed without an answer."""
    require("ddgs", "search")
    question = {"query": query, "max_results": max_results, "proxy": proxy}
    try:
        async with asyncio.timeout(timeout_s) as deadline:
            answered = await ask_child("lye._web.ddgs:serve", question)
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise SearchFailed(f"DuckDuckGo did not answer within {timeout_s:g} s; {_NEXT}") from error
    except OSError as error:
        raise SearchFailed(
            f"DuckDuckGo was not asked ({error.strerror}): no process for it could be started; try again later, with"
            " fewer searches at once"
        ) from error
    if answered is None:
        raise SearchFailed(f"DuckDuckGo's answer could not be read; {_NEXT}")
    if "failure" in answered:
        raise SearchFailed(f"DuckDuckGo gave no answer ({answered['failure']}); {_NEXT}")
    return [(title, url, snippet) for title, url, snippet in answered["found"]]


def serve() -> None:
    """The process's work: results, or a failure."""
    answer(lambda question, _: _search(load("ddgs", "search"), **question))


def _search(ddgs: Any, query: str, max_results: int, proxy: str | None) -> dict[str, object]:
    try:
        results = ddgs.DDGS(proxy=proxy, timeout=_ONE_ANSWER_S).text(
            query, region="wt-wt", max_results=max_results, backend="duckduckgo"
        )
    except load("ddgs.exceptions", "search").DDGSException as error:
        return _failure(error, proxy)
    return {"found": [[_text(one, key) for key in ("title", "href", "body")] for one in results[:max_results]]}


def _failure(error: Exception, proxy: str | None) -> dict[str, object]:
    kind, text = type(error).__name__, str(error)
    if text == "No results found.":  # what the library says of an empty page, and of one that refuses robots
        return {"found": []}
    # Words of a client that was given a proxy could repeat its password.
    return {"failure": kind if proxy else f"{kind}: {text[:300]}"}


def _text(result: object, key: str) -> str:
    value = result.get(key) if isinstance(result, dict) else None
    return value[:_MAX_TEXT_CHARS] if isinstance(value, str) else ""
