"""A case: one question that is measured, and what its plot shows. The cases themselves are the modules beside."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from benchmarks.harness.figure import Figure

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """What a case may use: a model server's root, an empty PostgreSQL database, a folder. `quick`: tiny sizes."""

    model_url: str
    postgres_url: str
    folder: Path
    quick: bool = False
    soak_turns: int = 1_000

    def as_json(self) -> str:
        """For another process."""
        return json.dumps({**asdict(self), "folder": str(self.folder)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The setting that `as_json` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "folder": Path(fields["folder"])})

    def size(self, full: T, quick: T) -> T:
        """The one of the two that is wanted."""
        return quick if self.quick else full

    def model(self, script: str = "text") -> str:
        """The base URL, ending in /v1, of the server's answers by `script`."""
        return f"{self.model_url}/{script}/v1"


@dataclass(frozen=True)
class Plot:
    """Lines over a number, or groups of bars over words; of the figures that have an `x`."""

    x_label: str
    y_label: str
    kind: str = "lines"
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Case:
    """`measure` returns the figures; `note` stands under their table.

    Cases with the same word in `shares` have one database and folder, in the order of running.
    """

    name: str
    title: str
    measure: Callable[[Setting], Coroutine[Any, Any, list[Figure]]]
    note: str
    plot: Plot | None = None
    shares: str = ""
