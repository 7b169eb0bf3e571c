"""Baseline: what a Thread object last saw stored, so that a save can tell what is new."""

from __future__ import annotations

from dataclasses import dataclass, field

from narrator.message import Message


@dataclass
class Baseline:
    """What a Thread object last saw stored. Belongs to one object; `edited` is filled by its messages."""

    database: object  # which database this is about; a thread saved to another one is new there
    key: int
    revision: int
    title: str | None
    metadata: dict[str, str]  # key -> JSON text
    messages: list[Message] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)
    edited: set[str] = field(default_factory=set)
