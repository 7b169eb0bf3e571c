"""Setup: what one run works with, the agent's configuration and the run's own options joined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, cast

from narrator import FileStore, ThreadStore
from tyler.approval import Approval
from tyler.budget import Budget
from tyler.context import ContextWindow
from tyler.model import Model
from tyler.output import Output
from tyler.tools import Tool


class RunOptions(TypedDict, total=False):
    """What `go`, `go_sync` and `stream` take beside the thread; each is for this run only."""

    wait_s: float
    """How long to wait for the thread's turn, 60 s unless given; then ThreadBusy."""
    deps: object
    """Anything: tools find it in their ToolContext. Not stored, not shown to the model."""
    budget: Budget
    """Instead of the agent's."""
    model: Model | str
    """Instead of the agent's, a Model or litellm's name of one."""
    model_params: Mapping[str, Any]
    """Provider parameters (`temperature`, `reasoning_effort`, ...), stronger than the agent's."""


@dataclass(frozen=True)
class Setup:
    """One run's configuration. Nothing in it changes while the run goes on."""

    model: Model
    params: Mapping[str, Any]
    purpose: str
    tools: Mapping[str, Tool]
    files: FileStore | None
    store: ThreadStore | None
    deps: object
    budget: Budget
    approval: Approval
    guard: bool = True
    output: Output[Any] | None = None
    window: ContextWindow | None = None


def checked(options: RunOptions) -> RunOptions:
    """TypeError for a name that is no option; nobody else checks `**options` at run time."""
    if unknown := sorted(options.keys() - RunOptions.__annotations__.keys()):
        known = ", ".join(RunOptions.__annotations__)
        raise TypeError(f"a run has no option {unknown[0]!r}; it takes {known} and output")
    return cast(RunOptions, dict(options))
