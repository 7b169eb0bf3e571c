"""PDF as text, in a process that a hostile one can only hurt itself in."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import pytest
from pypdf import PdfWriter

from lye._web.page_process import read_page_aside
from lye._web.pdf import PdfUnreadable, read_pdf
from lye.errors import FetchFailed

URL = "https://site.example/a.pdf"


def pdf(*contents: bytes, title: str = "", filter_name: str = "") -> bytes:
    """A PDF whose pages have these content streams."""
    count = len(contents)
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(count))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {count}>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for i, content in enumerate(contents):
        page = f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Resources<</Font<</F 3 0 R>>>>/Contents {5 + 2 * i} 0 R>>"
        head = f"<</Length {len(content)}{filter_name}>>stream\n".encode()
        objects += [page.encode(), head + content + b"\nendstream"]
    objects.append(f"<</Title({title})>>".encode())
    body, table = b"%PDF-1.7\n", f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n"
    for number, text in enumerate(objects, 1):
        table += f"{len(body):010} 00000 n \n"
        body += f"{number} 0 obj\n".encode() + text + b"\nendobj\n"
    trailer = f"trailer<</Root 1 0 R/Info {len(objects)} 0 R/Size {len(objects) + 1}>>"
    return body + f"{table}{trailer}\nstartxref\n{len(body)}\n%%EOF".encode()


def words(text: str) -> bytes:
    return f"BT /F 9 Tf ({text}) Tj ET".encode()


async def read(body: bytes, content_type: str = "application/pdf") -> str:
    return (await read_page_aside(body, content_type, URL)).show(1)


async def test_text_comes_page_by_page_with_the_title() -> None:
    shown = await read(pdf(words("Hello"), b"", words("World"), title="A report"))
    assert shown == f"Title: A report\nURL: {URL}\n\n## Page 1\n\nHello\n\n## Page 3\n\nWorld"


@pytest.mark.parametrize("content_type", ["", pytest.param("application/octet-stream", marks=pytest.mark.deep)])
async def test_a_pdf_is_known_by_its_look(content_type: str) -> None:
    assert "Hello" in await read(pdf(words("Hello")), content_type)


async def test_only_the_first_500_pages_are_read() -> None:
    body = pdf(*(words(f"n{i}") for i in range(503)))
    page = await read_page_aside(body, "application/pdf", URL)
    assert page.text.endswith("(the first 500 of 503 pages)")


def test_a_text_over_the_limit_is_read_up_to_the_page_where_it_ends() -> None:
    _, text = read_pdf(pdf(*[words("x" * 450)] * 6), max_chars=2_000)
    assert text.endswith("(the first 4 of 6 pages)")
    assert text.count("x") == 1_800


def test_what_is_no_pdf_inside_is_said_to_be_damaged() -> None:
    with pytest.raises(PdfUnreadable, match="damaged or encrypted"):
        read_pdf(b"%PDF-1.7\n%%EOF")


def encrypted() -> bytes:
    writer, file = PdfWriter(io.BytesIO(pdf(words("secret")))), io.BytesIO()
    writer.encrypt("hunter2", algorithm="RC4-128")
    writer.write(file)
    return file.getvalue()


def bomb() -> bytes:
    return zlib.compress(b" " * 100_000_000)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "damaged": lambda: b"%PDF-1.7\nnothing",
    "cut": lambda: pdf(words("Hello"))[:200],
    "encrypted": encrypted,
    "no text": lambda: pdf(b""),
    "no pages": pdf,
    "bomb": lambda: pdf(bomb(), filter_name="/Filter/FlateDecode"),
    "bomb within a bomb": lambda: pdf(zlib.compress(bomb()), filter_name="/Filter[/FlateDecode/FlateDecode]"),
    "arrays without end": lambda: pdf(b"BT " + b"[" * 200_000),
    "its own parent": lambda: pdf(words("x")).replace(b"/Kids[4 0 R]", b"/Kids[2 0 R]"),
}


RARE = ("cut", "no pages", "bomb within a bomb", "arrays without end")  # each starts a process


@pytest.mark.parametrize(
    "make",
    [pytest.param(make, id=name, marks=[pytest.mark.deep] * (name in RARE)) for name, make in HOSTILE.items()],
)
async def test_a_hostile_pdf_is_a_failure_that_names_the_other_tool(make: Callable[[], bytes]) -> None:
    with pytest.raises(FetchFailed, match="download_file"):
        await read(make())


async def test_control_characters_of_a_pdf_are_removed() -> None:
    assert "\x1b" not in await read(pdf(words("a\\033[31mb"), title="t\\033"))
