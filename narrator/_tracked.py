"""JSON containers that note their own edits, so that a save need not compare what it never touched.

A message's metadata and content parts are made of these. Once the message is stored, each carries a
watch: the set of edited message ids of its thread, and the message's id. A change adds the id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from narrator._values import MAX_ID_CHARS, MAX_JSON_DEPTH, check_number, clean_text

Watch = tuple[set[str], str]


class TrackedDict(dict[str, Any]):
    """A dict whose changes mark its message as edited."""

    __slots__ = ("_watch",)
    _watch: Watch | None

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return track(self, "value")

    def __reduce__(self) -> Any:
        return TrackedDict, (), None, None, iter(self.items())  # without its watch: an unpickled copy is nobody's

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(_key(key, "metadata"), _adopt_into(self, value, f"[{key!r}]"))

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def __ior__(self, other: Any) -> TrackedDict:  # type: ignore[override, misc]
        self.update(other)
        return self


class TrackedList(list[Any]):
    """A list whose changes mark its message as edited."""

    __slots__ = ("_watch",)
    _watch: Watch | None

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return track(self, "value")

    def __reduce__(self) -> Any:
        return type(self), (), None, iter(self)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            super().__setitem__(index, [self._take(item) for item in value])
        else:
            super().__setitem__(index, self._take(value))

    def append(self, value: Any) -> None:
        super().append(self._take(value))

    def insert(self, index: Any, value: Any) -> None:
        super().insert(index, self._take(value))

    def extend(self, values: Any) -> None:
        super().extend([self._take(value) for value in values])

    def __iadd__(self, values: Any) -> TrackedList:  # type: ignore[misc]
        self.extend(values)
        return self

    def _take(self, value: Any) -> Any:
        return _adopt_into(self, value, "[]")


class TrackedItems(TrackedList):
    """A tracked list of frozen models (tool calls, attachments)."""

    __slots__ = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return TrackedItems(self)

    def _take(self, value: Any) -> Any:
        if not isinstance(value, BaseModel):
            raise TypeError(f"a {type(value).__name__} does not belong here; append a ToolCall or an Attachment")
        return value


def _marking(method: Callable[..., Any]) -> Callable[..., Any]:
    def marked(self: Any, *args: Any, **kwargs: Any) -> Any:
        mark(self)
        return method(self, *args, **kwargs)

    marked.__name__ = method.__name__
    return marked


for _name in ("__setitem__", "__delitem__", "pop", "popitem", "clear"):
    setattr(TrackedDict, _name, _marking(getattr(TrackedDict, _name)))
_LIST_EDITS = ("append", "insert", "extend", "pop", "remove", "clear", "sort", "reverse")
for _name in ("__setitem__", "__delitem__", "__imul__", *_LIST_EDITS):
    setattr(TrackedList, _name, _marking(getattr(TrackedList, _name)))


def mark(container: Any) -> None:
    """Note that the container's message was edited; nothing happens while it is not stored."""
    if watch := getattr(container, "_watch", None):
        watch[0].add(watch[1])


def track(value: Any, path: str, depth: int = 0) -> Any:
    """A checked copy of a JSON value made of tracked containers; ValueError names the path of what is not JSON."""
    if depth > MAX_JSON_DEPTH:
        raise ValueError(f"{path} is nested deeper than {MAX_JSON_DEPTH} levels")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean_text(str.__str__(value))
    if isinstance(value, int | float):
        return check_number(value, path)
    if isinstance(value, dict):
        tracked = TrackedDict()
        for key, item in value.items():
            dict.__setitem__(tracked, _key(key, path), track(item, f"{path}[{key!r}]", depth + 1))
        return tracked
    if isinstance(value, list | tuple):
        return TrackedList(track(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value))
    hint = "; store its .isoformat()" if hasattr(value, "isoformat") else ""
    raise ValueError(f"{path} is a {type(value).__name__}, which is not JSON{hint}")


def wrap(value: Any, watch: Watch) -> Any:
    """Tracked containers around JSON that came from the database, watched from the start."""
    if type(value) is dict:
        tracked_dict = TrackedDict()
        for key, item in value.items():
            dict.__setitem__(tracked_dict, key, wrap(item, watch))
        tracked_dict._watch = watch
        return tracked_dict
    if type(value) is list:
        tracked_list = TrackedList([wrap(item, watch) for item in value])
        tracked_list._watch = watch
        return tracked_list
    return value


def set_watch(value: Any, watch: Watch | None) -> None:
    """Let the containers in a value report to this watch from now on."""
    if isinstance(value, TrackedDict | TrackedList):
        value._watch = watch
        for item in value.values() if isinstance(value, dict) else value:
            set_watch(item, watch)


def _adopt_into(parent: Any, value: Any, path: str) -> Any:
    tracked = track(value, path)
    set_watch(tracked, getattr(parent, "_watch", None))
    return tracked


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        raise ValueError(f"{path} has the key {key!r}; keys are strings")
    if key != clean_text(key):
        raise ValueError(f"{path} has the key {key!r}; NUL and surrogates are not allowed in keys")
    if len(key) > MAX_ID_CHARS:
        raise ValueError(f"{path} has a key of {len(key)} characters ({key[:40]!r}...); at most {MAX_ID_CHARS}")
    return str.__str__(key)
