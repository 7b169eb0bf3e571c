"""Lines: what the person types, a message at a time, with line editing and a history across sessions on a terminal.

A message goes on in the next line behind a backslash; a paste of several lines is one message.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType

from narrator._values import clean_text

MOST_HISTORY_LINES = 1_000
PROMPT, PROMPT_MORE = "you> ", "...> "


class Lines:
    """Messages from stdin. `history`: the file that keeps what was typed on a terminal, None: nothing is kept.

    What comes out of a pipe is no history. A history that cannot be read or written costs nothing but itself.
    """

    def __init__(self, history: Path | None) -> None:
        self._terminal = sys.stdin.isatty()
        self._readline = _readline() if self._terminal and sys.stdout.isatty() else None
        self._history = history if self._readline else None
        if self._readline is not None and history is not None:
            for line in _kept_lines(history):
                self._readline.add_history(line)

    def read(self) -> str:
        """The next message. EOFError at the end (Ctrl-D); KeyboardInterrupt for Ctrl-C where nothing was typed yet."""
        lines: list[str] = []
        while True:
            try:
                line = self._line(PROMPT_MORE if lines else PROMPT)
            except EOFError:
                if not lines:
                    raise
                return "\n".join(lines)
            except KeyboardInterrupt:
                if not lines and not self._typed():
                    raise
                print()
                lines = []
                continue
            if not line.endswith("\\"):
                return "\n".join([*lines, line])
            lines.append(line[:-1])

    def _line(self, prompt: str) -> str:
        return clean_text(self._raw_line(prompt))  # bytes of another encoding come as lone surrogates

    def _raw_line(self, prompt: str) -> str:
        if not self._terminal or self._readline is None:
            if self._terminal:
                print(prompt, end="", file=sys.stderr, flush=True)  # stdout may be a pipe, which gets answers only
            line = sys.stdin.readline()
            if not line:
                raise EOFError
            return line.removesuffix("\n").removesuffix("\r")
        line = input(prompt)
        if self._history is not None and line.strip():
            with contextlib.suppress(OSError):
                _keep(self._history, line)
        return line

    def _typed(self) -> bool:
        """Whether there is text in the line that Ctrl-C broke off."""
        return self._readline is not None and bool(self._readline.get_line_buffer())


def _readline() -> ModuleType | None:
    try:
        import readline
    except ImportError:  # not every Python has it
        return None
    # A paste of several lines comes as one; readline's own default since 8.1, but for dumb terminals.
    if "libedit" not in (readline.__doc__ or ""):
        readline.parse_and_bind("set enable-bracketed-paste on")
    return readline


def _kept_lines(path: Path) -> list[str]:
    """The newest lines of the history, oldest first; a file of twice as many is cut down to them."""
    try:
        rows = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    lines = []
    for row in rows:
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(row)
            if isinstance(value, str) and "\0" not in value:
                lines.append(value.encode("utf-8", "replace").decode())
    if len(rows) > 2 * MOST_HISTORY_LINES:
        with contextlib.suppress(OSError):
            _write(path, lines[-MOST_HISTORY_LINES:], os.O_TRUNC)
    return lines[-MOST_HISTORY_LINES:]


def _keep(path: Path, line: str) -> None:
    _write(path, [line], os.O_APPEND)


def _write(path: Path, lines: list[str], flag: int) -> None:
    """Only its owner can read what was typed, whoever made the file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | flag, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="replace") as file:
        os.fchmod(descriptor, 0o600)
        file.write("".join(json.dumps(line) + "\n" for line in lines))
