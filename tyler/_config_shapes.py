"""Shapes: what a value of a configuration file must be, as a check whose errors name the place, and as JSON schema."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from narrator._values import clean_text
from narrator.errors import ConfigurationError
from tyler._config_node import Node, Place, shown

# Names whose value is a secret, in whatever spelling: api_key, apiKey, X-Api-Key, aws_secret_access_key, hf_token, ...
_SECRET = re.compile(r"(api[_-]?key|access[_-]?key|private[_-]?key|secret|password|authorization|(^|[_-])token)$", re.I)
_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$\{")
_USE_A_VARIABLE = "is a secret in clear; set an environment variable and write ${ITS_NAME} here"


@dataclass(frozen=True)
class Shape:
    """`read` gives the checked value or raises ConfigurationError; `schema` says the same to an editor."""

    read: Callable[[Node], Any]
    schema: Mapping[str, Any]


def text(*, variables: bool = False) -> Shape:
    """Text that is not blank; `variables`: with ${NAME} replaced."""

    def read(node: Node) -> str:
        if not isinstance(node.value, str):
            raise node.wrong("text", secret=variables)
        if not node.value.strip():
            raise node.place.error("is blank; write something, or take the key out")
        return with_variables(node.value, node.place) if variables else node.value

    return Shape(read, {"type": "string", "minLength": 1})


def secret() -> Shape:
    """Nothing but a ${NAME}."""

    def read(node: Node) -> str:
        if not isinstance(node.value, str) or not re.fullmatch(r"\$\{[^{}]*\}", node.value):
            raise node.place.error(_USE_A_VARIABLE)
        return with_variables(node.value, node.place)

    return Shape(read, {"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$"})


def address() -> Shape:
    """A URL; one with a password in clear is refused."""

    def read(node: Node) -> str:
        plain: str = text().read(node)
        if "://" not in plain and "${" not in plain:
            raise node.place.error("is no address; write one as in http://127.0.0.1:8000/v1")
        secrets = re.findall(r"://[^/?#@\s]*:([^/?#@\s]*)@", plain)
        secrets += [value for name, value in re.findall(r"[?&]([^=&#]*)=([^&#]*)", plain) if _SECRET.search(name)]
        if any("${" not in secret for secret in secrets):
            raise node.place.error(_USE_A_VARIABLE)
        return with_variables(plain, node.place)

    return Shape(read, {"type": "string", "minLength": 1})


def number(*, whole: bool) -> Shape:
    """A number, or null."""
    expected = "a whole number" if whole else "a number"

    def read(node: Node) -> int | float | None:
        if node.value is None:
            return None
        if isinstance(node.value, bool) or not isinstance(node.value, int if whole else int | float):
            raise node.wrong(f"{expected} or null")
        return node.value

    return Shape(read, {"type": ["integer" if whole else "number", "null"], "exclusiveMinimum": 0})


def truth() -> Shape:
    """true or false."""

    def read(node: Node) -> bool:
        if not isinstance(node.value, bool):
            raise node.wrong("true or false")
        return node.value

    return Shape(read, {"type": "boolean"})


def either(first: Shape, other: Shape, *, is_first: type) -> Shape:
    """The first shape where the value is of this type, else the other."""

    def read(node: Node) -> Any:
        return (first if isinstance(node.value, is_first) else other).read(node)

    return Shape(read, {"anyOf": [first.schema, other.schema]})


def texts() -> Shape:
    """A mapping of names to texts, with ${NAME} replaced; a secret in clear is refused."""
    any_values = values()

    def read(node: Node) -> dict[str, str]:
        for inner in entries(node).values():
            if not isinstance(inner.value, str):
                raise inner.wrong("text", secret=True)
        found: dict[str, str] = any_values.read(node)
        return found

    return Shape(read, {"type": "object", "additionalProperties": {"type": "string"}})


def list_of(item: Shape) -> Shape:
    """A list, each item of this shape."""

    def read(node: Node) -> list[Any]:
        if not isinstance(node.value, list):
            raise node.wrong("a list; each item behind a dash, or [] for none")
        return [item.read(inner) for inner in node.value]

    return Shape(read, {"type": "array", "items": item.schema})


def one_or_more(item: Shape) -> Shape:
    """One value of this shape, or a list of them; always read as a list."""
    many = list_of(item)

    def read(node: Node) -> list[Any]:
        return many.read(node) if isinstance(node.value, list) else [item.read(node)]

    return Shape(read, {"anyOf": [item.schema, many.schema]})


def record(fields: Mapping[str, Shape]) -> Shape:
    """A mapping with these keys and no others, none of them required."""

    def read(node: Node) -> dict[str, Any]:
        found = entries(node)
        for name, inner in found.items():
            if name not in fields:
                raise unknown(inner.place, name, fields)
        return {name: fields[name].read(inner) for name, inner in found.items()}

    properties = {name: shape.schema for name, shape in fields.items()}
    return Shape(read, {"type": "object", "properties": properties, "additionalProperties": False})


def values() -> Shape:
    """A mapping of whatever JSON can say, with ${NAME} replaced in its texts; a secret in clear is refused."""

    def read(node: Node) -> dict[str, Any]:
        return {name: _value(inner, name) for name, inner in entries(node).items()}

    return Shape(read, {"type": "object"})


def entries(node: Node) -> dict[str, Node]:
    """The mapping's entries; ConfigurationError when it is none."""
    if not isinstance(node.value, dict):
        raise node.wrong("a mapping of keys to values", secret=True)
    return node.value


def unknown(place: Place, name: str, known: Iterable[str]) -> ConfigurationError:
    """The error for a name that nothing has: with the one that it is near to, and all there are."""
    names = list(known)
    close = difflib.get_close_matches(name[:64].lower(), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return place.error(f"unknown key {shown(name)}; {hint}there are {', '.join(n for n in names if n[:1] != '$')}")


def with_variables(plain: str, place: Place) -> str:
    """The text with each ${NAME} replaced by the environment variable, and $${ by ${ itself.

    ConfigurationError for one that is not set or empty, and for what looks like one and is none.
    """

    def value_of(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        if match[1] is None:
            raise place.error("a ${ must go on as NAME}, as in ${OPENAI_API_KEY}; write $${ for the characters alone")
        value = os.environ.get(match[1], "")
        if not value:
            raise place.error(f"the environment variable {match[1]} is not set, or empty")
        if clean_text(value) != value:
            raise place.error(f"the environment variable {match[1]} is not UTF-8 text")
        return value

    return _VARIABLE.sub(value_of, plain)


def _value(node: Node, name: str) -> Any:
    if isinstance(node.value, dict):
        return {key: _value(inner, key) for key, inner in node.value.items()}
    if isinstance(node.value, list):
        return [_value(inner, name) for inner in node.value]
    if not isinstance(node.value, str):
        return node.value
    if _SECRET.search(name) and not re.search(r"(?<!\$)\$\{", node.value):
        raise node.place.error(_USE_A_VARIABLE)
    return with_variables(node.value, node.place)
