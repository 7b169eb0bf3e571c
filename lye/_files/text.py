"""A file's bytes as text: its charset, what it is if it is no text, and the lines and pages of it."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from lye._clean import clean
from lye._files.path import FilePath
from lye._web.page import known_charset, page_starts
from lye.errors import FileFailed

BINARY = "binary data"
_UTF_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_KINDS = (
    (b"%PDF-", "a PDF document"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"PK\x03\x04", "a zip archive (or an office document, an app, ...)"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a Linux program or library"),
    (b"MZ", "a Windows program or library"),
    (b"\xcf\xfa\xed\xfe", "a macOS program or library"),
    (b"\xca\xfe\xba\xbe", "a Java class or a macOS program"),
    (b"\x00asm", "a WebAssembly module"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\xd0\xcf\x11\xe0", "an old office document (.doc, .xls, .ppt)"),
    (b"OggS", "Ogg sound"),
    (b"ID3", "MP3 sound"),
    (b"fLaC", "FLAC sound"),
    (b"wOF", "a web font"),
    (b"PAR1", "a Parquet table"),
)
_MORE_KINDS = (
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "a WebP image"),
    (re.compile(rb"RIFF....WAVE", re.DOTALL), "WAV sound"),
    (re.compile(rb"....ftyp", re.DOTALL), "a video, sound or HEIC image"),
)
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\b\x1b"))
_SNIFFED_BYTES = 65_536


@dataclass(frozen=True)
class FileText:
    """Raw text and the charset that it was read in; `is_guess` where nothing in the file says so."""

    text: str
    charset: str
    mark: bytes = b""
    is_guess: bool = False

    def encode(self, text: str) -> bytes:
        """The text as bytes of the same charset, behind the same byte order mark."""
        return self.mark + text.encode(self.charset, "surrogateescape" if self.charset == "utf-8" else "strict")


def kind_of_bytes(data: bytes) -> str | None:
    """What the bytes are, if they are no text."""
    if any(data.startswith(mark) for mark, _ in _UTF_BOMS):
        return None
    head = data[:_SNIFFED_BYTES]
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if b"\0" not in data and controls * 20 <= len(head) and _is_utf8(head):
        return _KINDS[0][1] if data.startswith(_KINDS[0][0]) else None
    for mark, kind in _KINDS:
        if data.startswith(mark):
            return kind
    for pattern, kind in _MORE_KINDS:
        if pattern.match(data):
            return kind
    return BINARY if b"\0" in data or controls * 20 > len(head) else None


def _is_utf8(head: bytes) -> bool:
    """Whether it is UTF-8, perhaps cut within a character."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def decode_file(data: bytes, path: FilePath, encoding: str | None = None) -> FileText:
    """The text: by byte order mark, else as UTF-8, else as windows-1252; FileFailed for what is no text.

    Bytes that are no UTF-8 in a file that has some stay as lone surrogates, so that `encode` gives them back.
    """
    kind = kind_of_bytes(data)
    if kind is not None and (encoding is None or kind != BINARY):  # UTF-16 without a mark looks binary
        raise FileFailed(f"{path.shown!r} is {kind}, not text; use another file")
    if encoding is not None:
        charset = named_charset(encoding)
        return FileText(data.decode(charset, "replace"), charset)
    for mark, charset in _UTF_BOMS:
        if data.startswith(mark):
            errors = "surrogateescape" if charset == "utf-8" else "replace"
            return FileText(data[len(mark) :].decode(charset, errors), charset, mark)
    try:
        return FileText(data.decode(), "utf-8")
    except UnicodeDecodeError:
        pass
    try:
        return FileText(data.decode("cp1252"), "cp1252", is_guess=True)
    except UnicodeDecodeError:
        return FileText(data.decode("utf-8", "surrogateescape"), "utf-8", is_guess=True)


def named_charset(encoding: str) -> str:
    """Python's name of it; FileFailed for what is no charset of text files."""
    charset = known_charset(encoding.lower().replace("utf-16-", "utf-16"))
    if charset == "utf-8" and encoding.lower() not in ("utf-8", "utf8"):
        raise FileFailed(f"encoding={encoding!r} is not known; use one such as 'utf-8', 'windows-1251' or 'shift_jis'")
    return charset


def plain_lines(text: str) -> str:
    r"""The text with \n at the end of each line, whatever ends them in the file."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def shown_text(text: str) -> str:
    """The text, clean; bytes that fitted nowhere as U+FFFD. Slow on megabytes: cut it first."""
    return clean(re.sub("[\ud800-\udfff]", "\ufffd", text))


@dataclass(frozen=True)
class Excerpt:
    """A text with a header, shown in pages. Cleaned a page at a time, for cleaning megabytes would hold up the loop."""

    path: FilePath
    notes: tuple[str, ...]
    text: str

    def show(self, page: int) -> str:
        """Page `page` under its header; FileFailed if there is no such page."""
        starts = page_starts(self.text)
        count = len(starts) - 1
        if not 1 <= page <= count:
            raise FileFailed(f"page={page!r} of {self.path.shown!r} does not exist; call with page=1 to page={count}")
        header = [f"File: {self.path.shown}", *self.notes]
        if count > 1:
            more = f"; call again with page={page + 1} for more" if page < count else ", the last one"
            header.append(f"Page {page} of {count}{more}")
        body = shown_text(self.text[starts[page - 1] : starts[page]])
        return "\n".join(header) + "\n\n" + (body or "(empty)")


def cut_lines(text: str, path: FilePath, first: int | None, last: int | None) -> tuple[str, str]:
    """The wanted lines and a note that names them; FileFailed where the file has no such lines."""
    count = text.count("\n") + (not text.endswith("\n") and text != "")
    if first is None and last is None:
        return text, f"Lines: {count:,}"
    start, end = (1 if first is None else first), (count if last is None else min(last, count))
    if not 1 <= start <= max(end, 1) or start > count:
        raise FileFailed(
            f"lines {first!r} to {last!r} of {path.shown!r} do not exist; it has {count:,} lines, numbered from 1"
        )
    lines = text.split("\n")[start - 1 : end]
    return "\n".join(lines) + "\n", f"Lines {start:,} to {end:,} of {count:,}"
