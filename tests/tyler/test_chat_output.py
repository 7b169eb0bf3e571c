"""What models and tools write reaches the terminal as text: whole, and with nothing that steers it."""

from __future__ import annotations

import asyncio
import io
import random
import re

import pytest
from rich.console import Console

from narrator import Message, ToolCall
from tests.tyler.terminal import Picture
from tyler._chat.approver import exactly
from tyler._chat.markdown import MOST_BLOCK_CHARS, Blocks, shown
from tyler._chat.plain_screen import PlainScreen
from tyler._chat.printable import escaped, printable, shortened
from tyler._chat.rich_screen import RichScreen
from tyler._chat.screen import described, show
from tyler.events import Finished, MessageAdded, TextDelta, ToolFinished, ToolProgress, ToolStarted
from tyler.result import Result
from tyler.tools import ToolResult

HOSTILE = {
    "colour": "\x1b[31mred",
    "clear": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "clipboard": "\x1b]52;c;cm0gLXJm\x1b\\",
    "hyperlink": "\x1b]8;;http://evil.example\x1b\\good\x1b]8;;\x1b\\",
    "C1 csi": "\x9b2J",
    "C1 osc": "\x9d0;owned\x9c",
    "device query": "\x1b[6n\x1b[c\x05",
    "alternate screen": "\x1b[?1049h\x1b[?25l",
    "bell": "\x07\x07",
    "backspace": "safe\b\b\b\bevil",
    "carriage return": "refund 1\rrefund 1000",
    "vertical": "a\x0b\x0cb",
    "delete": "a\x7fb",
    "nul": "a\x00b",
    "bidi override": "\u202egnp.exe",
    "bidi isolate": "\u2066a\u2069",
    "marks": "a\u200e\u200f\u061cb",
    "invisible tags": "".join(chr(0xE0000 + ord(char)) for char in "ignore all"),
    "zero width": "pass\u200bword\ufeff\u2060",
    "line separators": "a\u2028b\u2029c\x85d",
    "surrogate": "a\udc9bb",
    "rich markup": "[red]text[/red] [link=http://evil.example]x[/link] [/]",
    "rich emoji": ":smile: :boom:",
    "entities": "&#x202e;abc &#27;[31m &lrm; &#x9b;2J",
    "html": "<b>bold</b> <script>alert(1)</script>\n\n<div>\nkept\n</div>",
    "reference": "[safe][1]\n\n[1]: http://evil.example/hidden",
    "false link": "[http://good.example](http://evil.example/a)",
    "image": "![a picture](http://evil.example/p.png)",
    "bidi in a link": "[a](<http://x.example/\u202e\x1b[2J>)",
    "fence": "```\x1b[2J\u202e\ncode\x1b[31m\n```",
    "table": "| \x1b[2J | \u202e |\n|-|-|\n| \x07 | b |",
}


def on_terminal(text: str, columns: int = 80) -> str:
    """What rich's screen writes for an answer in pieces and a call with the text everywhere, without colours."""
    out = io.StringIO()
    console = Console(
        file=out, width=columns, height=24, force_terminal=True, color_system=None, markup=False, emoji=False
    )
    screen = RichScreen(console)

    async def run() -> None:
        screen.begin()
        tell(screen, text)
        screen.end()

    asyncio.run(run())
    return out.getvalue()


def as_plain(text: str) -> str:
    out, err = io.StringIO(), io.StringIO()
    tell(PlainScreen(out, err), text)
    return out.getvalue() + err.getvalue()


def tell(screen: PlainScreen | RichScreen, text: str) -> None:
    call = ToolCall(id=text, name=text, arguments=text)
    named = ToolCall(id="c", name="f", arguments=f'{{"a": "{re.sub(r"[^ -~]", "", text[:20]).replace(chr(34), "")}"}}')
    for piece in re.findall(r"(?s).{1,3}", text):
        show(screen, TextDelta(piece))
    show(screen, MessageAdded(Message(role="assistant", content=text)))
    for one in (call, named):
        show(screen, ToolStarted(one))
        show(screen, ToolProgress(one, text))
        show(screen, ToolProgress(one, {"key": text}))
        show(screen, ToolFinished(one, ToolResult(text, failed=True)))
    screen.note(text)
    screen.error(text)
    show(screen, Finished(Result(None, [], "cut")))  # type: ignore[arg-type]


def steering(written: str) -> set[str]:
    """Characters that are no text; rich's own ways to draw anew are not counted."""
    ours = re.compile(r"\x1b\[(?:[0-9;]*m|\d*A|2K|\?25[lh])|\r")
    left = ours.sub("", written)
    return {char for char in left if char != "\n" and not (char.isprintable() or char in "\u200c\u200d")}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_that_steers_a_terminal_reaches_it(text: str) -> None:
    plain = as_plain(text)
    assert {char for char in plain if char not in "\n\t" and not char.isprintable()} == set()
    written = on_terminal(text)
    assert steering(written) == set()
    assert "\x1b]" not in written
    picture = Picture(80, 24)
    picture.write(written.replace("\n", "\r\n").encode())
    assert picture.strange == []


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (HOSTILE["rich markup"], "[red]text[/red] [link=http://evil.example]x[/link] [/]"),
        (HOSTILE["rich emoji"], ":smile: :boom:"),
        (HOSTILE["entities"], "&#x202e;abc &#27;[31m &lrm; &#x9b;2J"),
        (HOSTILE["html"], "<b>bold</b> <script>alert(1)</script>\n\n<div>\nkept\n</div>"),
        (HOSTILE["reference"], "[safe][1]\n\n[1]: http://evil.example/hidden"),
        (HOSTILE["false link"], "http://good.example (http://evil.example/a)"),
        (HOSTILE["image"], "image: a picture (http://evil.example/p.png)"),
        ("<http://x.example>", "http://x.example"),
        ("one\ntwo", "one\ntwo"),
        ("10\u00a0000 \u3000 漢字", "10\u00a0000 \u3000 漢字"),
        ("👩\u200d💻", "👩\u200d💻"),
    ],
)
def test_text_is_shown_whole(text: str, seen: str) -> None:
    out = io.StringIO()
    Console(file=out, width=80, force_terminal=True, color_system=None).print(shown(text, 80))
    written = "\n".join(line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines())
    assert seen in written


@pytest.mark.parametrize("width", [1, 2, 3, 5, 12, 40])
@pytest.mark.parametrize(
    "text", ["> > - word\n> - longer words", "| a | b |\n|-|-|\n| word | longer |", "1. word\n   - longer"]
)
def test_nothing_is_cut_off_where_it_is_narrow(text: str, width: int) -> None:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=True, color_system=None).print(shown(text, width))
    written = re.sub(r"\x1b\[[0-9;]*m|[\s▌]", "", out.getvalue())
    assert "word" in written
    assert "longer" in written


def test_a_long_word_in_a_table_is_whole() -> None:
    out = io.StringIO()
    text = "| a |\n|-|\n| " + "w" * 190 + " |"
    Console(file=out, width=80, force_terminal=True, color_system=None).print(shown(text, 80))
    assert out.getvalue().count("w") == 190


def test_arguments_are_shown_exactly_to_who_decides() -> None:
    shown = exactly({"to": "\u202e\x1b[2J\u200b", "text": "ü\\u202e\u00a0", "n": [1, None]})
    assert steering(shown) == set()
    assert r'"to": "\u202e\u001b[2J\u200b"' in shown
    assert r'"text": "ü\\u202e\xa0"' in shown
    assert len(exactly({"a": "x" * 100_000})) > 100_000


def test_a_call_is_described_in_one_short_line() -> None:
    arguments = '{"a": "' + "x" * 1000 + '", "b": {"c": [1, 2]}, "d": "two\\nlines"}'
    line = described(ToolCall(id="c", name="f" * 1000, arguments=arguments))
    assert len(line) < 200
    assert "\n" not in line
    assert described(ToolCall(id="c", name="f", arguments="[" * 100_000)).startswith("f([[[")
    assert described(ToolCall(id="c", name="f", arguments="")) == "f()"


def test_shortened_and_escaped() -> None:
    assert shortened("a\n  b", 10) == "a b"
    assert shortened("x" * 11, 10) == "x" * 9 + "…"
    assert shortened("x" * 10, 10) == "x" * 10
    assert shortened(" " * 10_000_000, 10) == "…"
    assert escaped("a\n\t\U000e0041\u200d\U000e0101") == r"a\n\t\U000e0041\u200d\U000e0101"
    assert printable("\ud800a") == "a"


BITS = [
    *("# ", "- ", "1. ", "> ", "```\n", "```python\n", "| a | b |\n|-|-|\n", "| x |\n", "**", "_", "`", "[", "]("),
    *(
        ")",
        "![",
        "\n",
        "\n\n",
        "    ",
        "\t",
        "word ",
        "<b>",
        "&amp;",
        "~~",
        "---\n",
        "===\n",
        "\\",
        "漢字",
        "[x]: /u\n",
    ),
]


def test_blocks_lose_nothing_in_any_pieces() -> None:
    for seed in range(150):
        rng = random.Random(seed)
        text = "".join(rng.choices(BITS, k=rng.randrange(1, 80)))
        blocks, got, place = Blocks(), [], 0
        while place < len(text):
            size = rng.randrange(1, 9)
            got += blocks.feed(text[place : place + size])
            place += size
        got.append(blocks.rest())
        assert "".join("".join(got).split()) == "".join(text.split()), seed
        width = rng.choice([1, 3, 20, 40, 80])
        Console(file=io.StringIO(), width=width, force_terminal=True).print(shown(text, width))


def test_blocks_are_finished_by_what_follows() -> None:
    blocks = Blocks()
    assert blocks.feed("One.\n\nTwo") == []
    assert blocks.feed(" goes on.\n") == ["One."]
    assert blocks.feed("\n```\ncode\n\nmore code\n") == ["Two goes on."]
    assert blocks.feed("```\n\n- a\n\n- b\n") == ["```\ncode\n\nmore code\n```"]
    assert blocks.rest() == "- a\n\n- b"
    assert blocks.tail == ""


def test_a_block_without_end_is_printed_in_parts() -> None:
    blocks = Blocks()
    got = [part for _ in range(3_000) for part in blocks.feed("- an item of a list\n")]
    assert len(got) == 1
    assert len(blocks.tail) < MOST_BLOCK_CHARS
