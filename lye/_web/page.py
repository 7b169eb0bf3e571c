"""A response's bytes as a page of text for a model: media type, charset, Markdown, clean, cut in pages."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from lye._clean import clean
from lye._web.html import read_html
from lye._web.links import read_links
from lye._web.pdf import PdfUnreadable, read_pdf
from lye._web.url import without_query
from lye.errors import FetchFailed

PAGE_CHARS = 20_000
_MAX_TITLE_CHARS = 300
_KEEP = "call download_file to keep it as a file"
_SNIFFED_BYTES = 4_096
_HTML_TYPES = ("text/html", "application/xhtml+xml")
_QUICK_BYTES, _QUICK_TAGS = 200_000, 20_000  # the worst page within these takes about a second
_TEXT_TYPES = re.compile(r"text/.*|application/(.*\+)?(json|xml|yaml|x-yaml|javascript|toml|x-ndjson)|image/svg\+xml")
# What the WHATWG standard lists, near enough: no codec that executes escapes or takes quadratic time (punycode).
_CHARSETS = re.compile(
    r"utf-?8|utf-?16(le|be)?|us-ascii|ascii|latin-?1|iso-?8859-\d+(-[ei])?|windows-\d+|cp\d+|mac(intosh|-roman)"
    r"|shift[_-]jis|sjis|euc-(jp|kr)|iso-2022-jp|gb2312|gbk|gb18030|big5(-hkscs)?|koi8-[ru]|tis-620"
)
_META_CHARSET = re.compile(rb"""<meta[^>]{0,300}?charset\s{0,9}=\s{0,9}["']?([\w.:-]{1,40})""", re.IGNORECASE)
BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


@dataclass(frozen=True)
class Page:
    """A page's title, final URL and whole text, clean."""

    title: str
    url: str
    text: str

    def show(self, number: int, call: str = "call again") -> str:
        """Page `number` of the text under a few header lines; raises FetchFailed if there is no such page."""
        starts = page_starts(self.text)
        count = len(starts) - 1
        if not 1 <= number <= count:
            raise FetchFailed(
                f"page={number!r} of {without_query(self.url)!r} does not exist; call with page=1 to page={count}"
            )
        header = [f"Title: {self.title}"] if self.title else []
        header.append(f"URL: {self.url}")
        if count > 1:
            more = f"; {call} with page={number + 1} for more" if number < count else ", the last one"
            header.append(f"Page {number} of {count}{more}")
        body = self.text[starts[number - 1] : starts[number]].strip("\n")
        return "\n".join(header) + "\n\n" + (body or "(the page has no text)")


def read_page(body: bytes, content_type: str, url: str, links: bool = False) -> Page:
    """The page that the bytes hold, or the list of its links. See `is_slow`. FetchFailed for other than text."""
    media_type = _media_type(body, content_type)
    if links and media_type not in _HTML_TYPES:
        raise FetchFailed(
            f"{without_query(url)!r} is {media_type[:100]!r}, which has no list of links; call with links=false"
        )
    if links:
        title, text = "", read_links(_decode_text(body, content_type, is_html=True), url)
    elif media_type in _HTML_TYPES:
        title, text = read_html(_decode_text(body, content_type, is_html=True), url)
    elif media_type == "application/pdf":
        title, text = _read_pdf(body, url)
    elif _TEXT_TYPES.fullmatch(media_type):
        title, text = "", _decode_text(body, content_type, is_html=False)
    else:
        raise FetchFailed(f"{without_query(url)!r} is {media_type[:100]!r}, not a page of text; {_KEEP}")
    return Page(" ".join(clean(title).split())[:_MAX_TITLE_CHARS], url, clean(text))


def _read_pdf(body: bytes, url: str) -> tuple[str, str]:
    try:
        return read_pdf(body)
    except PdfUnreadable as error:
        raise FetchFailed(f"{without_query(url)!r} is a PDF that cannot be read: {error}; {_KEEP}") from error


def is_slow(body: bytes, content_type: str) -> bool:
    """Whether `read_page` could take longer than about a second."""
    media_type = _media_type(body, content_type)
    is_large = len(body) > _QUICK_BYTES or body.count(b"<") > _QUICK_TAGS
    return media_type == "application/pdf" or (is_large and media_type in _HTML_TYPES)


def _media_type(body: bytes, content_type: str) -> str:
    """The declared type; what the bytes look like when the server declares none."""
    declared = content_type.partition(";")[0].strip().lower()
    if declared not in ("", "application/octet-stream", "application/unknown"):
        return declared
    head = body[:_SNIFFED_BYTES].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "text/html"
    if head.startswith(b"%pdf-"):
        return "application/pdf"
    if not declared and head.startswith(tuple(mark for mark, _ in BOMS)):
        return "text/plain"
    is_text = not re.search(rb"[\x00-\x08\x0e-\x1a]", head) and not head.startswith(b"pk\x03")
    return "text/plain" if is_text and (not declared or _is_utf8(body)) else "application/octet-stream"


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode_text(body: bytes, content_type: str, is_html: bool) -> str:
    """By byte order mark, the header's charset, HTML's meta element, else UTF-8; bad bytes become U+FFFD."""
    for mark, encoding in BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    if match := re.search(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", content_type[:1000], re.IGNORECASE):
        charset = known_charset(match[1])
    elif is_html and (found := _META_CHARSET.search(body[:_SNIFFED_BYTES])):
        charset = known_charset(found[1].decode("ascii", "replace"))
        charset = "utf-8" if charset.startswith("utf-16") else charset  # it was readable as ASCII, so it is not
    else:
        charset = "utf-8"
    return body.decode(charset, "replace")


def known_charset(label: str) -> str:
    """Python's name of a charset of the web; UTF-8 for one that is not."""
    name = label.lower()
    if not _CHARSETS.fullmatch(name):
        return "utf-8"
    if name in ("ascii", "us-ascii", "latin1", "latin-1", "iso-8859-1", "iso8859-1"):
        return "cp1252"  # what browsers take these labels for
    name = name.removesuffix("-e").removesuffix("-i") if name.startswith("iso") else name
    try:
        return codecs.lookup(name.replace("windows-", "cp")).name
    except LookupError:
        return "utf-8"


def page_starts(text: str) -> list[int]:
    """Where each page begins, and the end; a page ends at a line's end if one is near."""
    starts = [0]
    while len(text) - starts[-1] > PAGE_CHARS:
        limit = starts[-1] + PAGE_CHARS
        newline = text.rfind("\n", limit - PAGE_CHARS // 5, limit)
        starts.append(limit if newline < 0 else newline + 1)
    return [*starts, len(text)]
