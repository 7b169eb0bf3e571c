"""What a tool's calls touch, for the guard: private data, untrusted content, the world outside."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Literal, get_args

Touch = Literal["private", "untrusted", "outward"]
Touches = Collection[Touch] | Callable[[dict[str, Any]], Collection[Touch]]


def touches_of(name: str, touches: Touches, arguments: dict[str, Any]) -> frozenset[Touch]:
    """What the tool of this name says of a call; everything, where its function cannot say."""
    try:
        found = touches(arguments) if callable(touches) else touches
    except (LookupError, TypeError, ValueError, AttributeError):  # of arguments that do not fit
        return frozenset(get_args(Touch))
    return check_touches(name, found)


def check_touches(name: str, touches: Collection[Touch]) -> frozenset[Touch]:
    """As a set; ValueError for other words, naming the tool."""
    if isinstance(touches, str) or not set(touches) <= set(get_args(Touch)):
        raise ValueError(f"tool {name!r}: touches={touches!r} must be a collection of {get_args(Touch)}")
    return frozenset(touches)


def touches_by_risk(risk: str, effect: str) -> frozenset[Touch]:
    """The careful reading of a tool that says nothing: what an application's own tool finds is its private data."""
    if risk == "external":
        return frozenset({"outward", "untrusted"} if effect == "read" else {"outward"})
    return frozenset({"private"})
