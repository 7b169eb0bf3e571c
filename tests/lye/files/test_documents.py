"""PDF and office documents: their text, and what a hostile one cannot do."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from lye import files_tools
from lye._files.documents import read_document
from lye._files.path import FilePath
from lye.errors import FileFailed
from tests.lye.children import child_of, children_of
from tests.lye.files_calls import call

HAS_MARKITDOWN = find_spec("markitdown") is not None  # not imported: that takes a second, which only its children need
needs_markitdown = pytest.mark.skipif(not HAS_MARKITDOWN, reason="the extra `docs` is not installed")
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/word/document.xml" ContentType="{WORD}"/></Types>'
)
RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1"'
    ' Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"'
    ' Target="word/document.xml"/></Relationships>'
)
IMAGE = (
    '<w:drawing><wp:inline xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing">'
    '<a:graphic xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><a:graphicData>'
    '<pic:pic xmlns:pic="http://schemas.openxmlformats.org/drawingml/2006/picture"><pic:blipFill>'
    '<a:blip r:link="rId9" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"/>'
    "</pic:blipFill></pic:pic></a:graphicData></a:graphic></wp:inline></w:drawing>"
)

ROOT = Path(__file__).parents[3]


def pdf(*streams: bytes, filters: str = "") -> bytes:
    """A PDF of one page for each content stream."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(streams)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(streams)}>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for number, stream in enumerate(streams):
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {5 + 2 * number} 0 R"
            "/Resources<</Font<</F1 3 0 R>>>>>>".encode()
        )
        objects.append(f"<</Length {len(stream)}{filters}>>stream\n".encode() + stream + b"\nendstream")
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj".encode() + body + b" endobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    return (
        out
        + (
            f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
            f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{len(out)}\n%%EOF"
        ).encode()
    )


def compressed_zeros(size_bytes: int) -> bytes:
    compressor = zlib.compressobj(1)
    pieces = [compressor.compress(bytes(1_000_000)) for _ in range(size_bytes // 1_000_000)]
    return b"".join(pieces) + compressor.flush()


def line(text: str) -> bytes:
    return f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET".encode()


def docx(text: str, prolog: str = "", relations: str = "", zeros: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", TYPES)
        archive.writestr("_rels/.rels", RELATIONS)
        archive.writestr(
            "word/document.xml",
            f'<?xml version="1.0"?>{prolog}<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/'
            f'main"><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>',
        )
        if relations:
            archive.writestr("word/_rels/document.xml.rels", relations)
        if zeros:
            with archive.open("word/extra.xml", "w") as part:
                for _ in range(zeros // 1_000_000):
                    part.write(bytes(1_000_000))
    return buffer.getvalue()


async def read(folder: Path, name: str, data: bytes, **arguments: object) -> str:
    (folder / name).write_bytes(data)
    result = await call(files_tools(folder), "read_file", path=name, **arguments)
    return result.content


async def test_a_pdfs_text_is_read_page_by_page(tmp_path: Path) -> None:
    text = await read(tmp_path, "a.PDF", pdf(line("Hello"), line("World")))
    assert text.startswith("File: a.PDF\nIts text, without form and pictures\n")
    assert text.endswith("## Page 1\n\nHello\n\n## Page 2\n\nWorld")


@needs_markitdown
async def test_office_documents_are_read(tmp_path: Path) -> None:
    import openpyxl
    import pptx

    book = openpyxl.Workbook()
    book.active.append(["Name", "Age"])
    book.active.append(["Zoé", 7])
    book.save(tmp_path / "a.xlsx")
    show = pptx.Presentation()
    show.slides.add_slide(show.slide_layouts[0]).shapes.title.text = "The title"
    show.save(tmp_path / "a.pptx")
    tools = files_tools(tmp_path)
    assert "| Zoé | 7 |" in (await call(tools, "read_file", path="a.xlsx")).content
    assert "# The title" in (await call(tools, "read_file", path="a.pptx")).content
    assert "Hello docx" in await read(tmp_path, "a.docx", docx("Hello docx"))


@needs_markitdown
@pytest.mark.parametrize("target", [pytest.param("outside.txt", marks=pytest.mark.deep), "file://{outside}"])
async def test_a_document_cannot_bring_in_other_files_as_pictures(tmp_path: Path, target: str) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("hunter2")
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId9"'
        ' Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/image" TargetMode="External"'
        f' Target="{target.format(outside=outside)}"/></Relationships>'
    )
    folder = tmp_path / "inside"
    folder.mkdir()
    text = await read(folder, "a.docx", docx(f"see </w:t>{IMAGE}<w:t>", relations=relations))
    assert "see" in text
    assert "hunter2" not in text
    assert "aHVudGVyMg" not in text  # the same, in base64


@needs_markitdown
async def test_a_document_cannot_bring_in_other_files_as_entities(tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("hunter2")
    (tmp_path / "inside").mkdir()
    prolog = f'<!DOCTYPE d [<!ENTITY x SYSTEM "file://{tmp_path}/outside.txt">]>'
    assert "hunter2" not in await read(tmp_path / "inside", "a.docx", docx("see &x;", prolog=prolog))


HOSTILE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "entities that grow": (
        "a.docx",
        lambda: docx(
            "&i;",
            prolog='<!DOCTYPE d [<!ENTITY a "'
            + "x" * 1_000
            + '">'
            + "".join(f'<!ENTITY {n} "{f"&{m};" * 20}">' for m, n in zip("abcdefgh", "bcdefghi", strict=True))
            + "]>",
        ),
    ),
    "a zip that is cut": ("a.docx", lambda: docx("x")[:-30]),
    "no zip": ("a.docx", lambda: b"PK\x03\x04" + b"x" * 100),
    "another kind of document": ("a.xlsx", lambda: docx("x")),
    "a PDF that is cut": ("a.pdf", lambda: b"%PDF-1.4\n1 0 obj"),
    "a PDF of nothing": ("a.pdf", lambda: b"%PDF-1.4\n%%EOF"),
    "a PDF stream that grows": (
        "a.pdf",
        lambda: pdf(zlib.compress(compressed_zeros(1_500_000_000)), filters="/Filter[/FlateDecode/FlateDecode]"),
    ),
    "a PDF in a circle": (
        "a.pdf",
        lambda: pdf(line("x")).replace(b"/Kids[4 0 R]/Count 1", b"/Kids[2 0 R]/Count 1"),
    ),
}


ALWAYS = ("another kind of document", "a PDF that is cut", "a PDF in a circle")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        pytest.param(*case, id=kind, marks=[] if kind in ALWAYS else [pytest.mark.deep])
        for kind, case in HOSTILE.items()
    ],
)
async def test_hostile_documents_end_in_words_within_the_limits(
    tmp_path: Path, name: str, make: Callable[[], bytes]
) -> None:
    if name != "a.pdf" and not HAS_MARKITDOWN:
        pytest.skip("the extra `docs` is not installed")
    (tmp_path / name).write_bytes(make())
    began = time.monotonic()
    result = await call(files_tools(tmp_path, document_timeout_s=20), "read_file", path=name)
    assert time.monotonic() - began < 30
    assert result.failed
    assert "use another file" in result.content
    assert children_of("lye._files.documents") == []


@needs_markitdown
async def test_a_document_that_would_be_huge_is_not_unpacked(tmp_path: Path) -> None:
    text = await read(tmp_path, "a.docx", docx("x", zeros=201_000_000))
    assert "unpacked it is over 200,000,000 bytes" in text


def test_the_reading_process_opens_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("hunter2")
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from lye._files.documents import serve
serve()
print(open({str(tmp_path / "outside.txt")!r}).read())
"""
    question = json.dumps({"kind": ".pdf"}).encode() + b"\n" + pdf(line("Hello"))
    arguments = [sys.executable, "-c", code, str(1 << 30), str(os.getpid())]
    done = subprocess.run(arguments, input=question, capture_output=True, check=False)
    assert b"Hello" in done.stdout
    assert b"hunter2" not in done.stdout + done.stderr
    assert done.returncode == 1


async def test_a_document_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    data = pdf(*[b"BT /F1 9 Tf " + b"1 0 0 1 5 5 Tm (x) Tj " * 40_000 + b"ET"] * 20)
    with pytest.raises(FileFailed, match=r"within 0\.5 s"):
        await read_document(data, ".pdf", FilePath(("a.pdf",)), timeout_s=0.5)
    assert children_of("lye._files.documents") == []


async def test_a_document_that_takes_too_much_memory_is_ended() -> None:
    with pytest.raises(FileFailed, match="more than 20,000,000 bytes of memory"):
        await read_document(pdf(line("x")), ".pdf", FilePath(("a.pdf",)), 30, max_memory_bytes=20_000_000)


async def test_a_cancelled_reading_leaves_no_process(tmp_path: Path) -> None:
    data = pdf(*[b"BT /F1 9 Tf " + b"1 0 0 1 5 5 Tm (x) Tj " * 40_000 + b"ET"] * 20)
    task = asyncio.create_task(read_document(data, ".pdf", FilePath(("a.pdf",)), 30))
    await child_of("lye._files.documents")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children_of("lye._files.documents") == []


async def test_a_document_over_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf(line("x")) + bytes(1_000))
    result = await call(files_tools(tmp_path, max_document_bytes=1_000), "read_file", path="a.pdf")
    assert "over the limit of 1,000" in result.content


async def test_an_encrypted_pdf_is_said_to_be(tmp_path: Path) -> None:
    import pypdf

    writer = pypdf.PdfWriter(io.BytesIO(pdf(line("hunter2"))))
    writer.encrypt("password", algorithm="RC4-128")
    buffer = io.BytesIO()
    writer.write(buffer)
    text = await read(tmp_path, "a.pdf", buffer.getvalue())
    assert "it is encrypted" in text
    assert "hunter2" not in text
