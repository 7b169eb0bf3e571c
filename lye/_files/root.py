"""The opened folder: files and folders beneath it, opened so that no path leads out.

Each name is opened from the folder before it, and no link is followed, so what another process moves or swaps
meanwhile cannot lead elsewhere. What a path may say is `path.py`'s, which names are secrets `secrets.py`'s.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from lye._files.errors import explained, failure
from lye._files.path import FilePath, absolute, parse_path
from lye._files.secrets import Secrets
from lye.errors import FileFailed, PathRefused

WORKING_FOLDER = "."
_FOLDER = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
# Opening a FIFO must not wait for its writer, nor a terminal become this process's own.
_FILE = os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class Root:
    """A folder by its place, and its identity when it was opened up; the place "." is where the program stands."""

    place: str
    identity: tuple[int, int] | None
    secrets: Secrets
    allow_hard_links: bool = False
    named: str = ""  # as the developer wrote it: absolute paths below it are taken, too

    @classmethod
    def of(cls, place: str | os.PathLike[str], secrets: Secrets, allow_hard_links: bool) -> Self:
        """ValueError where there is no such folder. Links in `place` itself are the developer's, and followed now."""
        if not os.fspath(place):
            raise ValueError("root is ''; pass the folder to open up, or '.' for where the program stands")
        if os.fspath(place) == WORKING_FOLDER:
            return cls(WORKING_FOLDER, None, secrets, allow_hard_links)
        try:
            real = os.path.realpath(place, strict=True)
            status = os.stat(real)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"root is {os.fspath(place)!r}, which cannot be opened ({error}); make it first"
            ) from error
        if not stat.S_ISDIR(status.st_mode):
            raise ValueError(f"root is {os.fspath(place)!r}, which is no folder; pass the folder to open up")
        return cls(real, (status.st_dev, status.st_ino), secrets, allow_hard_links, absolute(place))

    @contextmanager
    def opened(self) -> Iterator[OpenRoot]:
        """The folder, for the calls of one block. PathRefused when another folder has taken its place."""
        _check_system()
        places = (self.place, self.named or self.place) if self.identity else (_working_folder(),)
        try:
            fd = os.open(self.place, _FOLDER)
        except OSError as error:
            raise FileFailed(
                f"the opened folder cannot be entered ({error.strerror}); the developer must put it back"
            ) from error
        try:
            status = os.fstat(fd)
            if self.identity not in (None, (status.st_dev, status.st_ino)):
                raise PathRefused(
                    "another folder has taken the place of the opened one;"
                    " the developer can open that one: files_tools(...)"
                )
            yield OpenRoot(fd, places, self.secrets, self.allow_hard_links)
        finally:
            os.close(fd)


@dataclass(frozen=True)
class OpenRoot:
    """The opened folder's descriptor, and what may be opened from it. Everything here blocks: call it in a thread."""

    fd: int
    places: tuple[str, ...]
    secrets: Secrets
    allow_hard_links: bool = False

    def path(self, text: str) -> FilePath:
        """The path that the model wrote; PathRefused if it leads out or names a secret."""
        path = parse_path(text, self.places)
        self.secrets.check(path)
        return path

    def pinned(self, root: Root) -> Root:
        """The root by its absolute place and identity, for another process."""
        status = os.fstat(self.fd)
        return Root(self.places[0], (status.st_dev, status.st_ino), root.secrets, root.allow_hard_links, root.named)

    def is_folder(self, path: FilePath) -> bool:
        """Whether the path is a folder now; FileFailed when there is nothing."""
        if not path.parts:
            return True
        with self.folder(FilePath(path.parts[:-1])) as fd, explained(path):
            return stat.S_ISDIR(os.stat(path.parts[-1], dir_fd=fd, follow_symlinks=False).st_mode)

    @contextmanager
    def folder(self, path: FilePath) -> Iterator[int]:
        """A descriptor of the folder."""
        with explained(path):
            fd = os.dup(self.fd)
        try:
            for depth in range(len(path.parts)):
                name = path.parts[depth]
                inner = open_folder(fd, name, FilePath(path.parts[: depth + 1]))
                os.close(fd)
                fd = inner
            self.check_place(fd, path)
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def file(self, path: FilePath) -> Iterator[BinaryIO]:
        """The regular file, for reading."""
        if not path.parts:
            raise FileFailed("'.' is the opened folder, not a file; call list_files to see what is in it")
        with self.folder(FilePath(path.parts[:-1])) as folder_fd, self.file_in(folder_fd, path) as file:
            yield file

    @contextmanager
    def file_in(self, folder_fd: int, path: FilePath) -> Iterator[BinaryIO]:
        """The regular file of the path's last name in a folder that is open already."""
        name = path.parts[-1]
        with explained(path):
            self.check_kind(os.stat(name, dir_fd=folder_fd, follow_symlinks=False), path)
            fd = os.open(name, os.O_RDONLY | _FILE, dir_fd=folder_fd)
        with os.fdopen(fd, "rb", buffering=0) as file:
            self.check_kind(os.fstat(fd), path)  # again: it may be another one since
            self.check_place(fd, path)
            yield file

    def check_kind(self, status: os.stat_result, path: FilePath) -> None:
        """Refuse all but a regular file of one name."""
        if stat.S_ISDIR(status.st_mode):
            raise FileFailed(f"{path.shown!r} is a folder; call list_files to see what is in it")
        if not stat.S_ISREG(status.st_mode):
            raise PathRefused(f"{path.shown!r} is {kind_of(status)}, which these tools never open; use a regular file")
        if status.st_nlink > 1 and not self.allow_hard_links:
            raise PathRefused(
                f"{path.shown!r} has {status.st_nlink} names (hard links), so it may be a file from elsewhere; use"
                " another one (the developer can open such files: files_tools(allow_hard_links=True))"
            )

    def check_place(self, fd: int, path: FilePath) -> None:
        """Look at where the system says that an open file lies: beneath the folder, under no secret name.

        The name on the disk can differ from the one asked for where case or form do not count, and a folder may
        have been moved out while it was entered. Where the system does not say, the checks by name stand alone.
        """
        root_place, place = _real_place(self.fd), _real_place(fd)
        if root_place is None or place is None or place == root_place:
            return
        inside = root_place.rstrip("/") + "/"
        if not place.startswith(inside):
            raise PathRefused(f"{path.shown!r} was moved while it was opened; list the folder and try again")
        real = FilePath(tuple(place[len(inside) :].removesuffix(" (deleted)").split("/")))
        if real != path and self.secrets.is_shut(real):
            raise PathRefused(f"{path.shown!r} is another name of a file that may hold secrets; work without it")


def open_folder(parent_fd: int, name: str, path: FilePath) -> int:
    """A descriptor of the folder `name`; a link is refused."""
    try:
        return os.open(name, _FOLDER, dir_fd=parent_fd)
    except OSError as error:
        try:
            status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except OSError:
            raise failure(error, path) from error
        if stat.S_ISLNK(status.st_mode):
            raise PathRefused(f"{path.shown!r} is a link, and links are not followed; use the real path") from error
        raise failure(error, path) from error


def kind_of(status: os.stat_result) -> str:
    """What it is, if it is neither a file nor a folder: "a link", "a FIFO"."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")


def _check_system() -> None:
    if os.open not in os.supports_dir_fd or not hasattr(os, "O_NOFOLLOW"):
        raise FileFailed(f"on {sys.platform!r} files cannot be opened safely beneath a folder; use Linux or macOS")


def _working_folder() -> str:
    """Where the program stands, unless that is the whole disk or somebody's home."""
    try:
        place = os.getcwd()
    except OSError as error:
        raise FileFailed("the working folder is gone; the developer must start the program in another one") from error
    if place in _homes():
        raise PathRefused(
            f"the program runs in {place!r}, which is too much to open up unasked;"
            " the developer can name a folder: files_tools('data')"
        )
    return place


def _homes() -> set[str]:
    """The user's homes, by HOME and by the system's list, links followed, and the folders above them."""
    homes = {os.path.expanduser("~"), _listed_home()}
    paths = [Path(place) for home in homes for place in (absolute(home), os.path.realpath(home))]
    return {"/", *(str(folder) for path in paths for folder in (path, *path.parents))}


def _listed_home() -> str:
    try:
        import pwd  # not on Windows, where lye can be imported all the same

        return pwd.getpwuid(os.getuid()).pw_dir
    except (ImportError, KeyError):  # a user by number only, as in containers
        return "/"


def _real_place(fd: int) -> str | None:
    try:
        if sys.platform == "darwin":
            import fcntl

            return os.fsdecode(fcntl.fcntl(fd, fcntl.F_GETPATH, bytes(1_024)).rstrip(b"\0"))
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None
