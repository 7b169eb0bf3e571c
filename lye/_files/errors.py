"""What the system says of a file, in words that tell the model what to do next."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from lye._files.path import FilePath
from lye.errors import FileFailed, PathRefused

_NEXT_STEPS = {
    errno.ENOENT: "does not exist; call list_files to see what there is",
    errno.ENOTDIR: "is not a folder; call list_files on the folder above it",
    errno.EISDIR: "is a folder; call list_files to see what is in it",
    errno.ENAMETOOLONG: "has too long a name; use a shorter one",
    errno.EACCES: "may not be opened by this program; use another file, or ask the developer for the permission",
    errno.EPERM: "may not be changed by this program; use another file, or ask the developer for the permission",
    errno.EROFS: "is on a disk that is read-only; ask the developer",
    errno.ENOSPC: "was not written, the disk is full; ask the developer to free some space",
    errno.EDQUOT: "was not written, the disk quota is used up; ask the developer to free some space",
    errno.EFBIG: "was not written, it is larger than this program may write; write less",
    errno.EMFILE: "was not opened, this program has too many files open; try again",
    errno.ENFILE: "was not opened, this machine has too many files open; try again",
}


def failure(error: OSError, path: FilePath) -> FileFailed | PathRefused:
    """The error to raise for one of the system's."""
    if error.errno == errno.ELOOP:
        return PathRefused(f"{path.shown!r} is a link, and links are not followed; use the real path")
    known = _NEXT_STEPS.get(error.errno or 0)
    return FileFailed(f"{path.shown!r} {known or f'could not be used ({error.strerror or error}); try again'}")


@contextmanager
def explained(path: FilePath) -> Iterator[None]:
    """A block whose OSErrors become FileFailed."""
    try:
        yield
    except OSError as error:
        raise failure(error, path) from error
