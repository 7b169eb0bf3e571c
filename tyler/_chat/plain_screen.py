"""PlainScreen: for pipes and simple terminals. stdout gets the answers and nothing else."""

from __future__ import annotations

from typing import TextIO

from tyler._chat.printable import escaped, printable
from tyler._chat.screen import CallState, one_line


class PlainScreen:
    """Text as it comes. An answer ends with a line end, if it has none itself."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self._open_line = False

    def begin(self) -> None:
        """Nothing to show."""

    def text(self, piece: str) -> None:
        """Written at once."""
        if clean := printable(piece):
            self._out.write(clean)
            self._out.flush()
            self._open_line = not clean.endswith("\n")

    def end_text(self) -> None:
        """End the line."""
        if self._open_line:
            self._out.write("\n")
            self._out.flush()
            self._open_line = False

    def call(self, id: str, what: str, state: CallState, more: str = "") -> None:
        """A line for each news of a call."""
        self.note(f"[{what} {'is done' if state == 'done' else state}{f': {more}' if more else ''}]")

    def end(self) -> None:
        """End the line."""
        self.end_text()

    def note(self, text: str) -> None:
        """To stderr, so that a pipe gets answers only."""
        self.end_text()
        print("\n".join(escaped(line) for line in text.split("\n")), file=self._err, flush=True)

    def error(self, text: str) -> None:
        """To stderr."""
        self.end_text()
        print(f"tyler: {one_line(text)}", file=self._err, flush=True)
