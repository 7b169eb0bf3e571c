"""What a store tells of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StoreStatus:
    """What `narrator status` shows. `url` has its password hidden; `latency_ms` is one round trip."""

    backend: str
    url: str
    schema_version: str
    threads: int
    messages: int
    files: int
    latency_ms: float


@dataclass(frozen=True)
class InitReport:
    """What `initialize` did: schema versions before (None: there were no tables) and after, SQLite's backup."""

    before: str | None
    after: str
    backup_path: Path | None
