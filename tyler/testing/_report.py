"""What a replay brought to light, for people: as text, as the message of a failed test, as a table in notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from narrator._html import table
from tyler.model import Request
from tyler.testing._shown import shown

Kind = Literal["tool", "arguments", "definition", "result", "extra_request", "missing_request", "error"]
_CONTEXT_CHARS, _EXCERPT_CHARS, _LINE_CHARS = 60, 600, 160


@dataclass(frozen=True)
class Difference:
    """One thing that is not as recorded, in the exchange of this number (the first is 1).

    `kind`: "tool" (it is gone, or exists now), "arguments" (they do not fit any more, or do now), "definition" (the
    tool is not offered in the request), "result" (of a tool that was run), "extra_request", "missing_request", "error".
    """

    kind: Kind
    exchange: int
    what: str
    recorded: str = field(default="", repr=False)
    now: str = field(default="", repr=False)

    def __str__(self) -> str:
        lines = [f"exchange {self.exchange}: {self.what}"]
        if self.recorded or self.now:
            start = _first_difference(self.recorded, self.now)
            lines += [f"    - {line}" for line in _excerpt(self.recorded, start)]
            lines += [f"    + {line}" for line in _excerpt(self.now, start)]
        return "\n".join(lines)


@dataclass(frozen=True)
class ReplayStep:
    """One line of a replay: who (a role, "call", "note"), what, and what is different there."""

    exchange: int
    who: str
    what: str
    differences: Sequence[Difference] = ()


@dataclass(frozen=True, repr=False)
class ReplayReport:
    """The outcome of `replay`: `same`, or the `differences`. As text it shows every step.

    `requests` are those that the agent made: what a model would see today of each point of the conversation.
    """

    thread_id: str
    steps: Sequence[ReplayStep]
    requests: Sequence[Request]

    @property
    def differences(self) -> list[Difference]:
        """In the order of the conversation."""
        return [difference for step in self.steps for difference in step.differences]

    @property
    def same(self) -> bool:
        """Whether everything is as recorded."""
        return not self.differences

    def assert_same(self) -> None:
        """AssertionError with the differences, unless everything is as recorded."""
        if not self.same:
            raise AssertionError("\n".join([self._summary(), *map(str, self.differences)]))

    def __str__(self) -> str:
        lines = [self._summary()]
        for step in self.steps:
            mark = "!" if step.differences else " "
            lines.append(f"{mark} {step.exchange:>3} {step.who:<9} {step.what}")
            lines += [f"      {line}" for found in step.differences for line in str(found).splitlines()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Short, for pytest shows it where `assert report.same` fails."""
        told = "".join(f"; {shown(found.what, _LINE_CHARS)}" for found in self.differences[:5])
        return f"<{self._summary()}{told}>"

    def _repr_html_(self) -> str:
        rows = [
            (step.exchange, step.who, step.what, "\n".join(map(str, step.differences)) or "as recorded")
            for step in self.steps
        ]
        return table(self._summary(), ("exchange", "who", "what", "today"), rows)

    def _summary(self) -> str:
        count = len(self.differences)
        told = "as recorded" if count == 0 else f"{count} difference{'s' if count > 1 else ''}"
        return f"replay of thread {self.thread_id!r}: {told}"


def _first_difference(one: str, other: str) -> int:
    """Where the texts part."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _excerpt(text: str, start: int) -> list[str]:
    """Some lines around this place."""
    first = max(start - _CONTEXT_CHARS, 0)
    cut = text[first : start + _EXCERPT_CHARS]
    before, behind = "..." if first else "", "..." if start + _EXCERPT_CHARS < len(text) else ""
    return [shown(line, _EXCERPT_CHARS) for line in f"{before}{cut}{behind}".split("\n")]
