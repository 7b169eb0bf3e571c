"""What a file is by its first bytes; its name and declared type are only what somebody says of it.

Nothing is decoded: an image of any number of pixels is bytes here.
"""

from __future__ import annotations

from typing import NamedTuple

IMAGES = "PNG, JPEG, GIF or WebP"
SOUNDS = "MP3, WAV, OGG, FLAC, M4A/MP4, WebM or AAC"


class MediaType(NamedTuple):
    """A MIME type, and the suffix of such a file's name."""

    mime_type: str
    suffix: str


_IMAGES = (
    (0, b"\xff\xd8\xff", MediaType("image/jpeg", "jpg")),
    (0, b"GIF87a", MediaType("image/gif", "gif")),
    (0, b"GIF89a", MediaType("image/gif", "gif")),
    (8, b"WEBP", MediaType("image/webp", "webp")),  # behind RIFF and a length
    (12, b"IHDR", MediaType("image/png", "png")),  # behind the signature and a length
)
_SOUNDS = (
    (8, b"WAVE", MediaType("audio/wav", "wav")),
    (0, b"OggS", MediaType("audio/ogg", "ogg")),
    (0, b"fLaC", MediaType("audio/flac", "flac")),
    (4, b"ftyp", MediaType("audio/mp4", "m4a")),
    (0, b"\x1a\x45\xdf\xa3", MediaType("audio/webm", "webm")),
    (0, b"ID3", MediaType("audio/mpeg", "mp3")),
)
_BEFORE = {8: b"RIFF", 12: b"\x89PNG\r\n\x1a\n"}


def image_type(data: bytes) -> MediaType | None:
    """The type of an image, None for anything that models do not take as one."""
    return _found(data, _IMAGES)


def audio_type(data: bytes) -> MediaType | None:
    """The type of a sound's container, None for anything else."""
    if found := _found(data, _SOUNDS):
        return found
    if _is_mp3_frame(data):
        return MediaType("audio/mpeg", "mp3")
    is_adts = len(data) > 6 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0  # a sync word, and layer 0
    return MediaType("audio/aac", "aac") if is_adts else None


def _found(data: bytes, known: tuple[tuple[int, bytes, MediaType], ...]) -> MediaType | None:
    fits = (kind for at, magic, kind in known if data.startswith(magic, at) and data.startswith(_BEFORE.get(at, b"")))
    return next(fits, None)


def _is_mp3_frame(data: bytes) -> bool:
    """MPEG layer III, with a bit rate and a sampling rate that exist. Text in UTF-16 begins alike, as layer I."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE6 != 0xE2:
        return False
    version, bit_rate, sampling_rate = data[1] >> 3 & 3, data[2] >> 4, data[2] >> 2 & 3
    return version != 1 and bit_rate not in (0, 15) and sampling_rate != 3
