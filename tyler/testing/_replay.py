"""replay: a stored conversation against the agent as it is now. No model is asked, and no tool run unless named."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, Unpack

from narrator import FileStore, Thread
from tyler._setup import RunOptions
from tyler.agent import Agent
from tyler.testing._player import Player
from tyler.testing._record import exchanges_of
from tyler.testing._report import ReplayReport, ReplayStep
from tyler.tools import as_tool


async def replay(
    thread: Thread,
    agent: Agent,
    *,
    run_tools: Iterable[str | Callable[..., Any]] = (),
    **options: Unpack[RunOptions],
) -> ReplayReport:
    """How the agent of today gets through a recorded conversation; `report.assert_same()` makes a test of it.

    Each group of inputs is answered by one `go`, on a throw-away copy of the thread with the recorded messages before
    it. The model says what is recorded, and tools give the recorded results: none is run but those of `run_tools`
    (names, or the tools themselves), whose results are compared. Those get the thread's id and owner, no thread store,
    and an empty file store in memory. What was not run then is not run now. Neither the thread nor the agent's stores
    are touched. The options are those of `go` but `model`. Raises ValueError for a name in `run_tools` that the agent
    does not have.
    """
    if not isinstance(thread, Thread):
        raise TypeError(f"replay takes a Thread, not {type(thread).__name__}; load it with await store.get_thread(...)")
    if "model" in options:
        raise TypeError("replay plays the model's part itself; leave out model=")
    exchanges = exchanges_of(thread.messages)
    player = Player(agent, exchanges, _names(run_tools, agent), await FileStore.create())
    copied = Thread(id=thread.id, title=thread.title, owner=thread.owner, metadata=copy.deepcopy(dict(thread.metadata)))
    steps: list[ReplayStep] = []
    for number, exchange in enumerate(exchanges, 1):
        copied.messages += [copy.copy(message) for message in exchange.inputs]
        start = len(copied.messages)
        steps += await player.play(number, exchange, copied, options)
        recorded = [message for step in (*exchange.steps, *exchange.behind) for message in step.messages()]
        copied.messages[start:] = recorded  # so that one difference does not lead to others
    return ReplayReport(thread.id, steps, player.model.requests)


def _names(run_tools: Iterable[str | Callable[..., Any]], agent: Agent) -> set[str]:
    if isinstance(run_tools, str):
        raise TypeError(f"run_tools={run_tools!r} is text; pass a list of tools, as in run_tools=[{run_tools!r}]")
    names = {entry if isinstance(entry, str) else as_tool(entry).name for entry in run_tools}
    if unknown := sorted(names - agent.tools_by_name.keys()):
        raise ValueError(f"run_tools names {unknown[0]!r}, and the agent has only {sorted(agent.tools_by_name)!r}")
    return names
