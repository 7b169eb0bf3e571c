"""Budget: what one run may use up before it ends with a status that says which (promise P14)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, fields
from typing import Literal, TypeVar

from narrator import Usage
from narrator.errors import ConfigurationError

T = TypeVar("T")
Limit = Literal["step_limit", "tool_call_limit", "time_limit", "token_limit", "cost_limit"]


@dataclass(frozen=True)
class Budget:
    """The limits of one run; None is no limit. ConfigurationError for one that is not above 0.

    `steps`: model calls. `tool_calls`: tools that are run; the calls beyond get a result that says so. `seconds`: from
    the moment that the run has its thread's turn; a model or tool that is at work then is stopped, as by a
    cancellation. `tokens`: input and output of all its model calls. `cost_usd`: of those whose price is known; a run
    with a model of unknown price ends behind its first answer, since its cost cannot be watched. Tokens and cost are
    known once an answer is there, so the last one may go beyond them.
    """

    steps: int | None = 50
    tool_calls: int | None = None
    seconds: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            limit = getattr(self, field.name)
            if limit is not None and not (isinstance(limit, int | float) and limit > 0):
                raise ConfigurationError(f"the budget's {field.name} is {limit!r}; it must be above 0, or None")

    def used_up(self, steps: int, usage: Usage) -> Limit | None:
        """The limit that forbids another model call, by what the run's own calls have used."""
        if self.steps is not None and steps >= self.steps:
            return "step_limit"
        if self.tokens is not None and usage.input_tokens + usage.output_tokens >= self.tokens:
            return "token_limit"
        if self.cost_usd is not None and steps and (usage.cost_usd is None or usage.cost_usd >= self.cost_usd):
            return "cost_limit"
        return None


class OutOfTime(Exception):
    """The budget's seconds are over, and something was under way."""


class Deadline:
    """When a run's time is over: `seconds` from now on, or never."""

    def __init__(self, seconds: float | None) -> None:
        self.at = None if seconds is None else asyncio.get_running_loop().time() + seconds

    def left_s(self) -> float | None:
        """Seconds until then, None where there is no limit."""
        return None if self.at is None else max(self.at - asyncio.get_running_loop().time(), 0)

    async def wait(self, work: Awaitable[T]) -> T:
        """What `work` brings; at the end of the time it is cancelled, and OutOfTime raised."""
        try:
            async with asyncio.timeout_at(self.at) as limit:
                return await work
        except TimeoutError as error:
            if limit.expired():
                raise OutOfTime from error
            raise
