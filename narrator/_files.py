"""Attachments of saved messages: bytes first, then the row; removal the other way round (promise P9).

The row of a file in `narrator_files` is the lock that savers and removers share: a saver looks at the bytes
again while it holds it, a remover unlinks them while it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from narrator._backend import Backend, Transaction
from narrator._saving import Write
from narrator._settle import settled_task
from narrator.errors import FileStoreMissing
from narrator.file_store import FileStore, owner_digest


@dataclass(frozen=True)
class GarbageReport:
    """What a garbage collection removed, or with `dry_run` would remove."""

    removed: int
    freed_bytes: int


async def save_all(write: Write, files: FileStore | None, owner: str | None) -> list[tuple[str, str, str, int]]:
    """Save the attachments' bytes; the references to write: (message id, owner, file id, bytes)."""
    refs = []
    for message in write.changes.written:
        for attachment in message.attachments:
            if files is None:
                raise FileStoreMissing(
                    f"message {message.id!r} has the attachment {attachment.filename!r} and this thread store has no "
                    "file store for its bytes; make it with ThreadStore.create(url, file_store=...)"
                )
            reference = await _of(files, write.ref.owner, owner).save(attachment)
            refs.append((message.id, write.ref.owner, reference.file_id, reference.size_bytes))
    return refs


async def verify(write: Write, files: FileStore | None, owner: str | None) -> None:
    """Make sure, with the files' rows locked, that no remover took the bytes since they were saved."""
    if files is None or not write.files:
        return
    store = _of(files, write.ref.owner, owner)
    for message in write.changes.written:
        for attachment in message.attachments:
            # Looks at this owner's own copy only, writes it again if it has the bytes, else raises FileNotFound.
            await store.save(attachment)


async def drop(backend: Backend, files: FileStore, owner: str, file_id: str, older: timedelta | None = None) -> bool:
    """Remove a file's bytes unless a message refers to it; whether they were removed."""

    async def work(tx: Transaction, _attempt: int) -> bool:
        if not await tx.drop_file(owner, file_id):
            return False
        return await _of(files, owner, None).delete(file_id, older_than=older)

    return await settled_task(backend.run(work, write=True))


async def collect_garbage(backend: Backend, files: FileStore, grace: timedelta, dry_run: bool) -> GarbageReport:
    """Remove every stored file that no message refers to and that was not saved within `grace`."""
    removed = freed_bytes = 0
    cutoff = datetime.now(UTC) - grace
    async for stored in files.list():
        if stored.modified_at > cutoff:
            continue

        async def work(tx: Transaction, _attempt: int, stored=stored) -> bool:  # type: ignore[no-untyped-def]
            if not dry_run:
                await tx.lock_file(stored.file_id)
            owners = {_digest(owner): owner for owner in await tx.file_owners(stored.file_id)}
            owner = owners.get(stored.owner_digest)
            if dry_run:
                return owner is None or (owner, stored.file_id) in await tx.unreferenced()
            if owner is not None and not await tx.drop_file(owner, stored.file_id):
                return False
            return await files.delete(stored, older_than=grace)

        if await settled_task(backend.run(work, write=not dry_run)):
            removed += 1
            freed_bytes += stored.size_bytes
    if not dry_run:
        await files.remove_stale_temporaries()
    return GarbageReport(removed, freed_bytes)


def _of(files: FileStore, thread_owner: str, view_owner: str | None) -> FileStore:
    """The files of the thread's owner; the view of an owner already shows only those."""
    return files.for_owner(thread_owner) if thread_owner and view_owner is None else files


def _digest(owner: str) -> str:
    return owner_digest(owner) if owner else ""
