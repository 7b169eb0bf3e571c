"""What a page's reader (`page.js`) found, as text for a model: Markdown with `[e7 link "Contact"]` in it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lye._clean import clean
from lye._web.page import Page
from lye.errors import BrowserFailed

if TYPE_CHECKING:
    from playwright.async_api import Frame

_MAX_FRAMES = 12
_MAX_FRAME_DEPTH = 3
_MAX_URL_CHARS = 500
# A page's own words in the form of our marks would name elements that are others.
_FORGED = re.compile(r"\[(?=\s*(?:e\s*(?:\d|$)|$))", re.IGNORECASE)  # also where the rest is in the next text node
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u2060-\u2064\u180e\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")


@dataclass
class Snapshot:
    """The page as it is now, and the frame that each element is in."""

    page: Page
    frames: dict[str, Frame] = field(default_factory=dict)
    next_number: int = 1


async def take(frame: Frame, first_number: int) -> Snapshot:
    """Read the frame's document and the frames in it, each element named by a number not below `first_number`."""
    reader = _Reader(first_number)
    title = await reader.read(frame, 0)
    text = re.sub(r"[ \t]+\n", "\n", "".join(reader.parts))
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    if reader.cut:
        text += "\n\n(the page goes on, but was not read any further: it is too large)"
    page = Page(_line(title, 300), shown_url(frame.url), text)
    return Snapshot(page, reader.frames, reader.next_number)


def shown_url(url: str) -> str:
    """The URL on one line, long ones cut."""
    line = _line(url, _MAX_URL_CHARS + 1)
    return line if len(line) <= _MAX_URL_CHARS else f"{line[:_MAX_URL_CHARS]}..."


class _Reader:
    def __init__(self, first_number: int) -> None:
        self.parts: list[str] = []
        self.frames: dict[str, Frame] = {}
        self.next_number = first_number
        self.cut = False
        self._frames_left = _MAX_FRAMES

    async def read(self, frame: Frame, depth: int) -> str:
        """Add the document's text; its title."""
        found: dict[str, Any] = json.loads(await frame.text_content(f"lye=read:{self.next_number}") or "{}")
        if not found["fonts"]:  # text takes no place, and would be taken for hidden
            raise BrowserFailed(
                "the browser has no fonts, and shows no text; the developer can install some (on Debian:"
                " apt install fonts-liberation)"
            )
        self.next_number = int(found["next"])
        self.cut = self.cut or bool(found["cut"])
        for kind, *item in found["items"]:
            if kind == "f":
                await self._read_inner(frame, item[0], depth + 1)
            elif kind == "e":
                self.frames[item[0]] = frame
                self._add(_mark(item))
            else:
                self._add(item[0] if kind == "b" else _words(item[0]))
        return str(found["title"])

    def _add(self, text: str) -> None:
        """Breaks run together, and words do not run into the mark before them."""
        last = self.parts[-1] if self.parts else "\n"
        if text.startswith("\n"):
            have, want = len(last) - len(last.rstrip("\n")), len(text) - len(text.lstrip("\n"))
            text = text[min(have, want) :]
        elif last.endswith(("\n", " ")):
            text = text.lstrip(" ")
        elif last.endswith("]") and re.match(r"[\w(\[]", text):
            text = f" {text}"
        if text:
            self.parts.append(text)

    async def _read_inner(self, frame: Frame, ref: str, depth: int) -> None:
        from playwright.async_api import Error

        if depth > _MAX_FRAME_DEPTH or self._frames_left <= 0:
            self.cut = True
            return
        self._frames_left -= 1
        try:
            handle = await frame.query_selector(f"lye=ref:{ref}")
            inner = await handle.content_frame() if handle is not None else None
            if inner is not None and inner.url.startswith(("http://", "https://", "about:", "data:", "blob:")):
                self._add(f"\n(frame {shown_url(inner.url)!r})\n")
                await self.read(inner, depth)
                self._add("\n(end of frame)\n")
        except Error:  # the frame was removed while it was read
            self._add("\n(a frame that is gone)\n")


def _words(text: str) -> str:
    return _FORGED.sub("(", _INVISIBLE.sub("", clean(text)))


def _line(text: str, max_chars: int) -> str:
    return " ".join(_words(text).split())[:max_chars]


def _mark(item: Sequence[Any]) -> str:
    """`[e7 textbox "Name" = "Ann"]`."""
    ref, role, name, value, disabled = item
    words = [ref, _line(role, 20), _quoted(name, 100)]
    if role == "select" and value:
        words.append(_choices(json.loads(value)))
    elif value in ("checked", "not checked", "(filled)"):
        words.append(value)
    elif value:
        words.append(f"= {_quoted(value, 200)}")
    if disabled:
        words.append("disabled")
    return f"[{' '.join(word for word in words if word)}]"


def _choices(value: dict[str, Any]) -> str:
    options = ", ".join(_quoted(option, 60) for option in value["options"])
    more = f" and {value['more']} more" if value["more"] else ""
    chosen = ", ".join(_quoted(option, 60) for option in value["chosen"])
    return f"= {chosen or '(nothing)'} of {options}{more}"


def _quoted(text: str, max_chars: int) -> str:
    line = _line(text, max_chars).replace('"', "'").replace("]", ")").replace("[", "(")
    return f'"{line}"' if line else ""
