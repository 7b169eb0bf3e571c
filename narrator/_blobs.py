"""The seam under FileStore: where bytes go, without any rule about them.

Disk and memory implement it. All methods block; FileStore calls them in worker threads, several at
once, from any event loop. Names, limits, owners' rights and checksums are FileStore's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, NamedTuple, Protocol


class BlobKey(NamedTuple):
    """The address of one owner's copy of some bytes. Both parts are plain hex, checked by FileStore."""

    file_id: str
    owner_digest: str  # "" for nobody's


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One stored copy: its id, whose it is, its size, and when it was last saved.

    `owner_digest` is `owner_digest(owner)`, or "" for a file without an owner. `modified_at` (aware, UTC)
    is renewed whenever the same bytes are saved again.
    """

    file_id: str
    owner_digest: str
    size_bytes: int
    modified_at: datetime

    @property
    def key(self) -> BlobKey:
        """Where this copy lies."""
        return BlobKey(self.file_id, self.owner_digest)


class Blobs(Protocol):
    """Whole byte strings under keys. OSError never leaves it: StoreUnavailable, naming the place."""

    closed: bool

    @property
    def name(self) -> str:
        """The place, for people: a folder, "in memory"."""

    def renew(self, key: BlobKey, size_bytes: int | None) -> int | None:
        """The stored size, with `modified_at` set to now; None when absent or of another size than asked."""

    def put(self, key: BlobKey, pieces: Iterable[bytes]) -> None:
        """Store the pieces as one, durably and all at once; when `pieces` raises, nothing is stored."""

    def exists(self, key: BlobKey) -> bool:
        """Whether there is a copy under this key."""

    def owners(self, file_id: str) -> Sequence[str]:
        """The digests of the owners with a copy of this id, in order."""

    def open(self, key: BlobKey) -> BinaryIO | None:
        """A seekable reader at its start, or None. It stays readable if the copy is deleted meanwhile."""

    def delete(self, key: BlobKey, older_than: timedelta | None) -> bool:
        """Whether a copy was removed; with `older_than`, never one that was saved more recently."""

    def list(self) -> Iterator[Sequence[StoredFile]]:
        """Every copy, a batch at a time."""

    def remove_stale_temporaries(self, older_than: timedelta) -> int:
        """How many leftovers of killed writers, last written to longer ago than that, were removed."""

    def close(self) -> None:
        """Let go of what is held."""
