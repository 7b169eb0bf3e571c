"""An attachment's bytes on their way into a store: in pieces, within the limit, and the right ones."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from narrator.attachment import Attachment
from narrator.errors import FileNotFound, FileTooLarge

PIECE_BYTES = 1 << 20


def check_size(attachment: Attachment, size_bytes: int, max_file_bytes: int) -> None:
    """FileTooLarge when the size is over the limit."""
    if size_bytes > max_file_bytes:
        raise FileTooLarge(
            f"attachment {attachment.filename!r} has {size_bytes} bytes, the limit is {max_file_bytes};"
            f" make it smaller, or raise FileStore.create(max_file_bytes=...)"
        )


@contextmanager
def open_source(attachment: Attachment, max_file_bytes: int) -> Iterator[Iterable[bytes]]:
    """The attachment's bytes, in pieces of at most 1 MiB when they come from a path.

    The last piece is followed by FileNotFound instead of the end when the bytes are not those of
    `file_id`: who consumes them must not keep anything then.
    """
    if attachment.content is not None:
        yield _checked(attachment, [attachment.content], max_file_bytes)
        return
    assert attachment.path is not None
    fd = _open(attachment, attachment.path)
    try:
        check_size(attachment, os.fstat(fd).st_size, max_file_bytes)
        yield _checked(attachment, _pieces(attachment, attachment.path, fd), max_file_bytes)
    finally:
        os.close(fd)


def _checked(attachment: Attachment, pieces: Iterable[bytes], max_file_bytes: int) -> Iterator[bytes]:
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        size += len(piece)
        check_size(attachment, size, max_file_bytes)
        digest.update(piece)
        yield piece
    if digest.hexdigest() != attachment.file_id:
        where = f" in {str(attachment.path)!r}" if attachment.content is None else ""
        raise FileNotFound(
            f"the bytes of attachment {attachment.filename!r}{where} have changed since it was made:"
            f" they are no longer {attachment.file_id!r}; make a new Attachment of them"
        )


def _open(attachment: Attachment, path: Path) -> int:
    try:
        # Not blocking: opening a FIFO would wait for a writer that may never come.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(attachment, path, error.strerror or str(error)) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _unreadable(attachment, path, "it is no regular file")
    return fd


def _pieces(attachment: Attachment, path: Path, fd: int) -> Iterator[bytes]:
    try:
        while piece := os.read(fd, PIECE_BYTES):
            yield piece
    except OSError as error:
        raise _unreadable(attachment, path, error.strerror or str(error)) from error


def _unreadable(attachment: Attachment, path: Path, reason: str) -> FileNotFound:
    return FileNotFound(
        f"attachment {attachment.filename!r} cannot be read from {str(path)!r}: {reason};"
        f" keep the file there until it is saved"
    )
