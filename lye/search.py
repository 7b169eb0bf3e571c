"""Searching the web: which service is asked, and its results as a short numbered list of clean text.

SearXNG and Brave are asked through `_web/fetch.py`; DuckDuckGo, whose library has a client of its own, in
`_web/ddgs.py`.
"""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlencode

from lye._clean import clean
from lye._web.ddgs import search_duckduckgo
from lye._web.fetch import Fetcher
from lye._web.rules import Rules
from lye._web.url import parse_url
from lye.errors import FetchFailed, SearchFailed, UrlRefused

MAX_RESULTS = 10
MAX_QUERY_CHARS = 400  # Brave's own limit
_MAX_ANSWER_BYTES = 2 * 1024 * 1024
_MAX_TITLE_CHARS, _MAX_URL_CHARS, _MAX_SNIPPET_CHARS = 200, 2_000, 500
_DEVELOPER = "the developer has to look at web_tools(search=...)"


@dataclass(frozen=True)
class SearxNG:
    """A SearXNG instance, by its base URL: SearxNG("http://localhost:8888"). Its settings must allow JSON.

    The instance's own host and port are open to the search, private ones too, and to nothing else.
    """

    url: str

    def __post_init__(self) -> None:
        parse_url(self.url)  # UrlRefused, a ValueError, says what is wrong
        if "?" in self.url or "#" in self.url:
            # Not the value: what stands there is a token mostly, and the model reads the URL in errors.
            raise ValueError("SearxNG's url holds a ? or #; pass the base URL alone, as in 'http://localhost:8888'")


@dataclass(frozen=True)
class Brave:
    """Brave's Search API, with the key that Brave gives out. `url` is another place that speaks the same API."""

    api_key: str = field(repr=False)
    url: str = "https://api.search.brave.com/res/v1/web/search"

    def __post_init__(self) -> None:
        if not self.api_key.isascii() or not self.api_key.isprintable() or not self.api_key.strip():
            raise ValueError("Brave's api_key is empty or holds what no header can; pass the key as Brave shows it")
        parse_url(self.url)


Search = Literal["duckduckgo"] | SearxNG | Brave


@dataclass(frozen=True)
class Found:
    """One result, as the service gave it."""

    title: str
    url: str
    snippet: str


async def search(service: Search, fetcher: Fetcher, query: str, max_results: int) -> str:
    """The results as text, or the words that there are none; SearchFailed when the service gave no answer."""
    query = " ".join(clean(query).split())
    if not query:
        raise SearchFailed("the query is empty; pass the words to search for")
    if len(query) > MAX_QUERY_CHARS:
        raise SearchFailed(f"the query has {len(query):,} characters; use at most {MAX_QUERY_CHARS}")
    count = min(max(max_results, 1), MAX_RESULTS)
    if isinstance(service, SearxNG):
        found = await _search_searxng(service, fetcher, query)
    elif isinstance(service, Brave):
        found = await _search_brave(service, fetcher, query, count)
    else:
        proxy = fetcher.proxy.url if fetcher.proxy else None
        found = [Found(*one) for one in await search_duckduckgo(query, count, fetcher.timeout_s, proxy)]
        if not found:
            return (
                f"DuckDuckGo gave no results for {query!r}: there are none, or it answers no automatic searches just"
                " now; use other words, or try again later"
            )
    return _show(query, found, count)


async def _search_searxng(service: SearxNG, fetcher: Fetcher, query: str) -> list[Found]:
    url = f"{service.url.rstrip('/')}/search?{urlencode({'q': query, 'format': 'json'})}"
    answer = await _ask(url, fetcher, {})
    found = _results(answer.get("results"), "content")
    silent = answer.get("unresponsive_engines")
    if not found and isinstance(silent, list) and silent:
        raise SearchFailed(
            f"no engine behind the search service answered ({clean(str(silent))[:200]});"
            " wait before you search again, or use other words"
        )
    return found


async def _search_brave(service: Brave, fetcher: Fetcher, query: str, count: int) -> list[Found]:
    url = f"{service.url}?{urlencode({'q': query, 'count': count, 'text_decorations': 'false'})}"
    answer = await _ask(url, fetcher, {"Accept": "application/json", "X-Subscription-Token": service.api_key.strip()})
    web = answer.get("web")
    found = _results(web.get("results") if isinstance(web, dict) else None, "description")
    return [replace(one, title=html.unescape(one.title), snippet=html.unescape(one.snippet)) for one in found]


async def _ask(url: str, fetcher: Fetcher, headers: dict[str, str]) -> dict[str, Any]:
    """The service's JSON object."""
    place = parse_url(url)
    # The service's own place is what the developer named; nothing that the model may fetch opens it.
    fetcher = replace(fetcher, rules=Rules.of([f"{place.bracketed_host}:{place.port}"]))
    try:
        async with fetcher.get(url, _MAX_ANSWER_BYTES, headers) as answer:
            body = b"".join([piece async for piece in answer.body])
            data = await asyncio.to_thread(json.loads, body)
    except (FetchFailed, UrlRefused) as error:
        raise SearchFailed(_explain(error, place.authority)) from error
    except (ValueError, RecursionError) as error:
        raise SearchFailed(f"the search service at {place.authority!r} did not answer in JSON; {_DEVELOPER}") from error
    if not isinstance(data, dict):
        raise SearchFailed(f"the search service at {place.authority!r} gave JSON of another form; {_DEVELOPER}")
    return data


def _explain(error: FetchFailed | UrlRefused, place: str) -> str:
    status = error.status if isinstance(error, FetchFailed) else None
    who = f"the search service at {place!r}"
    if status == 429:
        return f"{who} refuses more searches for now (429); wait before you search again"
    if status in (401, 402, 403, 422):
        return f"{who} does not accept the request ({status}): the key, the plan or its JSON setting; {_DEVELOPER}"
    if status is not None:
        return f"{who} answered {status}; try again later"
    return f"{who} gave no answer ({error}); try again later"


def _results(items: object, snippet: str) -> list[Found]:
    """What can be read of a service's list; entries of another form are left out."""
    entries = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    texts = [[item.get(key) for key in ("title", "url", snippet)] for item in entries]
    return [Found(*(text if isinstance(text, str) else "" for text in one)) for one in texts]


def _show(query: str, found: Sequence[Found], count: int) -> str:
    lines: list[str] = []
    number = 0
    for one in found:
        url = _one_line(one.url, _MAX_URL_CHARS + 1)
        if len(url) > _MAX_URL_CHARS or " " in url or not _is_web(url):
            continue
        number += 1
        lines += [
            f"{number}. {_one_line(one.title, _MAX_TITLE_CHARS) or '(no title)'}",
            f"   {url}",
            f"   {_one_line(one.snippet, _MAX_SNIPPET_CHARS) or '(no description)'}",
        ]
        if number == count:
            break
    if not lines:
        return f"No results for {query!r}; use other or fewer words."
    return "\n".join([f"Results for {query!r}:", *lines])


def _is_web(url: str) -> bool:
    """Whether it is a URL that `fetch_page` could take, where it leads aside."""
    try:
        parse_url(url)
    except UrlRefused:
        return False
    return True


def _one_line(text: str, max_chars: int) -> str:
    """Clean and on one line, so that a result cannot look like two."""
    line = " ".join(clean(text[: max_chars * 10]).split())
    return line if len(line) <= max_chars else f"{line[: max_chars - 1]}…"
