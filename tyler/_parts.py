"""The parts of a message's content, in a form that providers accept. Pure.

Which types a role may have, and what each must hold, are the chat-completions API's rules. A part that breaks
them is shown to the model as text rather than dropped.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

Part = dict[str, Any]

_BY_ROLE = {
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
}
_IMAGE_URL = re.compile(r"https?://[^\s/]+\S*")
_IMAGE_DATA = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,")
_FILE_DATA = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")
_SHOWN_CHARS = 2_000


def mended_parts(parts: Iterable[Part], role: str) -> list[Part]:
    """The parts that may stand in a message of this role; the others as text, and those that say nothing left out."""
    return [mended for part in parts if (mended := _mended(part, role)) is not None]


def _mended(part: Part, role: str) -> Part | None:
    kind = part.get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        return part if part["text"] else None
    if kind in _BY_ROLE.get(role, ()) and kind in _CHECKS and _CHECKS[kind](part.get(kind)):
        return part
    shown = json.dumps(part, ensure_ascii=False)
    return {"type": "text", "text": shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]} [...]"}


def _is_image(image: Any) -> bool:
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str) or image.get("detail", "auto") not in ("auto", "low", "high"):
        return False
    return _IMAGE_URL.fullmatch(url) is not None or _is_data_url(_IMAGE_DATA, url)


def _is_audio(audio: Any) -> bool:
    return isinstance(audio, dict) and audio.get("format") in ("wav", "mp3") and _is_base64(audio.get("data"))


def _is_file(file: Any) -> bool:
    if not isinstance(file, dict):
        return False
    named = isinstance(file.get("filename"), str) and file["filename"] != ""
    return _is_text(file.get("file_id")) or (named and _is_data_url(_FILE_DATA, file.get("file_data")))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


_CHECKS: dict[Any, Callable[[Any], bool]] = {
    "image_url": _is_image,
    "input_audio": _is_audio,
    "file": _is_file,
    "refusal": _is_text,
}


def _is_data_url(head: re.Pattern[str], value: Any) -> bool:
    found = head.match(value) if isinstance(value, str) else None
    return found is not None and _is_base64(value[found.end() :])


def _is_base64(value: Any) -> bool:
    try:
        return _is_text(value) and bool(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return False
