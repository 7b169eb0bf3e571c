"""A file written whole or not at all, beneath the opened folder.

The bytes go to a temporary file in the same folder, onto the disk, and into place by one rename. A write that fails
or is cancelled before that leaves what was there.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from lye._files.errors import explained, failure
from lye._files.path import FilePath
from lye._files.root import OpenRoot, open_folder
from lye._files.stoppable import Stop
from lye.errors import FileFailed

_PIECE_BYTES = 1 << 20
_LOCK_WAIT_S, _LOCK_POLL_S = 10.0, 0.005
_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)
_NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)  # NFS locks no folders
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
_EXISTING = os.O_WRONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True)
class Place:
    """A file's folder, open and locked against other writes of these tools, and the file's status, if there is one."""

    fd: int
    path: FilePath
    status: os.stat_result | None

    @property
    def name(self) -> str:
        return self.path.parts[-1]


@contextmanager
def place_of(root: OpenRoot, path: FilePath, stop: Stop, make_folders: bool) -> Iterator[Place]:
    """Where the file is, or will be. Missing folders are made, and removed again when the block fails."""
    if not path.parts:
        raise FileFailed("'.' is the opened folder, not a file; name a file: 'notes.txt'")
    made: list[tuple[int, str]] = []
    with ExitStack() as stack:
        with explained(path):
            fd = os.dup(root.fd)
        stack.callback(os.close, fd)
        try:
            for depth, name in enumerate(path.parts[:-1], 1):
                folder = FilePath(path.parts[:depth])
                if make_folders and _make(fd, name, folder):
                    made.append((fd, name))
                    with explained(folder):
                        _sync_folder(fd)
                fd = open_folder(fd, name, folder)
                stack.callback(os.close, fd)
            root.check_place(fd, FilePath(path.parts[:-1]))
            _lock(fd, path, stop)
            yield Place(fd, path, _status(root, fd, path))
        except BaseException:
            for parent_fd, name in reversed(made):
                with suppress(OSError):  # somebody has put something in it
                    os.rmdir(name, dir_fd=parent_fd)
            raise


def write_at(place: Place, data: bytes, stop: Stop) -> None:
    """The file is `data`, on the disk, when this returns; mode and, where allowed, owner stay what they were."""
    temporary = f".lye-{secrets.token_hex(8)}.tmp"
    with explained(place.path):
        fd = os.open(temporary, _NEW, 0o666 if place.status is None else 0o600, dir_fd=place.fd)
        try:
            try:
                _fill(fd, data, stop)
                _take_over(fd, place.status)
                os.fsync(fd)
            finally:
                os.close(fd)
            _check_unchanged(place)
            stop.check()
            os.rename(temporary, place.name, src_dir_fd=place.fd, dst_dir_fd=place.fd)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=place.fd)
            raise
        _sync_folder(place.fd)


def _make(parent_fd: int, name: str, path: FilePath) -> bool:
    with explained(path):
        try:
            os.mkdir(name, dir_fd=parent_fd)
        except FileExistsError:
            return False
        return True


def _status(root: OpenRoot, fd: int, path: FilePath) -> os.stat_result | None:
    """The status of the file that is there, one that may be written; None when nothing is."""
    with explained(path):
        try:
            status = os.stat(path.parts[-1], dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        root.check_kind(status, path)
        opened = os.open(path.parts[-1], _EXISTING, dir_fd=fd)  # a rename would not ask whether it may be written
    try:
        root.check_kind(os.fstat(opened), path)
        root.check_place(opened, path)
    finally:
        os.close(opened)
    return status


def _fill(fd: int, data: bytes, stop: Stop) -> None:
    rest = memoryview(data)
    while rest:
        stop.check()
        rest = rest[os.write(fd, rest[:_PIECE_BYTES]) :]


def _take_over(fd: int, status: os.stat_result | None) -> None:
    if status is None:
        return
    mine = os.fstat(fd)
    if (mine.st_uid, mine.st_gid) != (status.st_uid, status.st_gid):
        with suppress(PermissionError):  # only root gives files away
            os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, stat.S_IMODE(status.st_mode) & 0o777)  # no set-user-id for what a model wrote


def _check_unchanged(place: Place) -> None:
    try:
        now = os.stat(place.name, dir_fd=place.fd, follow_symlinks=False)
    except FileNotFoundError:
        now = None
    if _identity(now) != _identity(place.status):
        raise FileFailed(f"{place.path.shown!r} was changed by somebody else meanwhile; read it and try again")


def _identity(status: os.stat_result | None) -> tuple[int, ...] | None:
    if status is None:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _lock(fd: int, path: FilePath, stop: Stop) -> None:
    """Hold the folder's lock until it is closed: two edits at once would each undo the other's."""
    import fcntl  # not on Windows, where lye can be imported all the same

    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        stop.check()
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return None
            if error.errno not in _TAKEN:
                raise failure(error, path) from error
            if time.monotonic() > deadline:
                raise FileFailed(
                    f"{path.shown!r} was not written: others have been writing in its folder for {_LOCK_WAIT_S:g} s;"
                    " try again"
                ) from error
        time.sleep(_LOCK_POLL_S)


def _sync_folder(fd: int) -> None:
    """The folder's entries on the disk: without it a power cut can undo a rename or a mkdir."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # this file system has no such thing
            raise
