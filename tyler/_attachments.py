"""Attachments as content parts: images as images, text and PDF as text, anything else by name."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
from typing import Any

from narrator import Attachment, FileNotFound, FileStore
from narrator._values import clean_text
from tyler.tools import cap_output

_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_TEXTS = ("application/json", "application/xml", "application/yaml", "application/x-yaml", "application/toml")


async def to_part(attachment: Attachment, files: FileStore | None, *, vision: bool) -> dict[str, Any]:
    """The attachment as one content part. `vision`: whether the model takes images.

    Text is capped at 100,000 characters. A file that cannot be read is named, and the model is told why.
    """
    kind = attachment.mime_type.partition(";")[0].strip().lower()
    as_image, as_text = kind in _IMAGES and vision, kind.startswith("text/") or kind in _TEXTS
    if not (as_image or as_text or kind == "application/pdf"):
        return _named(attachment, "its content is not shown to this model")
    content = await _bytes(attachment, files)
    if not content:
        return _named(attachment, "its bytes are not available" if content is None else "it is empty")
    if as_image:
        data = base64.b64encode(content).decode()
        return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}
    text = await asyncio.to_thread(_pdf_text, content) if kind == "application/pdf" else _decoded(content)
    if text is None or not text.strip():
        return _named(attachment, "no text could be read from it")
    return {"type": "text", "text": f"[file {attachment.filename}]\n{cap_output(clean_text(text))}\n[end of file]"}


def _named(attachment: Attachment, why: str) -> dict[str, Any]:
    size = f"{attachment.size_bytes:,} bytes"
    return {"type": "text", "text": f"[attached file {attachment.filename} ({attachment.mime_type}, {size}): {why}]"}


async def _bytes(attachment: Attachment, files: FileStore | None) -> bytes | None:
    """From the object, else by its hash from the file store; the path it came from may have changed since."""
    if attachment.content is not None:
        return attachment.content
    if files is not None:
        with contextlib.suppress(FileNotFound):
            return await files.get(attachment.file_id)
    if attachment.path is not None:
        with contextlib.suppress(OSError):
            return await asyncio.to_thread(attachment.path.read_bytes)
    return None


def _decoded(content: bytes) -> str:
    return content.decode("utf-8-sig", "replace")


def _pdf_text(content: bytes) -> str | None:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages)
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # a broken PDF raises whatever its broken object leads to
