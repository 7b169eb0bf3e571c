"""One file as text for a model: whole, some lines, a page; documents and tables too."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import BinaryIO

from lye._files.documents import document_kind, read_document
from lye._files.errors import explained
from lye._files.path import FilePath
from lye._files.root import Root
from lye._files.stoppable import Stop, in_thread
from lye._files.table import read_table
from lye._files.text import Excerpt, cut_lines, decode_file, plain_lines
from lye.errors import FileFailed

_PIECE_BYTES = 1 << 20
_HEAD_BYTES = 8
_TABLES = (".csv", ".tsv")


@dataclass(frozen=True)
class Wanted:
    """Which part of which file."""

    path: str
    page: int = 1
    first_line: int | None = None
    last_line: int | None = None
    encoding: str | None = None

    @property
    def is_lines(self) -> bool:
        return self.first_line is not None or self.last_line is not None


@dataclass(frozen=True)
class ReadLimits:
    """In bytes and seconds."""

    max_text_bytes: int
    max_document_bytes: int
    document_timeout_s: float


async def read_path(root: Root, wanted: Wanted, limits: ReadLimits) -> str:
    """The part of the file under a header that names it."""
    path, data, kind = await in_thread(lambda stop: _read(root, wanted, limits, stop))
    if kind is None:
        return await asyncio.to_thread(_show_text, path, data, wanted)
    text = await read_document(data, kind, path, limits.document_timeout_s)
    return await asyncio.to_thread(_show_document, path, text, wanted)


def _read(root: Root, wanted: Wanted, limits: ReadLimits, stop: Stop) -> tuple[FilePath, bytes, str | None]:
    with root.opened() as folder:
        path = folder.path(wanted.path)
        with folder.file(path) as file:
            with explained(path):
                head = file.read(_HEAD_BYTES)
            kind = document_kind(path, head)
            return (
                path,
                read_bytes(file, path, limits.max_document_bytes if kind else limits.max_text_bytes, stop),
                kind,
            )


def read_bytes(file: BinaryIO, path: FilePath, max_bytes: int, stop: Stop) -> bytes:
    """The whole file; FileFailed if it is, or grows, larger than `max_bytes`."""
    with explained(path):
        size = file.seek(0, 2)
        file.seek(0)
        pieces, read = [], 0
        while size <= max_bytes and (piece := file.read(min(_PIECE_BYTES, max_bytes + 1 - read))):
            stop.check()
            pieces.append(piece)
            read += len(piece)
            size = max(size, read)
    if size > max_bytes:
        raise FileFailed(f"{path.shown!r} has {size:,} bytes, over the limit of {max_bytes:,}; use a smaller file")
    return b"".join(pieces)


def _show_text(path: FilePath, data: bytes, wanted: Wanted) -> str:
    found = decode_file(data, path, wanted.encoding)
    text = plain_lines(found.text)
    suffix = path.parts[-1].lower()[-4:]
    if suffix in _TABLES and not wanted.is_lines and wanted.page == 1:
        table = read_table(text, is_tsv=suffix == ".tsv")
        if table is not None:
            return Excerpt(path, table.notes(), table.text()).show(1)
    part, note = cut_lines(text, path, wanted.first_line, wanted.last_line)
    notes = [note]
    if found.is_guess:
        notes.append(f"Read as {found.charset}, a guess, for it is not UTF-8; pass encoding= if it looks wrong")
    return Excerpt(path, tuple(notes), part).show(wanted.page)


def _show_document(path: FilePath, text: str, wanted: Wanted) -> str:
    part, note = cut_lines(plain_lines(text), path, wanted.first_line, wanted.last_line)
    return Excerpt(path, ("Its text, without form and pictures", note), part).show(wanted.page)
