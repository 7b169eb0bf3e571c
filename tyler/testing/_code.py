"""Values as Python source in the common format: lines of 88 characters, double quotes, trailing commas. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_WIDTH = 88


@dataclass(frozen=True)
class Call:
    """A call to be written down: its keyword arguments, or one argument without a keyword."""

    name: str
    arguments: dict[str, Any]

    @classmethod
    def of(cls, name: str, argument: Any) -> Call:
        """With one argument, without a keyword."""
        return cls(name, {"": argument})


def source(value: Any, *, prefix: str = "", indent: int = 0) -> str:
    """`prefix` and the value as an expression: in one line if that fits, else an item a line."""
    return "\n".join(_lines(value, " " * indent + prefix, "", indent))


def calls_in(value: Any) -> set[str]:
    """The names of all calls in it."""
    own = {value.name} if isinstance(value, Call) else set()
    return own.union(*(calls_in(item) for _, item in _items(value)))


def text_literal(text: str) -> str:
    """A string literal that reads as this text; nothing in it is invisible or ends it early."""
    literal = repr(text)
    if literal.startswith('"') or text.count('"') > text.count("'"):
        return literal
    # repr has escaped every single quote in here, and nothing else by a backslash before a single quote
    return '"' + literal[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'


def _lines(value: Any, before: str, after: str, indent: int) -> list[str]:
    flat = before + _flat(value) + after
    items = _items(value)
    if len(flat) <= _WIDTH or not items:
        return [flat]
    opening, closing = _brackets(value)
    inner = indent + 4
    body = [line for name, item in items for line in _lines(item, " " * inner + name, ",", inner)]
    return [before + opening, *body, " " * indent + closing + after]


def _flat(value: Any) -> str:
    if isinstance(value, str):
        return text_literal(str.__str__(value))
    if isinstance(value, Call | dict | list):
        opening, closing = _brackets(value)
        return opening + ", ".join(name + _flat(item) for name, item in _items(value)) + closing
    return repr(value)


def _items(value: Any) -> Sequence[tuple[str, Any]]:
    if isinstance(value, Call):
        return [(f"{name}=" if name else "", item) for name, item in value.arguments.items()]
    if isinstance(value, dict):
        return [(f"{text_literal(key)}: ", item) for key, item in value.items()]
    return [("", item) for item in value] if isinstance(value, list) else []


def _brackets(value: Any) -> tuple[str, str]:
    if isinstance(value, Call):
        return f"{value.name}(", ")"
    return ("{", "}") if isinstance(value, dict) else ("[", "]")
