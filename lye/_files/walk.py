"""Everything beneath a folder of the opened one: names in order, links never followed, secrets never entered."""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lye._files.errors import explained
from lye._files.path import FilePath, is_plain
from lye._files.root import OpenRoot, kind_of, open_folder
from lye._files.stoppable import Stop
from lye.errors import LyeError

MAX_DEPTH = 40
_MAX_NAMES_SORTED = 10_000  # of one folder; with more, memory would grow with the folder
_LOOK_EVERY = 512


@dataclass(frozen=True)
class Entry:
    """A name of a folder. `remark` says why it is not opened, "" if it may be."""

    path: FilePath
    depth: int
    is_folder: bool
    size_bytes: int
    remark: str


@dataclass
class Walk:
    """A walk of one call, and what it did not see."""

    root: OpenRoot
    stop: Stop
    max_depth: int = MAX_DEPTH
    left_out: int = 0
    unread: int = 0
    timed_out: bool = False

    def entries(self, path: FilePath, each_file: Callable[[int, Entry], None] | None = None) -> Iterator[Entry]:
        """The entries below `path`, each folder before what is in it.

        `each_file` is called with the descriptor of the folder for each regular file that may be opened.
        """
        with self.root.folder(path) as fd:
            yield from self._below(fd, path, 1, each_file)

    def _below(
        self, fd: int, path: FilePath, depth: int, each_file: Callable[[int, Entry], None] | None
    ) -> Iterator[Entry]:
        for name in self._names(fd, path):
            self.stop.check()
            if self.stop.time_is_up:
                self.timed_out = True
            if self.timed_out:
                return
            entry = self._entry(fd, path / name, depth)
            if entry is None:
                continue
            if each_file is not None and not entry.is_folder and not entry.remark:
                each_file(fd, entry)
            yield entry
            if entry.is_folder and not entry.remark and depth < self.max_depth:
                try:
                    inner = open_folder(fd, name, entry.path)
                except LyeError:  # gone, swapped or shut since
                    self.unread += 1
                    continue
                try:
                    yield from self._below(inner, entry.path, depth + 1, each_file)
                finally:
                    os.close(inner)

    def _names(self, fd: int, path: FilePath) -> list[str]:
        """The names in order; of a huge folder the first ones."""
        seen = 0

        def looked_at() -> Iterator[str]:
            nonlocal seen
            with explained(path), os.scandir(fd) as found:
                for entry in found:
                    seen += 1
                    if seen % _LOOK_EVERY == 0:
                        self.stop.check()
                        if self.stop.time_is_up:
                            self.timed_out = True
                            return
                    yield entry.name

        try:
            names = heapq.nsmallest(_MAX_NAMES_SORTED, looked_at())
        except LyeError:
            if path.parts and seen == 0:
                self.unread += 1
                return []
            raise
        self.left_out += seen - len(names)
        return names

    def _entry(self, fd: int, path: FilePath, depth: int) -> Entry | None:
        try:
            status = os.stat(path.parts[-1], dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None  # removed since the folder was read
        except OSError:
            return Entry(path, depth, False, 0, "cannot be looked at")
        is_folder = stat.S_ISDIR(status.st_mode)
        return Entry(path, depth, is_folder, status.st_size, self._remark(status, path))

    def _remark(self, status: os.stat_result, path: FilePath) -> str:
        if not is_plain(path.parts[-1]):
            return "name with control characters, not opened"
        if self.root.secrets.is_shut(path, since=len(path.parts) - 1):
            return "may hold secrets, not opened"
        if stat.S_ISDIR(status.st_mode):
            return ""
        if not stat.S_ISREG(status.st_mode):
            return f"{kind_of(status)}, not opened"
        if status.st_nlink > 1 and not self.root.allow_hard_links:
            return "hard link, not opened"
        return ""
