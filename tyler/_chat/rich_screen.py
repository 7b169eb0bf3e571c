"""RichScreen: an answer as Markdown while it comes.

Blocks that are finished are printed for good; only the unfinished tail is drawn anew, and never more of it than the
terminal is high. So nothing flickers that was read already, and no line is lost above the window.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from tyler._chat.markdown import Blocks, Clean, excerpt, shown
from tyler._chat.printable import escaped, printable
from tyler._chat.screen import CallState, one_line

REDRAW_S = 0.08
_MARKS = {"done": ("✓", "green"), "failed": ("✗", "red")}


class RichScreen:
    """On a terminal that can move its cursor. Colours as rich finds them (NO_COLOR: none)."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _console()
        self._blocks = Blocks()
        self._calls: dict[str, str] = {}
        self._live: Live | None = None
        self._redraw: asyncio.TimerHandle | None = None
        self._between = False  # whether a block of this text was printed: the next one stands apart from it

    def begin(self) -> None:
        """Show that something is awaited."""
        self._live = Live(
            _Unfinished(self._tail_lines),
            console=self._console,
            auto_refresh=False,
            transient=True,
            vertical_overflow="crop",
        )
        self._live.start(refresh=True)

    def text(self, piece: str) -> None:
        """Print the blocks that are finished, draw the tail anew."""
        for block in self._blocks.feed(printable(piece)):
            self._print_block(block)
        self._changed()

    def end_text(self) -> None:
        """Print what is left of the text."""
        if rest := self._blocks.rest():
            self._print_block(rest)
        self._between = False
        self._changed()

    def call(self, id: str, what: str, state: CallState, more: str = "") -> None:
        """Calls that run are part of what is drawn anew; an end is printed."""
        self.end_text()
        what = escaped(what)
        if state == "runs":
            self._calls[id] = f"… {what}{f': {escaped(more)}' if more else ''}"
        else:
            self._calls.pop(id, None)
            mark, style = _MARKS[state]
            line = Text.assemble((f"{mark} ", style), (what, "dim"), (f": {escaped(more)}" if more else "", style))
            self._print(line)
        self._changed()

    def end(self) -> None:
        """Print the rest, and leave the cursor below it."""
        self.end_text()
        self._calls.clear()
        if self._redraw is not None:
            self._redraw.cancel()
            self._redraw = None
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def note(self, text: str) -> None:
        """Dimmed."""
        self.end_text()
        self._print_line("\n".join(escaped(line) for line in text.split("\n")), "dim")

    def error(self, text: str) -> None:
        """In red."""
        self.end_text()
        self._print_line(f"tyler: {one_line(text)}", "red")

    def _print_line(self, text: str, style: str) -> None:
        """Wrapped by the terminal, so that what is copied from it is one line."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def _print(self, renderable: RenderableType) -> None:
        self._console.print(renderable)

    def _print_block(self, block: str) -> None:
        block_shown = shown(block, self._console.width)
        # In one go: each print draws what is unfinished below it, which is the next block already.
        self._print(Group("", block_shown) if self._between else block_shown)
        self._between = True

    def _changed(self) -> None:
        """Draw anew, soon and once for all that comes until then."""
        if self._live is not None and self._redraw is None:
            self._redraw = asyncio.get_running_loop().call_later(REDRAW_S, self._draw)

    def _draw(self) -> None:
        self._redraw = None
        if self._live is not None:
            self._live.refresh()

    def _tail_lines(self, console: Console, options: ConsoleOptions) -> list[list[Segment]]:
        """The last lines of what is unfinished, as many as there is room for."""
        if self._live is None:  # it is being taken away
            return []
        size = console.size
        room = max(size.height - 1, 1)
        tail = shown(excerpt(self._blocks.tail, *size), size.width) if self._blocks.tail.strip() else None
        lines = console.render_lines(tail, options, pad=False) if tail else []
        if lines and self._between:
            lines.insert(0, [])
        for call in self._calls.values():
            lines += console.render_lines(Clean(Text(call, style="dim")), options, pad=False)
        return (lines or [[Segment("…", console.get_style("dim"))]])[-room:]


def _console() -> Console:
    """On stdout. The window's size is the terminal's: exported COLUMNS and LINES do not follow a resize."""
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    return Console(markup=False, emoji=False, highlight=False, _environ=environment)


class _Unfinished:
    """A renderable that asks for its lines each time it is drawn."""

    def __init__(self, lines: Callable[[Console, ConsoleOptions], list[list[Segment]]]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, line in enumerate(self._lines(console, options)):
            if number:
                yield Segment.line()
            yield from line
