"""What hosted providers refuse in the content of one message: its text or its parts. Pure."""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

IMAGE_URL = re.compile(r"https?://[^\s/]+\S*")
IMAGE_DATA = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,")
FILE_DATA = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")

PARTS_BY_ROLE = {
    "system": {"text"},
    "developer": {"text"},
    "user": {"text", "image_url", "input_audio", "file"},
    "assistant": {"text", "refusal"},
    "tool": {"text"},
}


def content_violations(where: str, role: str, content: Any) -> list[str]:
    """Reasons to refuse `content` in a message of `role`; it must already be made of plain JSON values."""
    if isinstance(content, str):
        return []
    if not isinstance(content, list) or not content:
        return [f"{where}: must be a string or a non-empty list of parts"]
    found: list[str] = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str) or kind not in PARTS_BY_ROLE[role]:
            found.append(f"{where}[{index}].type: {kind!r} is not allowed in a {role} message")
        elif not PART_CHECKS[kind](part.get(kind)):
            found.append(f"{where}[{index}].{kind}: missing or invalid")
    return found


def _image_is_valid(image: Any) -> bool:
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str) or image.get("detail", "auto") not in ("auto", "low", "high"):
        return False
    return _is_data_url(IMAGE_DATA, url) or IMAGE_URL.fullmatch(url) is not None


def _audio_is_valid(audio: Any) -> bool:
    return isinstance(audio, dict) and audio.get("format") in ("wav", "mp3") and _is_base64(audio.get("data"))


def _file_is_valid(file: Any) -> bool:
    if not isinstance(file, dict):
        return False
    return is_text(file.get("file_id")) or (
        is_text(file.get("filename")) and _is_data_url(FILE_DATA, file.get("file_data"))
    )


PART_CHECKS: dict[str, Callable[[Any], bool]] = {
    "text": lambda text: isinstance(text, str),
    "refusal": lambda text: isinstance(text, str),
    "image_url": _image_is_valid,
    "input_audio": _audio_is_valid,
    "file": _file_is_valid,
}


def is_text(value: Any) -> bool:
    """Whether it is a string that is not empty."""
    return isinstance(value, str) and value != ""


def _is_base64(value: Any) -> bool:
    try:
        return is_text(value) and bool(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return False


def _is_data_url(pattern: re.Pattern[str], value: Any) -> bool:
    head = pattern.match(value) if isinstance(value, str) else None
    return head is not None and _is_base64(value[head.end() :])
