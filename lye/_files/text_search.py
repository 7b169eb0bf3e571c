"""Searching the text files beneath a folder: the lines that hold a text, or fit a regular expression.

Plain text is searched in a thread. A regular expression can take longer than anyone lives, and nothing in the
process could stop it, so it runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

from lye._child import answer, ask_child
from lye._files.glob import Glob
from lye._files.path import FilePath
from lye._files.reading import read_bytes
from lye._files.root import OpenRoot, Root
from lye._files.secrets import Secrets
from lye._files.stoppable import Stop, in_thread
from lye._files.text import decode_file, plain_lines, shown_text
from lye._files.walk import Entry, Walk
from lye.errors import FileFailed, LyeError, PathRefused

MAX_QUERY_CHARS = 1_000
_SHOWN_CHARS = 300
_GRACE_S = 2.0  # for the process to start and to hand over what it found when the time is up
_LOOK_EVERY = 256
Finder = Callable[[str], int]  # where in a line the match begins, -1 if there is none


@dataclass(frozen=True)
class Query:
    """What is searched for, where, and how much of it."""

    query: str
    path: str
    regex: bool
    pattern: str | None
    ignore_case: bool
    max_matches: int
    max_file_bytes: int
    timeout_s: float

    def check(self) -> None:
        """FileFailed for a query that finds nothing or everything."""
        if not self.query or "\n" in self.query or len(self.query) > MAX_QUERY_CHARS:
            raise FileFailed(
                f"query={self.query[:100]!r} is nothing to search for; pass one line up to {MAX_QUERY_CHARS:,} letters"
            )
        if self.pattern is not None:
            Glob.of(self.pattern)


@dataclass
class Found:
    """Lines as (path, number, text), and what was not searched."""

    lines: list[tuple[str, int, str]] = field(default_factory=list)
    files: int = 0
    skipped: int = 0
    unseen: int = 0
    is_cut: bool = False
    timed_out: bool = False

    def show(self, query: Query) -> str:
        """The lines under a header that says how far the search went."""
        notes = [f"Lines with {query.query!r}: {len(self.lines):,}; files searched: {self.files:,}"]
        if self.is_cut:
            notes.append("There are more: these are the first; narrow it by path, pattern or query")
        if self.timed_out:
            notes.append(f"Not all was searched: the {query.timeout_s:g} s were up; narrow it by path or pattern")
        if self.skipped:
            notes.append(f"Not searched, for they are binary, too large, secret, links or unreadable: {self.skipped:,}")
        if self.unseen:
            notes.append(f"Folders or names not looked at: {self.unseen:,}")
        shown = [f"{path}:{number}: {text}" for path, number, text in self.lines]
        return "\n".join([*notes, "", *(shown or ["(no match)"])])


async def search(root: Root, query: Query) -> str:
    """The lines found; FileFailed for a query that is no regular expression, or one that did not end in time."""
    query.check()
    if not query.regex:
        found = await in_thread(lambda stop: _search(root, query, _literal(query), stop), query.timeout_s)
        return found.show(query)
    pinned = await in_thread(lambda stop: _checked(root, query))
    try:
        async with asyncio.timeout(query.timeout_s + _GRACE_S) as deadline:
            answered = await ask_child("lye._files.text_search:serve", {"root": asdict(pinned), "query": asdict(query)})
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise FileFailed(
            f"the regular expression {query.query!r} did not end within {query.timeout_s:g} s; make it simpler"
            " (no repetition within a repetition), narrow it by path or pattern, or search with regex=False"
        ) from error
    except OSError as error:
        raise FileFailed(f"the search could not be started ({error.strerror}); try again") from error
    if answered is None:
        raise FileFailed(f"the regular expression {query.query!r} takes too much memory; make it simpler")
    if "failed" in answered:
        raise FileFailed(str(answered["failed"]))
    return Found(**answered).show(query)


def serve() -> None:
    """The process's work: a search for a regular expression."""
    answer(lambda question, _: _search_regex(question))


def _search_regex(question: dict[str, Any]) -> dict[str, Any]:
    query = Query(**question["query"])
    try:
        regex = re.compile(query.query, re.IGNORECASE if query.ignore_case else 0)
    except (re.error, OverflowError, RecursionError) as error:
        return {"failed": f"{query.query!r} is no regular expression of Python's ({error}); correct it"}
    try:
        found = _search(_root_of(question["root"]), query, lambda line: _start(regex.search(line)), _stop_of(query))
    except LyeError as error:
        return {"failed": str(error)}
    return asdict(found)


def _start(match: re.Match[str] | None) -> int:
    return -1 if match is None else match.start()


def _stop_of(query: Query) -> Stop:
    return Stop(time.monotonic() + query.timeout_s)


def _root_of(fields: dict[str, Any]) -> Root:
    names = fields.pop("secrets")
    identity = tuple(fields.pop("identity"))
    secrets = Secrets(tuple(names["deny"]), tuple(names["allowed"]))
    return Root(secrets=secrets, identity=(identity[0], identity[1]), **fields)


def _checked(root: Root, query: Query) -> Root:
    """The root as it is now, for the process; what is wrong with the path is raised here, as its own error."""
    with root.opened() as folder:
        path = folder.path(query.path)
        with folder.folder(path) if folder.is_folder(path) else folder.file(path):
            return folder.pinned(root)


def _literal(query: Query) -> Finder:
    if not query.ignore_case:
        return lambda line: line.find(query.query)
    wanted = query.query.lower()
    return lambda line: line.lower().find(wanted)


def _search(root: Root, query: Query, find: Finder, stop: Stop) -> Found:
    found = Found()
    glob = None if query.pattern is None else Glob.of(query.pattern)
    with root.opened() as folder:
        path = folder.path(query.path)
        look = _Look(folder, query, find, stop, found)
        if not folder.is_folder(path):
            with folder.file(path) as file:
                look.at(file, path)
            return found
        walk = Walk(folder, stop)

        def each_file(fd: int, entry: Entry) -> None:
            if glob is None or glob.fits(entry.path.parts[len(path.parts) :]):
                look.in_folder(fd, entry.path)

        for entry in walk.entries(path, each_file):
            found.skipped += bool(entry.remark)
            if found.is_cut or found.timed_out:
                break
    found.timed_out = found.timed_out or walk.timed_out
    found.unseen = walk.unread + walk.left_out
    return found


@dataclass(frozen=True)
class _Look:
    """One search's way of looking at a file."""

    root: OpenRoot
    query: Query
    find: Finder
    stop: Stop
    found: Found

    def in_folder(self, fd: int, path: FilePath) -> None:
        """A file of a walk: what cannot be read is counted."""
        try:
            with self.root.file_in(fd, path) as file:
                self.at(file, path)
        except (FileFailed, PathRefused):
            self.found.skipped += 1

    def at(self, file: BinaryIO, path: FilePath) -> None:
        """An open file; FileFailed if it is no text."""
        data = read_bytes(file, path, self.query.max_file_bytes, self.stop)
        text = plain_lines(decode_file(data, path).text)
        self.found.files += 1
        if not self.query.regex and self.find(text) < 0:
            return
        for number, line in self._lines(text):
            start = self.find(line)
            if start < 0:
                continue
            if len(self.found.lines) == self.query.max_matches:
                self.found.is_cut = True
                return
            self.found.lines.append((path.shown, number, _around(line, start)))

    def _lines(self, text: str) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(text.split("\n"), 1):
            if number % _LOOK_EVERY == 0:
                self.stop.check()
                if self.stop.time_is_up:
                    self.found.timed_out = True
                    return
            yield number, line


def _around(line: str, start: int) -> str:
    """The line, of a long one what is around the match."""
    first = max(0, start - _SHOWN_CHARS // 3) if len(line) > _SHOWN_CHARS else 0
    part = line[first : first + _SHOWN_CHARS]
    return ("..." if first else "") + shown_text(part) + ("..." if first + _SHOWN_CHARS < len(line) else "")
