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

from lye._extras import load
from lye._file_path import FilePath
from lye._limited_process import MAX_MEMORY_BYTES, ask_process, give_answer, open_modules_only, take_question
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
            answer = await ask_process("lye._documents", {"kind": kind}, data, max_memory_bytes)
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise FileFailed(f"{path.shown!r} could not be read within {timeout_s:g} s; use another file") from error
    if answer is None:  # parsers raise anything, and some are killed: which it was does not matter
        raise FileFailed(
            f"{path.shown!r} could not be read: it is damaged, or needs more than {max_memory_bytes:,} bytes of memory;"
            " use another file"
        )
    if "extra_needed" in answer:
        raise ExtraNeeded(str(answer["extra_needed"]))
    if "refused" in answer:
        raise FileFailed(f"{path.shown!r} could not be read: {answer['refused']}; use another file")
    return str(answer["text"])


def serve() -> None:
    """The process's work: a document's text, or why there is none."""
    question, body = take_question()
    try:
        library, read = _prepared(str(question["kind"]))
    except ExtraNeeded as error:
        give_answer({"extra_needed": str(error)})
        return
    open_modules_only(library)
    try:
        text = read(body)
        cut = f"\n\n[only the first {MAX_TEXT_CHARS:,} characters were read]" if len(text) > MAX_TEXT_CHARS else ""
        give_answer({"text": text[:MAX_TEXT_CHARS] + cut})
    except _Refused as error:
        give_answer({"refused": str(error)})


def _prepared(kind: str) -> tuple[ModuleType, Callable[[bytes], str]]:
    """The library, loaded, and the reader."""
    if kind == _PDF:
        return importlib.import_module("pypdf"), _read_pdf
    markitdown = load("markitdown", "docs")
    name, library = _OFFICE[kind]
    load(library, "docs")
    converter = getattr(importlib.import_module("markitdown.converters"), name)()
    info = markitdown.StreamInfo(extension=kind)
    return markitdown, lambda body: _read_office(body, converter, info)


def _read_pdf(body: bytes) -> str:
    import pypdf

    reader = pypdf.PdfReader(io.BytesIO(body))
    if reader.is_encrypted and not reader.decrypt(""):
        raise _Refused("it is encrypted")
    pages, chars = [], 0
    for number, page in enumerate(reader.pages, 1):
        pages.append(f"## Page {number}\n\n{page.extract_text().strip()}\n")
        chars += len(pages[-1])
        if chars > MAX_TEXT_CHARS:
            break
    return "\n".join(pages)


def _read_office(body: bytes, converter: Any, info: Any) -> str:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        parts = archive.infolist()
        if len(parts) > _MAX_PARTS or sum(part.file_size for part in parts) > _MAX_UNPACKED_BYTES:
            raise _Refused(f"unpacked it is over {_MAX_UNPACKED_BYTES:,} bytes, or {_MAX_PARTS:,} parts")
    return str(converter.convert(io.BytesIO(body), info).markdown)
