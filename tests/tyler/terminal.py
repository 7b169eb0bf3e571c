"""A terminal of our own: runs a program on a pseudo-terminal and knows what a person in front of it sees.

It understands what rich and readline write; anything else that could steer it is kept in `strange`.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from rich.cells import cell_len

from tests.warm_python import Program, WarmPython

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
_SEQUENCE = re.compile(r"\x1b(?:\[(?P<args>[?0-9;]*)(?P<end>[@-~])|[^\[])")


class Picture:
    """The lines of a terminal, those that have left its window too."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.lines: list[list[str]] = [[]]
        self.row = self.column = 0
        self.strange: list[str] = []
        self._cut_off = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def text(self) -> str:
        """Everything there is to see, and to scroll back to."""
        return "\n".join("".join(line).rstrip() for line in self.lines)

    def write(self, piece: bytes) -> None:
        text = self._cut_off + self._decoder.decode(piece)
        self._cut_off = ""
        place = 0
        while place < len(text):
            if text[place] == "\x1b":
                match = _SEQUENCE.match(text, place)
                if match is None:
                    self._cut_off = text[place:]
                    return
                self._obey(match)
                place = match.end()
            else:
                self._put(text[place])
                place += 1

    def _obey(self, match: re.Match[str]) -> None:
        count = int(match["args"]) if match["args"] and match["args"].isdigit() else 1
        match match["end"]:
            case "A":
                self.row = max(self.row - count, len(self.lines) - self.rows, 0)
            case "C":
                self.column += count
            case "K":
                line = self.lines[self.row]
                self.lines[self.row] = [] if match["args"] == "2" else line[: self.column]
            case "m" | "h" | "l":
                pass
            case _:
                self.strange.append(match[0])

    def _put(self, char: str) -> None:
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self._down()
        elif char == "\b":
            self.column = max(self.column - 1, 0)
        elif char == "\x07" or not (char.isprintable() or char == "\u200d"):
            self.strange.append(char)
        else:
            width = cell_len(char)
            if self.column + width > self.columns:
                self._down()
                self.column = 0
            line = self.lines[self.row]
            line += " " * (self.column - len(line))
            line[self.column : self.column + max(width, 1)] = [char] + [""] * (width - 1)
            self.column += width

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append([])


class Terminal:
    """A program on a pseudo-terminal. `with Terminal(python, code) as terminal: terminal.type("hello\\r")`."""

    def __init__(
        self,
        python: WarmPython,
        code: list[str],
        env: dict[str, str] | None = None,
        *,
        columns: int = 80,
        rows: int = 24,
        stdout: int | None = None,
    ) -> None:
        self.picture = Picture(columns, rows)
        self._ours, theirs = pty.openpty()
        self.resize(columns, rows)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "LC_ALL": "C.UTF-8"} | (env or {})
        self.program: Program = python.start(["-c", *code], environment, theirs, stdout or theirs, theirs)
        os.close(theirs)
        self.raw = b""
        self._ended = False

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str | bytes) -> None:
        os.write(self._ours, text.encode() if isinstance(text, str) else text)

    def interrupt(self) -> None:
        """Ctrl-C. As a signal: this terminal is nobody's controlling one.

        When it waits: Python hears a signal between readline's last character and its next wait only with the next key.
        """
        program = psutil.Process(self.program.pid)
        while program.status() != psutil.STATUS_SLEEPING:
            time.sleep(0.01)
        self.program.send_signal(signal.SIGINT)

    def wait_for(self, text: str, count: int = 1) -> str:
        """Until the text is to be seen so many times; all that is to be seen."""
        deadline = time.monotonic() + PATIENCE_S
        while self.picture.text.count(text) < count:
            if self._ended or not self._read(deadline):
                raise AssertionError(f"{text!r} did not come; there is:\n{self.picture.text}")
        return self.picture.text

    def end(self) -> tuple[int, str]:
        """Wait for the program's end: its exit code, and all that is to be seen."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._ended and self._read(deadline):
            pass
        assert self._ended, f"the program goes on; there is:\n{self.picture.text}"
        return self.program.wait(), self.picture.text

    def _read(self, deadline: float) -> bool:
        if not select.select([self._ours], [], [], max(deadline - time.monotonic(), 0))[0]:
            return False
        try:
            piece = os.read(self._ours, 65536)
        except OSError:  # the program has closed its end
            self._ended = True
            return True
        self.raw += piece
        self.picture.write(piece)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ended:
            self.program.send_signal(signal.SIGKILL)
        self.program.wait()
        os.close(self._ours)
