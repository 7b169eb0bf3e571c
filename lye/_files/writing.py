"""Writing and editing one file, as the tools do it."""

from __future__ import annotations

from lye._files.atomic_write import place_of, write_at
from lye._files.edit import edit_text
from lye._files.path import FilePath
from lye._files.reading import read_bytes
from lye._files.root import Root
from lye._files.stoppable import Stop
from lye._files.text import decode_file
from lye.errors import FileFailed


def write_path(root: Root, text_path: str, content: str, max_bytes: int, stop: Stop) -> str:
    """The file is `content`; says whether it is new."""
    with root.opened() as folder:
        path = folder.path(text_path)
        data = _encoded(path, content, max_bytes)
        with place_of(folder, path, stop, make_folders=True) as place:
            write_at(place, data, stop)
    if place.status is None:
        return f"Wrote the new file {path.shown!r}, {len(data):,} bytes."
    return f"Wrote {path.shown!r}, {len(data):,} bytes in place of {place.status.st_size:,}."


def edit_path(root: Root, text_path: str, old: str, new: str, max_bytes: int, stop: Stop) -> str:
    """The file has `new` where it had `old`; says at which line."""
    with root.opened() as folder:
        path = folder.path(text_path)
        with place_of(folder, path, stop, make_folders=False) as place:
            with folder.file_in(place.fd, path) as file:
                data = read_bytes(file, path, max_bytes, stop)
            found = decode_file(data, path)
            if found.encode(found.text) != data:
                raise FileFailed(f"{path.shown!r} is no sound {found.charset}; an edit would damage it")
            edited = edit_text(found.text, old, new, path)
            try:
                changed = found.encode(edited.text)
            except UnicodeEncodeError as error:
                wrong = error.object[error.start : error.start + 1]
                raise FileFailed(
                    f"{path.shown!r} is {found.charset}, which has no {wrong!r}; write without it"
                ) from error
            _check_size(path, len(changed), max_bytes)
            write_at(place, changed, stop)
    return f"Edited {path.shown!r} at line {edited.line:,}; it has {len(changed):,} bytes now."


def _encoded(path: FilePath, content: str, max_bytes: int) -> bytes:
    try:
        data = content.encode()
    except UnicodeEncodeError as error:
        raise FileFailed(
            f"the content for {path.shown!r} has half a character, {content[error.start]!r}; leave it out"
        ) from error
    _check_size(path, len(data), max_bytes)
    return data


def _check_size(path: FilePath, size_bytes: int, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise FileFailed(
            f"{path.shown!r} would have {size_bytes:,} bytes, over the limit of {max_bytes:,}; write less,"
            " or in several files"
        )
