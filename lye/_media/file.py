"""A file of the conversation that a tool was told of by name or id: whose it is, how large, and what by its bytes.

A model knows files by their names, as messages and tool results show them. The ids of files are for names that
occur twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lye._clean import clean
from lye._media.type import MediaType
from lye.errors import FileStoreNeeded, MediaFailed
from narrator import Attachment, FileNotFound, FileStore, ThreadNotFound
from tyler.tools import ToolContext

_MAX_LISTED = 20
_MAX_NAME_CHARS = 150


@dataclass(frozen=True)
class MediaFile:
    """A file's bytes, with the type that they have."""

    name: str
    content: bytes
    type: MediaType


def needs_files(ctx: ToolContext, what: str) -> FileStore:
    """The owner's files; FileStoreNeeded says what was not done without them."""
    if ctx.file_store is None:
        raise FileStoreNeeded(
            f"{what}: the agent has no file store; the developer can pass"
            " Agent(file_store=await FileStore.create('files'))"
        )
    return ctx.file_store


async def read_media(
    ctx: ToolContext, file: str, type_of: Callable[[bytes], MediaType | None], wanted: str, max_bytes: int
) -> MediaFile:
    """The file of this conversation with that name or id. Raises MediaFailed for one that is not, or not `wanted`.

    An id that no message here refers to may be another of the same owner's; of other owners' files, or of ids that
    nobody has, one hears the same.
    """
    files = needs_files(ctx, f"{_shown(file)} was not read")
    attachment = await _find(ctx, file.strip())
    name = _shown(attachment.filename)
    try:
        # A reference is saved only where the owner's own copy is there: a store without an owner reads everybody's.
        saved = await files.save(Attachment(filename=attachment.filename, file_id=attachment.file_id))
        if saved.size_bytes > max_bytes:
            raise MediaFailed(
                f"{name} has {saved.size_bytes:,} bytes, over the limit of {max_bytes:,}; use a smaller file"
            )
        content = await files.get(saved.file_id)
    except FileNotFound as error:
        raise MediaFailed(f"there is no file {name} in this conversation; attach it again") from error
    if not content:
        raise MediaFailed(f"{name} is empty; attach the file again")
    found = type_of(content[:64])
    if found is None:
        raise MediaFailed(f"{name} is not {wanted}, whatever its name says; name another file")
    return MediaFile(attachment.filename, content, found)


async def _find(ctx: ToolContext, file: str) -> Attachment:
    attached = await _attached(ctx)
    found = [each for each in attached if file == each.file_id] or [
        each for each in attached if file in (each.filename, clean(each.filename))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise MediaFailed(f"{len(found)} files are named {_shown(file)}; pass the file_id: {_listed(found)}")
    if re.fullmatch(r"[0-9a-f]{64}", file):
        return Attachment(filename=file, file_id=file)
    if ctx.thread_store is None:
        raise MediaFailed(
            f"{_shown(file)} cannot be found by its name, as the agent keeps no threads: pass a file_id, or the"
            " developer can pass Agent(thread_store=...)"
        )
    known = f"its files are: {_listed(attached)}" if attached else "it has no files; ask the user to attach one"
    raise MediaFailed(f"there is no file {_shown(file)} in this conversation; {known}")


async def _attached(ctx: ToolContext) -> list[Attachment]:
    """The conversation's files, the newest first, each once."""
    if ctx.thread_store is None:
        return []
    try:
        thread = await ctx.thread_store.get_thread(ctx.thread_id)
    except ThreadNotFound:
        return []
    every = [file for message in reversed(thread.messages) for file in message.attachments]
    return list({(file.file_id, file.filename): file for file in every}.values())


def _listed(files: list[Attachment]) -> str:
    lines = [f"{_shown(file.filename)} ({file.mime_type[:60]}, file_id {file.file_id})" for file in files[:_MAX_LISTED]]
    more = [f"and {len(files) - _MAX_LISTED} older ones"] if len(files) > _MAX_LISTED else []
    return ", ".join(lines + more)


def _shown(name: str) -> str:
    return repr(clean(name)[:_MAX_NAME_CHARS])
