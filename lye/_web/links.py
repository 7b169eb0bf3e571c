"""A page's links as a numbered list: absolute, of the web only, each once."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from lye._clean import clean
from lye._web.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LINKS = 500
_MAX_URL_CHARS = 2_000
_MAX_WORDS_CHARS = 120
_UNREAD = frozenset({"script", "style", "template", "svg", "math"})


def read_links(html: str, url: str) -> str:
    """The first 500 links as lines `1. [words](address)`, addresses as `fetch_page` takes them.

    Left out: other schemes than http and https, user names and passwords, addresses over 2,000 characters,
    places on the same page.
    """
    from lxml import etree  # type: ignore[import-untyped]

    reader = _Links(url)
    parser = etree.HTMLParser(target=reader, encoding="utf-8", remove_comments=True, remove_pis=True)
    with contextlib.suppress(etree.LxmlError):  # what was read until then counts; it may be nothing
        etree.fromstring(html.encode("utf-8", "replace"), parser)
    lines = [f"{number}. [{words}]({address})" for number, (address, words) in enumerate(reader.found.items(), 1)]
    if len(lines) == MAX_LINKS:
        lines.append(f"(only the first {MAX_LINKS} links are listed)")
    return "\n".join(lines) or "(the page has no links)"


class _Links:
    """Takes lxml's events; `found` holds each address with the first words that lead there."""

    def __init__(self, url: str) -> None:
        self.found: dict[str, str] = {}
        self._base = self._page = url
        self._address = ""
        self._words: list[str] = []
        self._unread = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._unread += tag in _UNREAD
        if tag == "base" and "href" in attributes and self._base == self._page:
            self._base = self._absolute(attributes["href"]) or self._base
        elif tag in ("a", "area"):
            self._keep()
            self._address = "" if self._unread else self._absolute(attributes.get("href", ""))
            self._words = [attributes.get("aria-label") or attributes.get("alt", "")]
        elif tag == "img" and self._address:
            self._words.append(attributes.get("alt", ""))

    def end(self, tag: str) -> None:
        self._unread -= tag in _UNREAD
        if tag in ("a", "area"):
            self._keep()

    def data(self, text: str) -> None:
        if self._address and not self._unread and len(self._words) < 50:
            self._words.append(text[:_MAX_WORDS_CHARS])

    def close(self) -> None:
        self._keep()

    def _keep(self) -> None:
        address, self._address = self._address, ""
        if not address or (len(self.found) >= MAX_LINKS and address not in self.found):
            return
        words = " ".join(re.sub(r"[\[\]()]", " ", clean(" ".join(self._words))).split())[:_MAX_WORDS_CHARS]
        self.found[address] = self.found.get(address) or words

    def _absolute(self, href: str) -> str:
        """The address in its one form, "" for what is no other place of the web."""
        if not href.strip() or len(href) > _MAX_URL_CHARS:
            return ""
        try:
            address = str(parse_url(urljoin(self._base, href.strip())))
        except ValueError:  # UrlRefused is one
            return ""
        if len(address) > _MAX_URL_CHARS or address == self._page:
            return ""
        return address.translate({ord("("): "%28", ord(")"): "%29", ord("<"): "%3C", ord(">"): "%3E"})
