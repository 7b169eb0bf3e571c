"""HTML as Markdown: the article as trafilatura sees it, else the whole page, plainly.

trafilatura's time grows with the square of the number of elements (2 minutes for 270,000, measured with
2.3.1), so pages with too many go to the plain reader, which takes one pass.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

if TYPE_CHECKING:
    from collections.abc import Mapping
    from configparser import ConfigParser

_MAX_ARTICLE_TAGS = 50_000
_MANY_LINKS = 10
_HIDDEN = frozenset({"script", "style", "template", "svg", "math", "iframe", "object", "select"})
_HEADINGS = {f"h{level}": f"\n\n{'#' * level} " for level in range(1, 7)}
_BREAKS = _HEADINGS | {
    **dict.fromkeys(("p", "div", "section", "article", "table", "ul", "ol", "pre", "blockquote"), "\n\n"),
    **dict.fromkeys(("br", "tr", "dt", "dd", "header", "footer", "nav", "main", "form", "option"), "\n"),
    "li": "\n- ",
    "td": " | ",
    "th": " | ",
    "hr": "\n\n---\n\n",
}


def read_html(html: str, url: str) -> tuple[str, str]:
    """Title and Markdown of a page; links are made absolute against `url`. Slow for large pages."""
    title, whole = _read_whole(html, url)
    article = _read_article(html, url) if whole else ""
    if not article.strip() or ("](" not in article and whole.count("](") >= _MANY_LINKS):
        return title, whole  # no article, or a list of links whose links trafilatura left out
    return title, article


def _read_article(html: str, url: str) -> str:
    if html.count("<") > _MAX_ARTICLE_TAGS:
        return ""
    import trafilatura
    from lxml import etree  # type: ignore[import-untyped]
    from lxml.html import HTMLParser, document_fromstring  # type: ignore[import-untyped]
    from trafilatura.settings import use_config

    try:  # not trafilatura.load_html, which refuses fragments and logs an error for each
        tree = document_fromstring(html.encode("utf-8", "replace"), HTMLParser(encoding="utf-8"))
    except etree.LxmlError:
        return ""
    _make_absolute(tree, url)
    return (
        trafilatura.extract(
            tree,
            url=url,
            output_format="markdown",
            include_links=True,
            include_comments=False,
            fast=True,
            config=_for_short_pages(use_config()),
        )
        or ""
    )


def _make_absolute(tree: Any, url: str) -> None:
    """trafilatura would resolve relative links against the site instead of the page."""
    base = tree.find(".//base[@href]")
    url = url if base is None else _join(url, base.get("href"))
    for link in tree.iter("a"):
        if "href" in link.attrib:
            link.set("href", _join(url, link.get("href")))


def _join(url: str, href: str) -> str:
    """The link's address, "" if it is none."""
    try:
        return urljoin(url, href.strip())
    except ValueError:
        return ""


def _for_short_pages(config: ConfigParser) -> ConfigParser:
    """Under its default of 250 characters trafilatura gives up the page's structure."""
    config.set("DEFAULT", "MIN_EXTRACTED_SIZE", "1")
    return config


def _read_whole(html: str, url: str) -> tuple[str, str]:
    from lxml import etree

    reader = _WholePage(url)
    parser = etree.HTMLParser(target=reader, encoding="utf-8", remove_comments=True, remove_pis=True)
    with contextlib.suppress(etree.LxmlError):  # what was read until then counts; it may be nothing
        etree.fromstring(html.encode("utf-8", "replace"), parser)
    return reader.title(), reader.text()


class _WholePage:
    """Takes lxml's events (`start`, `end`, `data`, `close`) and writes Markdown."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._out: list[str] = []
        self._title: list[str] = []
        self._path: list[str] = []
        self._hidden = self._verbatim = 0
        self._link: tuple[int, str] | None = None

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._path.append(tag)
        self._hidden += tag in _HIDDEN
        self._verbatim += tag == "pre"
        self._write(_BREAKS.get(tag, ""))
        if "href" not in attributes:
            return
        address = _join(self._url, attributes["href"])
        if tag == "base":
            self._url = address or self._url
        elif tag == "a":
            self._link = (len(self._out), address)

    def end(self, tag: str) -> None:
        if self._path and self._path[-1] == tag:
            self._path.pop()
        self._hidden -= tag in _HIDDEN
        self._verbatim -= tag == "pre"
        if tag == "a":
            self._end_link()
        elif tag not in ("li", "td", "th", "br", "hr"):
            self._write("\n\n" if _BREAKS.get(tag, "").startswith("\n\n") else "")

    def data(self, text: str) -> None:
        if self._path and self._path[-1] == "title" and not self._hidden and len(self._title) < 100:
            self._title.append(text)
        else:
            self._write(text if self._verbatim else re.sub(r"\s+", " ", text))

    def close(self) -> None:
        pass

    def title(self) -> str:
        return "".join(self._title)

    def text(self) -> str:
        lines = (line.rstrip() for line in "".join(self._out).split("\n"))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()

    def _write(self, text: str) -> None:
        if text and not self._hidden:
            self._out.append(text)

    def _end_link(self) -> None:
        if self._link is None:
            return
        position, address = self._link
        self._link = None
        words = " ".join("".join(self._out[position:]).split())
        if words and address.startswith(("http://", "https://")) and not re.search(r"[\s()<>]", address):
            self._out[position:] = [f"[{words}]({address})"]
