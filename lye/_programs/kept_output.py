"""What a command said, within bounds and readable: the first and the last part, without terminal controls."""

from __future__ import annotations

import re

from lye._clean import clean

# ECMA-48: ESC and a letter, CSI ... letter, and strings (OSC, DCS, SOS, PM, APC), which end at BEL or ST. A string is
# taken for one up to the end of its line: what never ends must not hide the rest from the reader.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\r\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_BYTES_A_CHAR = 4  # at most, in UTF-8


def readable(text: str) -> str:
    """The text without escape sequences, controls, and characters that mislead."""
    return clean(_ESCAPES.sub("", text))


class KeptOutput:
    """Takes any number of bytes and keeps the first and the last `max_chars / 2` characters."""

    def __init__(self, max_chars: int) -> None:
        self.size_bytes = 0
        self._half_chars = max(max_chars // 2, 1)
        self._half_bytes = self._half_chars * _BYTES_A_CHAR
        self._head = bytearray()
        self._tail = bytearray()

    def add(self, piece: bytes) -> None:
        """The next bytes."""
        self.size_bytes += len(piece)
        room = self._half_bytes - len(self._head)
        self._head += piece[:room]
        self._tail += piece[room:] if room > 0 else piece
        if len(self._tail) > 2 * self._half_bytes:  # not at each piece: cutting a bytearray's head moves the rest
            del self._tail[: -self._half_bytes]

    def text(self) -> str:
        """Readable text; where characters are left out, a line says how many (bytes, where they were not kept)."""
        tail = bytes(self._tail[-self._half_bytes :])
        dropped = self.size_bytes - len(self._head) - len(tail)
        if not dropped:
            text = readable((bytes(self._head) + tail).decode(errors="replace"))
            left_out = len(text) - 2 * self._half_chars
            if left_out <= 0:
                return text
            return (
                f"{text[: self._half_chars]}\n[... {left_out:,} characters left out ...]\n{text[-self._half_chars :]}"
            )
        head_text = readable(self._head.decode(errors="replace"))[: self._half_chars]
        tail_text = readable(tail.lstrip(bytes(range(0x80, 0xC0))).decode(errors="replace"))[-self._half_chars :]
        left_out = self.size_bytes - len(head_text.encode()) - len(tail_text.encode())
        return f"{head_text}\n[... {left_out:,} bytes left out ...]\n{tail_text}"
