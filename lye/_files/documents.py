"""PDF and office documents as text, read in a process that has no files and can be killed.

pypdf reads PDF; markitdown, of the extra `docs`, Word, Excel and PowerPoint.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import zipfile
from collections.abc import Callable
from types import ModuleType
from typing import Any

from lye._child import MAX_MEMORY_BYTES, answer, ask_child, open_modules_only
from lye._extras import load
from lye._files.path import FilePath
from lye._web.pdf import PdfUnreadable, read_pdf
from lye.errors import ExtraNeeded, FileFailed

MAX_TEXT_CHARS = 2_000_000
_MAX_UNPACKED_BYTES = 200_000_000
_MAX_PARTS = 5_000
_PDF = ".pdf"
_OFFICE = {  # the converter, and what it needs
    ".docx": ("DocxConverter", "mammoth"),
    ".xlsx": ("XlsxConverter", "openpyxl"),
    ".pptx": ("PptxConverter", "pptx"),
}


def document_kind(path: FilePath, head: bytes) -> str | None:
    """ ".pdf", ".docx", ".xlsx" or ".pptx" for a file that begins like one, else None."""
    suffix = "." + path.parts[-1].rpartition(".")[2].lower()
    if head.startswith(b"%PDF-"):
        return _PDF
    return suffix if suffix in _OFFICE and head.startswith(b"PK\x03\x04") else None


class _Refused(Exception):
    """In the process: why the document is not read."""


async def read_document(
    data: bytes, kind: str, path: FilePath, timeout_s: float, max_memory_bytes: int = MAX_MEMORY_BYTES
) -> str:
    """The document's text, pages or sheets under headings. FileFailed for a damaged, encrypted or empty one, and for
    one that takes too much time or memory; ExtraNeeded without markitdown.
    """
    try:
        async with asyncio.timeout(timeout_s) as deadline:
            answered = await ask_child("lye._files.documents:serve", {"kind": kind}, data, max_memory_bytes)
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise FileFailed(f"{path.shown!r} could not be read within {timeout_s:g} s; use another file") from error
    except OSError as error:
        raise FileFailed(f"{path.shown!r} could not be read ({error.strerror}); try again") from error
    if answered is None:  # parsers raise anything, and some are killed: which it was does not matter
        raise FileFailed(
            f"{path.shown!r} could not be read: it is damaged, or needs more than {max_memory_bytes:,} bytes of memory;"
            " use another file"
        )
    if "extra_needed" in answered:
        raise ExtraNeeded(str(answered["extra_needed"]))
    if "refused" in answered:
        raise FileFailed(f"{path.shown!r} could not be read: {answered['refused']}; use another file")
    return str(answered["text"])


def serve() -> None:
    """The process's work: a document's text, or why there is none."""
    answer(_read)


def _read(question: dict[str, Any], body: bytes) -> dict[str, str]:
    try:
        library, read = _prepared(str(question["kind"]))
    except ExtraNeeded as error:
        return {"extra_needed": str(error)}
    open_modules_only(library)
    try:
        text = read(body)
    except (_Refused, PdfUnreadable) as error:
        return {"refused": str(error)}
    cut = f"\n\n[only the first {MAX_TEXT_CHARS:,} characters were read]" if len(text) > MAX_TEXT_CHARS else ""
    return {"text": text[:MAX_TEXT_CHARS] + cut}


def _prepared(kind: str) -> tuple[ModuleType, Callable[[bytes], str]]:
    """The library, loaded, and the reader."""
    if kind == _PDF:
        return importlib.import_module("pypdf"), lambda body: read_pdf(body)[1]
    markitdown = load("markitdown", "docs")
    name, library = _OFFICE[kind]
    load(library, "docs")
    converter = getattr(importlib.import_module("markitdown.converters"), name)()
    info = markitdown.StreamInfo(extension=kind)
    return markitdown, lambda body: _read_office(body, converter, info)


def _read_office(body: bytes, converter: Any, info: Any) -> str:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        parts = archive.infolist()
        if len(parts) > _MAX_PARTS or sum(part.file_size for part in parts) > _MAX_UNPACKED_BYTES:
            raise _Refused(f"unpacked it is over {_MAX_UNPACKED_BYTES:,} bytes, or {_MAX_PARTS:,} parts")
    return str(converter.convert(io.BytesIO(body), info).markdown)
