"""What a file is, by its first bytes."""

from __future__ import annotations

import pytest

from lye._media.type import audio_type, image_type
from tests.lye.media_server import JPEG, MP3, PNG, WAV

KNOWN = {
    "image/png": PNG,
    "image/jpeg": JPEG,
    "image/gif": b"GIF89a\x01\x00\x01\x00",
    "image/webp": b"RIFF\x24\x00\x00\x00WEBPVP8 ",
    "audio/mpeg": MP3,
    "audio/wav": WAV,
    "audio/ogg": b"OggS\x00\x02" + bytes(20),
    "audio/flac": b"fLaC\x00\x00\x00\x22",
    "audio/mp4": b"\x00\x00\x00\x20ftypM4A ",
    "audio/webm": b"\x1a\x45\xdf\xa3" + bytes(20),
    "audio/aac": b"\xff\xf1\x50\x80\x00\x1f\xfc\x00",
}
STRANGERS = {
    "nothing": b"",
    "one byte": b"\xff",
    "html": b"<!DOCTYPE html><title>PNG</title>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "a cut PNG": b"\x89PNG\r\n\x1a\n",
    "a PNG's signature over text": b"\x89PNG\r\n\x1a\n<script>alert(1)</script>",
    "RIFF of another kind": b"RIFF\x24\x00\x00\x00AVI LIST",
    "pdf": b"%PDF-1.7 ID3",
    "zip": b"PK\x03\x04" + bytes(20),
    "elf": b"\x7fELF" + bytes(20),
    "bmp": b"BM" + bytes(30),
    "text in UTF-16": "\ufeffhello, world".encode("utf-16-le"),
    "text in UTF-16, the other way": "\ufeffhello".encode("utf-16-be"),
    "ones": b"\xff" * 30,
}


@pytest.mark.parametrize("mime_type", KNOWN)
def test_each_kind_is_known_by_its_bytes(mime_type: str) -> None:
    found = [kind.mime_type for kind in (image_type(KNOWN[mime_type]), audio_type(KNOWN[mime_type])) if kind]
    assert found == [mime_type]


@pytest.mark.parametrize("data", STRANGERS.values(), ids=STRANGERS)
def test_other_bytes_are_neither_image_nor_sound(data: bytes) -> None:
    assert image_type(data) is None
    assert audio_type(data) is None


def test_a_frame_of_mp3_without_a_tag_is_one() -> None:
    found = audio_type(b"\xff\xfb\x90\x64" + bytes(20))
    assert found is not None
    assert found.suffix == "mp3"
