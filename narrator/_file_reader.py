"""FileReader: a stored file read in pieces, its checksum verified along the way."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO

from narrator._file_source import PIECE_BYTES
from narrator._settle import settled
from narrator.errors import StoreUnavailable


class FileReader:
    """What `store.open(file_id)` gives: `await file.read(n)`, or `async for piece in file`.

    It reads forward, for one consumer. The last bytes are handed out only when the whole file has the
    sha256 that its id says; else StoreUnavailable is raised in their place.
    """

    def __init__(self, file_id: str, place: str, opener: Callable[[], BinaryIO]) -> None:
        self.file_id = file_id
        self.size_bytes = 0
        self._place = place
        self._opener = opener
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._position = 0
        self._lock = threading.Lock()

    async def read(self, size_bytes: int = -1) -> bytes:
        """The next `size_bytes` bytes, fewer at the end, b"" after it; all the rest when negative."""
        return await settled(self.read_now, size_bytes)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read(PIECE_BYTES):
            yield piece

    def open_now(self) -> None:
        """Open it, in this thread."""
        self._file = self._opener()
        self.size_bytes = self._file.seek(0, 2)
        self._file.seek(0)

    def read_now(self, size_bytes: int = -1) -> bytes:
        """As `read`, in this thread."""
        if self._file is None:
            raise ValueError("the file is closed; read it inside `async with store.open(...)`")
        if size_bytes == 0:
            return b""
        with self._lock:
            try:
                piece = self._file.read(size_bytes)
            except OSError as error:
                reason = error.strerror or str(error)
                raise StoreUnavailable(
                    f"cannot read file {self.file_id!r} of {self._place!r}: {reason}; check the disk"
                ) from error
            self._digest.update(piece)
            self._position += len(piece)
            if self._position >= self.size_bytes or not piece:
                self._verify()
            return piece

    def close_now(self) -> None:
        """Close it, in this thread."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _verify(self) -> None:
        if self._digest.hexdigest() != self.file_id:
            raise StoreUnavailable(
                f"file {self.file_id!r} of {self._place!r} is damaged: its bytes have another sha256;"
                f" restore it from a backup, or delete it and save it again"
            )
