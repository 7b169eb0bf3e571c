"""A PDF's text, page by page. Slow and hungry for hostile files: run where it can be killed."""

from __future__ import annotations

import io
import logging

from lye.errors import FetchFailed

MAX_PAGES = 200
MAX_CHARS = 2_000_000


def read_pdf(body: bytes, url: str) -> tuple[str, str]:
    """Title and text of the first 200 pages; FetchFailed for one that is damaged, encrypted or only pictures."""
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of each flaw that it passes over
    keep = "call download_file to keep it as a file"
    try:
        reader = PdfReader(io.BytesIO(body))
        count = len(reader.pages)
        parts, chars = [], 0
        for number, page in enumerate(reader.pages[:MAX_PAGES], 1):
            text = page.extract_text().strip()
            chars += len(text)
            if chars > MAX_CHARS:
                break
            parts.append(f"## Page {number}\n\n{text}" if text else "")
        title = str(reader.metadata.title or "") if reader.metadata else ""
    except (PyPdfError, DependencyError) as error:  # anything else ends the child, which is a failure too
        raise FetchFailed(f"{url!r} is a PDF that cannot be read ({type(error).__name__}); {keep}") from error
    text = "\n\n".join(filter(None, parts))
    if not text:
        raise FetchFailed(f"{url!r} is a PDF without text, perhaps pictures of pages; {keep}")
    if len(parts) < count:
        text += f"\n\n(the first {len(parts)} of {count} pages; {keep})"
    return title, text
