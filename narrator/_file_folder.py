"""The folder of a FileStore: made, checked and named absolutely, so that a bad one fails at create()."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from narrator._disk_files import sync_folder, write_new
from narrator.errors import ConfigurationError, StoreUnavailable

_WRONG_NAME = {errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}


def open_folder(base_path: str | os.PathLike[str]) -> Path:
    """The absolute path of a folder that takes files; missing ones are made (0700) down from the first.

    `~` is expanded. ConfigurationError when the name cannot be a folder's, StoreUnavailable when the
    system refuses.
    """
    base = _absolute(base_path)
    try:
        _make(base)
        probe = base / f".tmp-{secrets.token_hex(8)}"
        try:
            write_new(probe, [b"?"])
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _WRONG_NAME:
            raise ConfigurationError(
                f"base_path {str(base)!r} cannot be a folder: {reason}; name another place for the files"
            ) from error
        raise StoreUnavailable(
            f"cannot write files to folder {str(base)!r}: {reason};"
            f" give this user the right to write there, free some space, or name another base_path"
        ) from error
    return base


def _absolute(base_path: str | os.PathLike[str]) -> Path:
    if not isinstance(base_path, str | os.PathLike) or not isinstance(os.fspath(base_path), str):
        raise ConfigurationError(f"base_path {base_path!r} is no path; pass a str or a pathlib.Path")
    if not os.fspath(base_path).strip() or "\x00" in os.fspath(base_path):
        raise ConfigurationError(
            f"base_path {os.fspath(base_path)!r} names no folder; pass one, or leave it out to keep files in memory"
        )
    try:
        os.fsencode(base_path)
        return Path(base_path).expanduser().absolute()
    except (
        UnicodeError,
        RuntimeError,
        OSError,
    ) as error:  # no file name; no such user's home; no current folder
        raise ConfigurationError(f"base_path {str(base_path)!r} cannot be resolved: {error}") from error


def _make(folder: Path) -> None:
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():  # else another process was quicker
            raise
    sync_folder(folder.parent)
