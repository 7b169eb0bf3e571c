"""Markdown of a model for rich: split into blocks while it comes, and shown so that nothing in it is hidden.

HTML, entities and references are left as the text that they are, links and images show where they lead.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType, RenderResult
from rich.markdown import Markdown, MarkdownElement, TableDataElement
from rich.segment import Segment
from rich.text import Text

from tyler._chat.printable import printable

MOST_MARKDOWN_CHARS = 20_000  # a longer block is shown as it is: parsing and colouring could take seconds
MOST_BLOCK_CHARS = 50_000  # one that goes on beyond is printed in parts, lest the program only looks for its end
LEAST_WIDTH = 20  # what quotes and lists in each other need
LEAST_COLUMN = 6  # of a table
_AS_TEXT = ["entity", "reference", "html_block", "html_inline"]


class Blocks:
    """Text that grows; each piece fed gives the blocks that are finished by it, for they will not change any more."""

    def __init__(self) -> None:
        self.tail = ""
        self._look_at = 0  # the length at which looking pays again: a list of thousands of lines is one block

    def feed(self, piece: str) -> list[str]:
        """Add the piece; the blocks that are finished now, in order."""
        self.tail += piece
        if len(self.tail) > MOST_BLOCK_CHARS:
            return [self.rest()]
        if "\n" not in piece or len(self.tail) < self._look_at:
            return []
        whole_lines = self.tail[: self.tail.rindex("\n") + 1]  # the line that is being written may become anything
        starts = _starts(whole_lines)
        lines = self.tail.split("\n")
        finished = ["\n".join(lines[a:b]).strip("\n") for a, b in pairwise(starts)]
        if finished:
            self.tail = "\n".join(lines[starts[-1] :])
        self._look_at = len(self.tail) * 11 // 10
        return finished

    def rest(self) -> str:
        """What is left, which ends here."""
        rest, self.tail, self._look_at = self.tail, "", 0
        return rest.strip("\n")


class Clean:
    """A renderable that can only write text: whatever is in it, no control character and no hidden link comes out."""

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        begun = False
        for segment in console.render(self._inner, options):
            begun |= segment.text != "\n"  # rich begins a list with an empty line; what stands apart is our business
            if begun and not segment.control:
                style = segment.style.update_link(None) if segment.style and segment.style.link else segment.style
                yield Segment(printable(segment.text).replace("\t", " "), style)


class _WholeCell(TableDataElement):
    """A table's cell in which a long word goes on in the next line; rich would cut it off."""

    def __init__(self, justify: JustifyMethod) -> None:
        super().__init__(justify)
        self.content.overflow = "fold"


class _Shown(Markdown):
    """rich's Markdown of what was parsed here."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "td_open": _WholeCell,
        "th_open": _WholeCell,
    }

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = [_for_rich(token) for token in tokens]


def shown(text: str, width: int) -> RenderableType:
    """A block, or what there is of it, as a terminal of this width shows it; as it was written where that is best."""
    text = printable(text)
    if len(text) > MOST_MARKDOWN_CHARS or width < LEAST_WIDTH:
        return Clean(Text(text))
    tokens = _parser().parse(text)
    columns = max(map(len, _header_rows(tokens)), default=0)
    return Clean(Text(text) if columns * LEAST_COLUMN > width else _Shown(tokens))


def excerpt(text: str, width: int, height: int) -> str:
    """The end of an unfinished block: what a window of this size can show of it, and little more."""
    lines = text[-2 * width * height :].split("\n")
    if len(lines) <= height and len(text) <= 2 * width * height:
        return text
    opening = text.partition("\n")[0]
    fence = f"{opening}\n" if opening.lstrip().startswith(("```", "~~~")) else ""
    return fence + "\n".join(lines[-height:])


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable(_AS_TEXT)


def _starts(text: str) -> list[int]:
    """The line in which each outermost block begins, the first one at 0."""
    tokens: list[Token] = []
    _parser().block.parse(text, _parser(), {}, tokens)
    begins = [token.map[0] for token in tokens if token.level == 0 and token.nesting >= 0 and token.map]
    return [0, *begins[1:]]


def _header_rows(tokens: Iterable[Token]) -> Iterable[list[Token]]:
    row: list[Token] = []
    for token in tokens:
        if token.type == "th_open":
            row.append(token)
        elif token.type == "thead_close":
            yield row
            row = []


def _for_rich(token: Token) -> Token:
    if token.children:
        token.children = list(_visible(token.children))
    return token


def _visible(children: Iterable[Token]) -> Iterable[Token]:
    """The same with line ends kept, images as links, and no link that shows its target twice."""
    link: list[Token] = []
    for token in children:
        if token.type == "softbreak":
            yield Token("hardbreak", "br", 0)
        elif token.type == "image":
            href = str(token.attrs.get("src", ""))
            yield Token("link_open", "a", 1, attrs={"href": href})
            yield Token("text", "", 0, content=f"image: {token.content}" if token.content else "image")
            yield Token("link_close", "a", -1)
        elif token.type == "link_open" and token.markup == "autolink":
            link.append(token)
        elif token.type == "link_close" and link:
            link.pop()
        else:
            yield token
