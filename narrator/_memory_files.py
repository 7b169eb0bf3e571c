"""Files in memory: the twin of `ThreadStore.create()`, for tests and notebooks. Gone when closed."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import BinaryIO

from narrator._blobs import BlobKey, StoredFile
from narrator._values import utc_now


class MemoryFiles:
    """Bytes in a dict; safe to use from many threads at once."""

    name = "in memory"

    def __init__(self) -> None:
        self.closed = False
        self._lock = threading.Lock()
        self._files: dict[BlobKey, tuple[bytes, StoredFile]] = {}

    def renew(self, key: BlobKey, size_bytes: int | None) -> int | None:
        with self._lock:
            content, _ = self._files.get(key, (None, None))
            if content is None or size_bytes not in (None, len(content)):
                return None
            self._keep(key, content)
            return len(content)

    def put(self, key: BlobKey, pieces: Iterable[bytes]) -> None:
        content = b"".join(pieces)
        with self._lock:
            self._keep(key, content)

    def _keep(self, key: BlobKey, content: bytes) -> None:
        self._files[key] = (content, StoredFile(*key, size_bytes=len(content), modified_at=utc_now()))

    def exists(self, key: BlobKey) -> bool:
        with self._lock:
            return key in self._files

    def owners(self, file_id: str) -> Sequence[str]:
        with self._lock:
            return sorted(k.owner_digest for k in self._files if k.file_id == file_id and k.owner_digest)

    def open(self, key: BlobKey) -> BinaryIO | None:
        with self._lock:
            content, _ = self._files.get(key, (None, None))
        return None if content is None else io.BytesIO(content)

    def delete(self, key: BlobKey, older_than: timedelta | None) -> bool:
        with self._lock:
            _, stored = self._files.get(key, (None, None))
            if stored is None or (older_than is not None and stored.modified_at > utc_now() - older_than):
                return False
            del self._files[key]
            return True

    def list(self) -> Iterator[Sequence[StoredFile]]:
        with self._lock:
            batch = [stored for _, stored in self._files.values()]
        yield sorted(batch, key=lambda stored: stored.key)

    def remove_stale_temporaries(self, older_than: timedelta) -> int:
        return 0

    def close(self) -> None:
        with self._lock:
            self.closed = True
            self._files.clear()
