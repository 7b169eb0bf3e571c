"""Files in a conversation, as the model gets them."""

import base64
from pathlib import Path
from typing import Any

import pytest

from narrator import Attachment, FileStore, Message, Thread, ThreadStore
from tests.litellm_clients import litellm_clients
from tests.model_server import ModelServer
from tyler import Agent
from tyler.model import Reply
from tyler.testing import ScriptedModel, calls

__all__ = ["litellm_clients"]

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PDF_TEXT = "Invoice 4711 is paid"


def pdf(line: str) -> bytes:
    """A whole PDF of one page with one line, offsets and all."""
    stream = f"BT /F1 24 Tf 72 700 Td ({line}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return out + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)


def asks(attachment: Attachment, text: str | None = "Look:") -> Thread:
    message = Message(role="user", content=text)
    message.add_attachment(attachment)
    return Thread(id="t", messages=[message])


async def parts_of(thread: Thread, *, vision: bool = True, **fields: Any) -> list[dict[str, Any]]:
    model = ScriptedModel(["seen"], takes_images=vision)
    await Agent(model=model, **fields).go(thread)
    content = model.requests[0].messages[0]["content"]
    assert isinstance(content, list)
    return content


IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}}


async def test_an_image_reaches_a_model_with_vision_as_an_image() -> None:
    parts = await parts_of(asks(Attachment(filename="dot.png", content=PNG)))
    assert parts == [{"type": "text", "text": "Look:"}, IMAGE]


async def test_a_message_may_be_an_image_alone() -> None:
    assert await parts_of(asks(Attachment(filename="dot.png", content=PNG), text=None)) == [IMAGE]


async def test_a_model_without_vision_gets_the_name() -> None:
    (_, part) = await parts_of(asks(Attachment(filename="dot.png", content=PNG)), vision=False)
    assert part == {
        "type": "text",
        "text": "[attached file dot.png (image/png, 70 bytes): its content is not shown to this model]",
    }


@pytest.mark.parametrize(
    ("filename", "content", "expected"),
    [
        ("a.txt", "grüße\n".encode(), "grüße"),
        ("a.json", b'{"a": 1}', '{"a": 1}'),
        ("a.csv", b"a,b\n1,2\n", "a,b\n1,2"),
        ("a.md", b"\xef\xbb\xbf# Title", "# Title"),
        ("a.txt", b"a\xff\x00b", "a\ufffd\ufffdb"),
        ("a.pdf", pdf(PDF_TEXT), PDF_TEXT),
    ],
)
async def test_documents_reach_the_model_as_text(filename: str, content: bytes, expected: str) -> None:
    (_, part) = await parts_of(asks(Attachment(filename=filename, content=content)))
    text = part["text"]
    assert text.startswith(f"[file {filename}]\n{expected}")
    assert text.endswith("\n[end of file]")


@pytest.mark.parametrize(
    ("attachment", "why"),
    [
        (Attachment(filename="a.zip", content=b"PK\x03\x04"), "its content is not shown to this model"),
        (Attachment(filename="a.pdf", content=b"%PDF-1.4 broken"), "no text could be read from it"),
        (Attachment(filename="a.png", content=b""), "it is empty"),
        (Attachment(filename="a.txt", content=b"  "), "no text could be read from it"),
        (Attachment(filename="a.txt", file_id="0" * 64), "its bytes are not available"),
    ],
)
async def test_what_cannot_be_shown_is_named(attachment: Attachment, why: str) -> None:
    (_, part) = await parts_of(asks(attachment))
    assert part["text"].startswith(f"[attached file {attachment.filename} (")
    assert part["text"].endswith(f"{why}]")


async def test_a_long_document_is_capped() -> None:
    (_, part) = await parts_of(asks(Attachment(filename="a.txt", content=b"x" * 1_000_000)))
    assert len(part["text"]) < 101_000


async def test_bytes_come_from_the_file_store_when_the_path_is_gone(store: ThreadStore, tmp_path: Path) -> None:
    files = await FileStore.create(tmp_path / "files")
    path = tmp_path / "note.txt"
    path.write_text("kept")
    thread = asks(Attachment.from_path(path))
    model = ScriptedModel(["one", "two"])
    agent = Agent(model=model, thread_store=store, file_store=files)
    await agent.go(thread)
    path.write_text("changed since")
    thread.add_message(Message(role="user", content="again"))
    await agent.go(thread)
    path.unlink()
    loaded = await store.get_thread("t")
    loaded.add_message(Message(role="user", content="and again"))
    model._script.append("three")
    await agent.go(loaded)
    shown = [request.messages[0]["content"][1]["text"] for request in model.requests]
    assert shown == ["[file note.txt]\nkept\n[end of file]"] * 3


async def test_files_of_tools_are_stored_and_shown_as_text(store: ThreadStore, tmp_path: Path) -> None:
    files = await FileStore.create(tmp_path / "files")

    def export() -> Attachment:
        return Attachment(filename="out.csv", content=b"a,b\n1,2")

    model = ScriptedModel([calls(("export", {})), "done"])
    thread = Thread(id="t", messages=[Message(role="user", content="export")])
    await Agent(model=model, tools=[export], thread_store=store, file_store=files).go(thread)
    (attachment,) = (await store.get_thread("t")).messages[2].attachments
    assert await files.get(attachment.file_id) == b"a,b\n1,2"
    result = model.requests[1].messages[2]
    assert result["role"] == "tool"
    assert "[file out.csv]\na,b\n1,2\n[end of file]" in result["content"]


async def test_content_parts_given_directly_pass_unchanged() -> None:
    parts = [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]
    assert await parts_of(Thread(messages=[Message(role="user", content=parts)])) == parts


async def test_a_result_says_when_its_files_could_not_be_kept(tmp_path: Path) -> None:
    """A SQL store without a file store: the run goes on, and the model knows."""

    def export() -> Attachment:
        return Attachment(filename="out.csv", content=b"a,b")

    async with await ThreadStore.create(f"sqlite:///{tmp_path}/a.db") as store:
        agent = Agent(
            model=ScriptedModel([calls(("export", {})), Reply(content="sorry")]), tools=[export], thread_store=store
        )
        result = await agent.go("export")
    assert result.content == "sorry"
    assert "its files were not kept" in result.new_messages[1].text


@pytest.mark.usefixtures("litellm_clients")
@pytest.mark.parametrize(("model_name", "kind"), [("gpt-4o", "image_url"), ("gpt-3.5-turbo", "text")])
async def test_litellms_list_decides_who_sees(model_server: ModelServer, model_name: str, kind: str) -> None:
    await Agent(model_name=model_name).go(asks(Attachment(filename="dot.png", content=PNG)))
    assert model_server.requests[0].messages[0]["content"][1]["type"] == kind
    assert not model_server.refused
