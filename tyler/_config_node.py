"""Node: a value of a configuration file that knows its line and key path. Read from YAML, JSON or TOML, and hostile
ones refused: other tags than plain ones, aliases, duplicate keys, deep nesting. What values mean is not known here.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from narrator._values import clean_text
from narrator.errors import ConfigurationError
from tyler._text_file import TextUnreadable, read_text

MAX_FILE_BYTES = 128 * 1024
MAX_DEPTH = 30
_MAX_SHOWN_CHARS = 60


@dataclass(frozen=True)
class Place:
    """Where in which file; the line is None where the format does not tell it (JSON, TOML)."""

    file: str
    line: int | None = None
    path: str = ""

    def key(self, name: str, line: int | None = None) -> Place:
        """The place of a mapping's entry."""
        plain = re.fullmatch(r"[\w$-]+", name, re.ASCII)
        path = (f"{self.path}.{name}" if self.path else name) if plain else f"{self.path}[{shown(name)}]"
        return replace(self, line=line or self.line, path=path)

    def item(self, index: int, line: int | None = None) -> Place:
        """The place of a list's item."""
        return replace(self, line=line or self.line, path=f"{self.path}[{index}]")

    def error(self, text: str) -> ConfigurationError:
        """The error to raise: file, line, key path, and what is wrong."""
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return ConfigurationError(": ".join(part for part in (printable(where), self.path, text) if part))


@dataclass(frozen=True)
class Node:
    """A value with its place. Texts can be stored as they are, numbers are finite."""

    value: str | int | float | bool | list[Node] | dict[str, Node] | None
    place: Place

    def wrong(self, expected: str, *, secret: bool = False) -> ConfigurationError:
        """The error to raise where something else was expected; `secret`: the value is not shown."""
        return self.place.error(f"must be {expected}, not {self._named(secret)}")

    def _named(self, secret: bool) -> str:
        if isinstance(self.value, bool):
            word = "true" if self.value else "false"
            return f"{word} (YAML takes yes, no, on and off for that too; quotes make them text)"
        if self.value is None:
            return "empty"
        if isinstance(self.value, str):
            return "text" if secret else f"the text {shown(self.value)}"
        if isinstance(self.value, int | float):
            return "a number" if secret else f"the number {shown(self.value)}"
        return "a list" if isinstance(self.value, list) else "a mapping"


def printable(text: str) -> str:
    """The text; what could steer a terminal as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shown(value: object) -> str:
    """The value's repr, shortened."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = _MAX_SHOWN_CHARS
    return short.repr(value)


def read_node(path: Path) -> Node:
    """The file as one Node, by its suffix. ConfigurationError with file and line for whatever is wrong with it."""
    place = Place(str(path))
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise place.error(f"the suffix is {path.suffix!r}; name the file .yaml, .yml, .json or .toml")
    try:
        text = read_text(path, MAX_FILE_BYTES)
    except TextUnreadable as error:
        raise place.error(str(error)) from error
    return parse(text, place)


def parse_yaml(text: str, place: Place) -> Node:
    """A YAML document as a Node; lines count from the place's line, if it has one."""
    import yaml  # on first use

    before = (place.line or 1) - 1

    def at(mark: Any) -> Place:
        return replace(place, line=before + mark.line + 1)

    try:
        _check_events(yaml, text, at)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # Not chained, here and below: the parser's own message quotes the line, and there may be a key in it.
        raise (at(mark) if mark else place).error(f"is no YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise replace(place, line=before + line).error(
            f"is no YAML: the character {chr(error.character)!r} is not allowed; write it as an escape in double quotes"
        ) from None
    if root is None:
        raise place.error("is empty")
    return _of_yaml(yaml, root, at(root.start_mark), at)


def _check_events(yaml: Any, text: str, at: Callable[[Any], Place]) -> None:
    """What must be refused before anything is built of it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise at(event.start_mark).error(f"the alias *{event.anchor} is not taken; write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise at(event.start_mark).error(f"is nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _of_yaml(yaml: Any, node: Any, place: Place, at: Callable[[Any], Place]) -> Node:
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        items = enumerate(node.value)
        return Node([_of_yaml(yaml, v, place.item(i, at(v.start_mark).line), at) for i, v in items], place)
    if isinstance(node, yaml.MappingNode) and kind == "map":
        entries: dict[str, Node] = {}
        for key, value in node.value:
            here = at(key.start_mark).line
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                what = shown(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise replace(place, line=here).error(f"a key must be text, not {what}; quotes make it text")
            name = _checked_text(key.value, replace(place, line=here))
            if name in entries:
                raise place.key(name, here).error(f"is there twice, first in line {entries[name].place.line}")
            entries[name] = _of_yaml(yaml, value, place.key(name, here), at)
        return Node(entries, place)
    if isinstance(node, yaml.ScalarNode) and kind in ("str", "int", "float", "bool", "null"):
        return Node(_checked_scalar(_scalar(yaml, node, kind, place), place), place)
    if kind == "timestamp":
        raise place.error(f"{shown(node.value)} is read as a date; quotes make it text")
    raise place.error(f"the tag {shown('!!' + kind if kind != node.tag else kind)} is not taken; write plain values")


def _scalar(yaml: Any, node: Any, kind: str, place: Place) -> Any:
    text = node.value
    if kind == "str":
        # YAML 1.1 takes 1e-3 for text, since it has no point; nobody means that.
        bare = node.style is None and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text, re.ASCII)
        return float(text) if bare else text
    if kind in ("int", "float") and ":" in text:
        raise place.error(f"{shown(text)} is read as a number to base 60; quotes make it text")
    try:
        return getattr(yaml.SafeLoader(""), f"construct_yaml_{kind}")(node)
    except (ValueError, KeyError, IndexError) as error:  # an explicit tag, as in !!int abc; or 5,000 digits
        raise place.error(f"{shown(text)} cannot be read as {kind}") from error


def _parse_json(text: str, place: Place) -> Node:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(found)
        if len(entries) < len(found):
            names = [name for name, _ in found]
            raise place.error(f"the key {shown(next(n for n in names if names.count(n) > 1))} is there twice")
        return entries

    def constant(word: str) -> NoReturn:
        raise place.error(f"{word} is no number")

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        wrong = "is empty" if not text.strip() else f"is no JSON: {error.msg}"
        raise replace(place, line=error.lineno).error(wrong) from error
    except RecursionError as error:
        raise place.error(f"is nested deeper than {MAX_DEPTH} levels") from error
    except ConfigurationError:  # from the functions above, and a ValueError too
        raise
    except ValueError as error:  # a number of more than 4,300 digits
        raise place.error(f"is no JSON: {error}") from error
    return _of_plain(value, place, 1)


def _parse_toml(text: str, place: Place) -> Node:
    try:
        return _of_plain(tomllib.loads(text), place, 1)
    except tomllib.TOMLDecodeError as error:
        raise place.error(f"is no TOML: {error}") from error
    except RecursionError as error:
        raise place.error(f"is nested deeper than {MAX_DEPTH} levels") from error


def _of_plain(value: Any, place: Place, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise place.error(f"is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        named = {_checked_text(name, place): inner for name, inner in value.items()}
        return Node({name: _of_plain(inner, place.key(name), depth + 1) for name, inner in named.items()}, place)
    if isinstance(value, list):
        return Node([_of_plain(inner, place.item(i), depth + 1) for i, inner in enumerate(value)], place)
    if value is None or isinstance(value, str | int | float):
        return Node(_checked_scalar(value, place), place)
    raise place.error(f"{shown(str(value))} is read as a date; quotes make it text")


def _checked_scalar(value: Any, place: Place) -> Any:
    if isinstance(value, str):
        return _checked_text(value, place)
    if isinstance(value, float) and not math.isfinite(value):
        raise place.error(f"{value!r} is no number that can be sent")
    return value


def _checked_text(text: str, place: Place) -> str:
    if clean_text(text) != text:
        raise place.error("there is a NUL or half a character (a lone surrogate) in it")
    return text


_PARSERS: Mapping[str, Callable[[str, Place], Node]] = {
    ".yaml": parse_yaml,
    ".yml": parse_yaml,
    ".json": _parse_json,
    ".toml": _parse_toml,
}
