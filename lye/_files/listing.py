"""A folder's files and folders as lines of text."""

from __future__ import annotations

from itertools import islice

from lye._files.glob import Glob
from lye._files.path import FilePath
from lye._files.root import Root
from lye._files.stoppable import Stop
from lye._files.walk import MAX_DEPTH, Entry, Walk
from lye.errors import FileFailed


def list_folder(root: Root, text: str, pattern: str | None, depth: int | None, max_entries: int, stop: Stop) -> str:
    """One line an entry. Without a pattern of the folder alone, with one of all beneath it, unless `depth` says so."""
    if depth is not None and depth < 1:
        raise FileFailed(f"depth={depth!r} is not above 0; use 1 for the folder alone")
    glob = None if pattern is None else Glob.of(pattern)
    with root.opened() as folder:
        path = folder.path(text)
        walk = Walk(folder, stop, min(depth or (MAX_DEPTH if glob else 1), MAX_DEPTH))
        fitting = (e for e in walk.entries(path) if glob is None or glob.fits(e.path.parts[len(path.parts) :]))
        found = list(islice(fitting, max_entries + 1))
    lines = [_line(entry) for entry in found[:max_entries]]
    return "\n".join([*_notes(walk, path, found, max_entries), *(lines or [_nothing(glob, pattern)])])


def _line(entry: Entry) -> str:
    remark = f"  [{entry.remark}]" if entry.remark else ""
    size = "" if entry.is_folder or entry.remark else f"  {entry.size_bytes:,} bytes"
    return f"{entry.path.shown}{'/' if entry.is_folder else ''}{size}{remark}"


def _nothing(glob: Glob | None, pattern: str | None) -> str:
    return "(the folder is empty)" if glob is None else f"(nothing fits pattern={pattern!r})"


def _notes(walk: Walk, path: FilePath, found: list[Entry], max_entries: int) -> list[str]:
    notes = [f"Folder: {path.shown}"]
    if len(found) > max_entries:
        notes.append(f"Only the first {max_entries:,} are shown; list a folder below, or pass a pattern")
    if walk.timed_out:
        notes.append("Not all was looked at: the time was up; list a folder below")
    if walk.left_out:
        notes.append(f"{walk.left_out:,} more names of very large folders were left out; pass another path")
    if walk.unread:
        notes.append(f"{walk.unread:,} folders could not be read")
    return [*notes, ""]
