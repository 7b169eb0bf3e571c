"""Files in a folder: base/<first two hex of the id>/<id>[@<owner digest>], each written whole or not at all.

A file becomes visible by one rename, after its bytes are on the disk (promise P9). Nothing is kept open
between calls, so threads, processes and forks share a folder freely. POSIX only (flock, directory fsync).
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from narrator._blobs import BlobKey, StoredFile
from narrator.errors import StoreUnavailable

_BLOB_NAME = re.compile(r"([0-9a-f]{64})(?:@([0-9a-f]{32}))?")
_TEMPORARY_PREFIX = ".tmp-"
_LOCK_WAIT_S = 10.0
_LOCK_POLL_S = 0.005
_TOO_MANY = (errno.EMFILE, errno.ENFILE)
_PLACE = "its disk space, permissions and mount"


class DiskFiles:
    """Bytes in a folder that exists already; `_file_folder.open_folder` makes and checks it."""

    def __init__(self, base: Path) -> None:
        self.closed = False
        self.name = str(base)
        self._base = base
        self._settled_folders: set[Path] = set()  # folders whose entry in the base is known to be on disk

    def renew(self, key: BlobKey, size_bytes: int | None) -> int | None:
        path = self._path(key)
        with self._io("write to"):
            # Under the lock, or `delete` could remove the file between its look at the time and its unlink.
            with self._lock(fcntl.LOCK_SH):
                status = self._status(path)
                if status is None or size_bytes not in (None, status.st_size):
                    return None
                os.utime(path)
            # Another process may have renamed it a moment ago and not have reached its own fsync yet.
            self._sync_entry(path.parent)
            return status.st_size

    def put(self, key: BlobKey, pieces: Iterable[bytes]) -> None:
        path = self._path(key)
        with self._io("write to"):
            with suppress(FileExistsError):
                path.parent.mkdir(mode=0o700)
                self._settled_folders.discard(path.parent)
            temporary = path.parent / f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}"
            try:
                write_new(temporary, pieces)
                with self._lock(fcntl.LOCK_SH):
                    temporary.replace(path)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise
            self._sync_entry(path.parent)

    def exists(self, key: BlobKey) -> bool:
        with self._io("read"):
            return self._status(self._path(key)) is not None

    def owners(self, file_id: str) -> Sequence[str]:
        with self._io("read"):
            found = self._entries(self._base / file_id[:2])
            return sorted(s.owner_digest for s in found if s.file_id == file_id and s.owner_digest)

    def open(self, key: BlobKey) -> BinaryIO | None:
        path = self._path(key)
        with self._io("read"):
            if self._status(path) is None:
                return None
            try:
                return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
            except FileNotFoundError:
                return None  # deleted since the look

    def delete(self, key: BlobKey, older_than: timedelta | None) -> bool:
        path = self._path(key)
        with self._io("delete from"), self._lock(fcntl.LOCK_EX):
            status = self._status(path)
            if status is None or (older_than is not None and _is_recent(status, older_than)):
                return False
            path.unlink(missing_ok=True)
            return True

    def list(self) -> Iterator[Sequence[StoredFile]]:
        with self._io("read"):
            folders = self._folders()
        for folder in folders:
            with self._io("read"):
                batch = sorted(self._entries(folder), key=lambda stored: stored.key)
            yield batch

    def remove_stale_temporaries(self, older_than: timedelta) -> int:
        removed = 0
        with self._io("delete from"):
            for folder in [self._base, *self._folders()]:
                for path in folder.glob(f"{_TEMPORARY_PREFIX}*"):
                    with suppress(FileNotFoundError):  # its writer has finished, or another sweep was here
                        if not _is_recent(path.lstat(), older_than):
                            path.unlink()
                            removed += 1
        return removed

    def close(self) -> None:
        self.closed = True

    def _path(self, key: BlobKey) -> Path:
        name = f"{key.file_id}@{key.owner_digest}" if key.owner_digest else key.file_id
        if not _BLOB_NAME.fullmatch(name):
            raise ValueError(f"{key!r} is no blob key")  # the last guard: no other name becomes a path
        return self._base / name[:2] / name

    def _folders(self) -> Sequence[Path]:
        return sorted(p for p in self._base.iterdir() if re.fullmatch("[0-9a-f]{2}", p.name) and p.is_dir())

    def _entries(self, folder: Path) -> Iterator[StoredFile]:
        for path in folder.iterdir() if folder.is_dir() else ():
            match = _BLOB_NAME.fullmatch(path.name)
            status = _regular(path) if match and path.name[:2] == folder.name else None
            if match and status:
                modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
                yield StoredFile(match[1], match[2] or "", status.st_size, modified_at)

    def _status(self, path: Path) -> os.stat_result | None:
        """The file's status, or None when it is absent; a vanished base folder is no absent file."""
        status = _regular(path)
        if status is None:
            self._base.stat()
        return status

    def _sync_entry(self, folder: Path) -> None:
        sync_folder(folder)
        if folder not in self._settled_folders:
            sync_folder(self._base)
            self._settled_folders.add(folder)

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        """Savers share the lock, a deleter has it alone; each holds it for a few system calls only.

        A lock file and not the folder itself: NFS grants exclusive locks only on files open for writing.
        """
        fd = os.open(self._base / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + _LOCK_WAIT_S
            while True:
                try:
                    fcntl.flock(fd, kind | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreUnavailable(
                            f"another process has kept the lock of file folder {self.name!r} for"
                            f" {_LOCK_WAIT_S:.0f} s; is it stopped? Continue or end it, then try again"
                        ) from None
                    time.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(fd)

    @contextmanager
    def _io(self, action: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            check = "this process's limit of open files (`ulimit -n`)" if error.errno in _TOO_MANY else _PLACE
            raise StoreUnavailable(
                f"cannot {action} file folder {self.name!r}: {error.strerror or error}; check {check}, then try again"
            ) from error


def write_new(path: Path, pieces: Iterable[bytes]) -> None:
    """A new file (0600) of these pieces, on the disk when this returns."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(fd)


def sync_folder(folder: Path) -> None:
    """The folder's entries on the disk: without it a power cut can undo a rename or a mkdir."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # this file system has no such thing
            raise
    finally:
        os.close(fd)


def _regular(path: Path) -> os.stat_result | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _is_recent(status: os.stat_result, older_than: timedelta) -> bool:
    return status.st_mtime > time.time() - older_than.total_seconds()
