"""Attachment: a named file that belongs to a message.

The bytes live in a FileStore under their sha256; a stored message keeps only the reference.
"""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from narrator._values import clean_name

_CHUNK_BYTES = 1 << 20


class Attachment(BaseModel):
    """A file of a message: name, type, size, and the sha256 of its bytes as `file_id`.

    Made from `content` (bytes or text) or from `path` (streamed when saved, never held whole in
    memory). One that was loaded from a store has neither: `await file_store.get(attachment.file_id)`.
    `content` and `path` are not stored and do not count in comparisons.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    filename: str
    mime_type: str = ""
    file_id: str = ""
    size_bytes: int = Field(default=0, ge=0)
    content: bytes | None = Field(default=None, exclude=True, repr=False)
    path: Path | None = Field(default=None, exclude=True, repr=False)

    @classmethod
    def from_path(cls, path: str | Path, *, filename: str | None = None, mime_type: str = "") -> Self:
        """An attachment whose bytes are read from `path` in pieces: once here (hash), once when saved."""
        path = Path(path)
        return cls(filename=filename or path.name, mime_type=mime_type, path=path)

    @field_validator("filename")
    @classmethod
    def _clean_filename(cls, value: str) -> str:
        return clean_name(value, "attachment filename")

    @field_validator("content", mode="before")
    @classmethod
    def _text_is_bytes(cls, value: Any) -> Any:
        return value.encode("utf-8", "replace") if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, data: Any) -> Any:
        """Fill file_id, size_bytes and mime_type from the bytes and the name."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if not data.get("mime_type") and isinstance(data.get("filename"), str):
            guessed, _ = mimetypes.guess_type(data["filename"])
            data["mime_type"] = guessed or "application/octet-stream"
        content, path = data.get("content"), data.get("path")
        if isinstance(content, str):
            content = content.encode("utf-8", "replace")
        if isinstance(content, bytes | bytearray):
            data["file_id"] = hashlib.sha256(content).hexdigest()
            data["size_bytes"] = len(content)
        elif path is not None:
            data["file_id"], data["size_bytes"] = _hash_file(Path(path))
        elif not data.get("file_id"):
            raise ValueError(
                f"attachment {data.get('filename')!r} has no bytes: pass content=, path=, or a stored file_id="
            )
        return data

    @field_validator("file_id")
    @classmethod
    def _is_sha256(cls, value: str) -> str:
        if len(value) != 64 or set(value) - set("0123456789abcdef"):
            raise ValueError(f"file_id {value!r} is not a sha256 in lower-case hex")
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attachment) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash((self.file_id, self.filename))


def _hash_file(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
