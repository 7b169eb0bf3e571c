"""FileStore: the bytes of attachments, kept under their sha256.

Here are the rules: which names are ids, how large a file may be, who sees what, and that bytes read are the
bytes saved. Where they lie is `_disk_files.py` or `_memory_files.py`. Which messages refer to them is the
thread store's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from types import TracebackType
from typing import BinaryIO, Self, TypeVar, TypeVarTuple

from narrator._blobs import BlobKey, Blobs, StoredFile
from narrator._disk_files import DiskFiles
from narrator._file_folder import open_folder
from narrator._file_reader import FileReader
from narrator._file_source import check_size, open_source
from narrator._memory_files import MemoryFiles
from narrator._settle import settled
from narrator._values import check_id
from narrator.attachment import Attachment
from narrator.errors import ConfigurationError, FileNotFound, StoreUnavailable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

DEFAULT_MAX_FILE_BYTES = 50 * 1024 * 1024
STALE_AFTER = timedelta(hours=1)


def owner_digest(owner: str) -> str:
    """The name under which an owner's files lie: the first 32 hex digits of the owner's sha256."""
    return hashlib.sha256(check_id(owner, "owner").encode()).hexdigest()[:32]


class FileStore:
    """Files by content: saved once whatever their names, whole or not at all, checked when read.

    Usable from any number of tasks, event loops, threads and processes at once. Made by `create`.

    A store without an owner is the operator's: it saves and deletes files that belong to nobody, and reads
    everybody's. `for_owner` gives a view that sees and writes one owner's files only.
    """

    def __init__(self, blobs: Blobs, max_file_bytes: int, digest: str = "") -> None:
        self._blobs = blobs
        self._max_file_bytes = max_file_bytes
        self._owner_digest = digest

    @classmethod
    async def create(
        cls,
        base_path: str | os.PathLike[str] | None = None,
        *,
        max_file_bytes: int = DEFAULT_MAX_FILE_BYTES,
    ) -> FileStore:
        """A store in the folder `base_path` (made if missing, 0700, `~` expanded), or in memory without one.

        Raises ConfigurationError for a path that cannot be a folder, StoreUnavailable for one that cannot be
        written.
        """
        if isinstance(max_file_bytes, bool) or not isinstance(max_file_bytes, int) or max_file_bytes < 1:
            raise ConfigurationError(f"max_file_bytes is {max_file_bytes!r}; pass a number of bytes above 0")
        if base_path is None:
            return cls(MemoryFiles(), max_file_bytes)
        return cls(DiskFiles(await settled(open_folder, base_path)), max_file_bytes)

    def for_owner(self, owner: str) -> FileStore:
        """A view on this owner's files only. The same bytes under two owners are two files.

        A view gives no view of another owner: ConfigurationError.
        """
        digest = owner_digest(owner)
        if self._owner_digest not in ("", digest):
            raise ConfigurationError(f"{self!r} sees one owner's files; call for_owner on the whole store")
        return FileStore(self._blobs, self._max_file_bytes, digest)

    @property
    def max_file_bytes(self) -> int:
        """The size limit of one file, in bytes."""
        return self._max_file_bytes

    def same_place(self, other: FileStore) -> bool:
        """Whether both keep their bytes in one place (owners' views aside)."""
        return self._blobs is other._blobs or (self._blobs.name == other._blobs.name and not self._in_memory())

    def _in_memory(self) -> bool:
        return isinstance(self._blobs, MemoryFiles)

    async def save(self, attachment: Attachment) -> Attachment:
        """The attachment as a reference (same file_id, no content or path), its bytes on the disk for good.

        Bytes that are there already are not written again; their `modified_at` becomes now. An attachment
        without bytes must be there already. Raises FileTooLarge before anything is written, FileNotFound
        when the bytes are missing or no longer those of the file_id, StoreUnavailable when they cannot be
        written. Cancelled, it finishes the write first.
        """
        size_bytes = await self._run(self._save, attachment)
        return attachment.model_copy(update={"content": None, "path": None, "size_bytes": size_bytes})

    def _save(self, attachment: Attachment) -> int:
        key = self._key(attachment.file_id)
        if attachment.content is None and attachment.path is None:
            return self._renew(key, attachment)
        size_bytes = attachment.size_bytes if attachment.content is None else len(attachment.content)
        check_size(attachment, size_bytes, self._max_file_bytes)
        if self._blobs.renew(key, size_bytes) is None:
            with open_source(attachment, self._max_file_bytes) as pieces:
                self._blobs.put(key, pieces)
        return size_bytes

    def _renew(self, key: BlobKey, attachment: Attachment) -> int:
        size_bytes = self._blobs.renew(key, None)
        if size_bytes is None:
            raise self._missing(key.file_id)
        if attachment.size_bytes not in (0, size_bytes):
            raise StoreUnavailable(
                f"file {key.file_id!r} of {self._blobs.name!r} has {size_bytes} bytes and attachment"
                f" {attachment.filename!r} says {attachment.size_bytes}; attach the file's bytes again"
            )
        return size_bytes

    async def get(self, file_id: str) -> bytes:
        """The file's bytes. Raises FileNotFound, or StoreUnavailable when they are not those saved."""
        return await self._run(self._get, file_id)

    def _get(self, file_id: str) -> bytes:
        reader = FileReader(file_id, self._blobs.name, lambda: self._find(file_id))
        try:
            reader.open_now()
            return reader.read_now()
        finally:
            reader.close_now()

    @asynccontextmanager
    async def open(self, file_id: str) -> AsyncIterator[FileReader]:
        """A reader for a large file: `async with store.open(file_id) as file`. Raises as `get` does."""
        reader = FileReader(file_id, self._blobs.name, lambda: self._find(file_id))
        try:
            await self._run(reader.open_now)
            yield reader
        finally:
            await settled(reader.close_now)

    async def exists(self, file_id: str) -> bool:
        """Whether `get` would find it."""
        return await self._run(self._exists, file_id)

    def _exists(self, file_id: str) -> bool:
        if not _is_file_id(file_id):
            return False
        return self._blobs.exists(self._key(file_id)) or (not self._owner_digest and bool(self._blobs.owners(file_id)))

    async def delete(self, file: str | StoredFile, *, older_than: timedelta | None = None) -> bool:
        """Whether a file was removed; one that is not there is no error.

        A file id means this store's own copy: the unowned one, or the view's owner's. A StoredFile from
        `list` means that very copy. With `older_than`, a file saved (also: saved again) more recently stays,
        which is decided and done in one step: no concurrent save can lose its bytes.
        """
        key = file.key if isinstance(file, StoredFile) else BlobKey(file, self._owner_digest)
        if not _is_file_id(key.file_id) or self._owner_digest not in ("", key.owner_digest):
            return False
        return await self._run(self._blobs.delete, key, older_than)

    async def list(self) -> AsyncIterator[StoredFile]:
        """Each copy, by id: all owners', or the view's owner's. No snapshot: saves go on meanwhile."""
        batches = self._blobs.list()
        while (batch := await self._run(next, batches, None)) is not None:
            for stored in batch:
                if self._owner_digest in ("", stored.owner_digest):
                    yield stored

    async def remove_stale_temporaries(self, older_than: timedelta = STALE_AFTER) -> int:
        """How many unfinished files, left by killed writers, were removed (`narrator gc` does it)."""
        return await self._run(self._blobs.remove_stale_temporaries, older_than)

    async def close(self) -> None:
        """End the use of this store and its views; files in memory are gone. Closing a view does nothing."""
        if not self._owner_digest:
            self._blobs.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"FileStore({self._blobs.name!r}{', one owner' if self._owner_digest else ''})"

    async def _run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        if self._blobs.closed:
            raise StoreUnavailable(f"{self!r} is closed; make a new one with FileStore.create")
        return await settled(function, *args)

    def _key(self, file_id: str) -> BlobKey:
        if not _is_file_id(file_id):
            raise self._missing(file_id)
        return BlobKey(file_id, self._owner_digest)

    def _find(self, file_id: str) -> BinaryIO:
        key = self._key(file_id)
        file = self._blobs.open(key)
        if file is None and not self._owner_digest:
            copies = (self._blobs.open(BlobKey(file_id, digest)) for digest in self._blobs.owners(file_id))
            file = next((copy for copy in copies if copy is not None), None)
        if file is None:
            raise self._missing(file_id)
        return file

    def _missing(self, file_id: str) -> FileNotFound:
        shown = file_id if len(str(file_id)) <= 80 else f"{str(file_id)[:80]}..."
        hint = "" if _is_file_id(file_id) else "; a file id is the file_id of a saved Attachment, 64 hex digits"
        return FileNotFound(f"no file {shown!r} in {self!r}{hint}")


def _is_file_id(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")
