"""A PDF's text, page by page. Slow and hungry for hostile files: run where it can be killed."""

from __future__ import annotations

import io
import logging

MAX_PAGES = 500
MAX_CHARS = 2_000_000


class PdfUnreadable(Exception):
    """Why there is no text: the file is damaged, encrypted, or only pictures."""


def read_pdf(body: bytes, max_chars: int = MAX_CHARS) -> tuple[str, str]:
    """Title, and the text of as many pages as fit the limits. Raises PdfUnreadable, and whatever pypdf runs into."""
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of each flaw that it passes over
    try:
        reader = PdfReader(io.BytesIO(body))
        if reader.is_encrypted and not reader.decrypt(""):
            raise PdfUnreadable("it is encrypted")
        count = len(reader.pages)
        parts, chars = [], 0
        for number, page in enumerate(reader.pages[:MAX_PAGES], 1):
            text = page.extract_text().strip()
            chars += len(text)
            if chars > max_chars:
                break
            parts.append(f"## Page {number}\n\n{text}" if text else "")
        title = str(reader.metadata.title or "") if reader.metadata else ""
    except (PyPdfError, DependencyError) as error:
        raise PdfUnreadable(f"it is damaged or encrypted ({type(error).__name__})") from error
    text = "\n\n".join(filter(None, parts))
    if not text:
        raise PdfUnreadable("it has no text, perhaps pictures of pages")
    return title, text + (f"\n\n(the first {len(parts)} of {count} pages)" if len(parts) < count else "")
