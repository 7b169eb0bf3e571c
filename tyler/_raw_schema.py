"""RawSchema: a tool's parameters from a JSON schema that somebody else wrote, such as an MCP server.

The schema may be hostile: it is bounded here, nothing is fetched for it, and none of its regular expressions is
run, for one of them can keep the interpreter busy for ever. Who wrote the schema checks the arguments again anyway.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

MAX_SCHEMA_CHARS = 50_000
_MAX_DEPTH = 50
_MAX_REFERENCES = 2_000  # a few lines of $refs can ask for more checks than there are atoms
_MAX_PROBLEMS = 8
_MAX_QUOTE_CHARS = 200
_SHOWN_CONTROLS = "\n\t\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
_NOT_CHECKED = ("pattern", "patternProperties", "unevaluatedProperties", "unevaluatedItems", "uniqueItems")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_OBJECT = TypeAdapter(dict[str, JsonValue], config=ConfigDict(allow_inf_nan=False, hide_input_in_errors=True))


class RawSchema:
    """What `tools.Parameters` asks for, from `json_schema`; the function gets the context, then keywords.

    Raises ValueError for a schema that no model could be given: not of type object, no valid JSON schema, over
    50,000 characters, or nested over 50 deep.
    """

    def __init__(self, description: str, json_schema: dict[str, Any], origin: str = "", version: str = "") -> None:
        self.description = description
        self.origin = origin  # where the tool is defined, for messages
        self.version = version  # another one whenever anything about the definition is, also what models do not see
        self.json_schema = _checked(json_schema)
        self._followed = 0

    def parse(self, arguments: str, context: object) -> tuple[list[Any], dict[str, Any]]:
        """The context and the checked arguments; raises ValidationError."""
        values = _OBJECT.validate_json(arguments)
        problems = [_problem(path, message) for path, message in self._problems(values)]
        if problems:
            raise ValidationError.from_exception_data("arguments", problems)
        return [context], values

    def explain(self, error: ValidationError) -> str:
        """One line for each mistake: where it is, and what was expected."""
        lines = []
        for problem in error.errors(include_url=False, include_input=False)[:_MAX_PROBLEMS]:
            where = ".".join(map(str, problem["loc"]))
            wanted = {"json_invalid": "; send one JSON object", "dict_type": ": a JSON object with the parameters"}
            lines.append(f"- {where + ': ' if where else ''}{problem['msg']}{wanted.get(problem['type'], '')}")
        return "\n".join(lines)

    def _problems(self, values: dict[str, Any]) -> Iterator[tuple[list[str | int], str]]:
        """What is wrong with the values; nothing where it cannot be told within bounds."""
        from referencing import Registry

        self._followed = 0
        # This registry retrieves nothing; the default one opens any URL that a $ref names.
        checks = self._dialect(self.json_schema, registry=Registry())
        try:
            for error in checks.iter_errors(values):
                yield list(error.absolute_path), _quote(error.message)
        except _UNCHECKABLE + _unresolvable():
            return

    @cached_property
    def _dialect(self) -> Any:
        """The schema's dialect without what runs regular expressions or takes long, and with an end to references."""
        from jsonschema import validators

        dialect = _dialect_of(self.json_schema)
        known = dict(dialect.VALIDATORS)
        references = {name: self._limited(known[name]) for name in _REFERENCES if name in known}
        additional = {"additionalProperties": _additional(known["additionalProperties"])}
        return validators.extend(dialect, dict.fromkeys(_NOT_CHECKED, _nothing) | references | additional)

    def _limited(self, follow: Callable[..., Any]) -> Callable[..., Any]:
        def follow_once_more(*args: Any) -> Any:
            self._followed += 1
            if self._followed > _MAX_REFERENCES:
                raise _TooManyReferences
            return follow(*args)

        return follow_once_more


def clean_words(text: str) -> str:
    """Words for a model without what people do not see: control, formatting and private characters."""
    return "".join(
        c for c in text if c in _SHOWN_CONTROLS or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co")
    ).strip()


class _TooManyReferences(Exception):
    """The check has followed 2,000 references."""


# A huge number, a malformed $id, a schema that leads into itself: who wrote the schema will check the arguments.
_UNCHECKABLE = (_TooManyReferences, RecursionError, ArithmeticError, ValueError)


def _unresolvable() -> tuple[type[Exception], ...]:
    from referencing.exceptions import Unresolvable

    return (Unresolvable,)


def _checked(schema: dict[str, Any]) -> dict[str, Any]:
    """A private copy of the schema with clean words."""
    if schema.get("type") != "object":
        raise ValueError(f"its schema is of type {_quote(repr(schema.get('type')))}, not 'object'")
    if not isinstance(schema.get("$schema", ""), str):
        raise ValueError(f"its $schema is {_quote(repr(schema['$schema']))}, no URI")
    try:
        size = len(json.dumps(schema, allow_nan=False))
        if size > MAX_SCHEMA_CHARS:
            raise ValueError(f"its schema has {size:,} characters; at most {MAX_SCHEMA_CHARS:,} are taken")
        copy: dict[str, Any] = _with_clean_words(schema, 0)
        _dialect_of(copy)
    except RecursionError as error:
        raise ValueError("its schema is nested too deep") from error
    return {"properties": {}} | copy


def _dialect_of(schema: dict[str, Any]) -> Any:
    """The dialect that it names; unnamed, 2020-12 (which MCP says) or else draft 7 (which many servers mean)."""
    from jsonschema import validators

    named = validators.validator_for(schema, default=validators.Draft202012Validator)
    problem = _invalid(schema, named)
    if problem is not None and "$schema" not in schema and _invalid(schema, validators.Draft7Validator) is None:
        return validators.Draft7Validator
    if problem is not None:
        raise ValueError(f"its schema is no valid JSON schema: {_quote(problem)}")
    return named


def _invalid(schema: dict[str, Any], dialect: Any) -> str | None:
    """Why it is no schema of the dialect. Not `check_schema`: its uniqueItems can take minutes."""
    from jsonschema import validators

    checks = validators.extend(dialect, {"uniqueItems": _nothing})
    error = next(checks(dialect.META_SCHEMA).iter_errors(schema), None)
    return None if error is None else error.message


def _nothing(*_: Any) -> Iterator[Any]:
    return iter(())


def _additional(check: Callable[..., Any]) -> Callable[..., Any]:
    """It asks the regular expressions of patternProperties, so it is left out beside them."""
    return lambda checks, value, instance, schema: (
        _nothing() if "patternProperties" in schema else check(checks, value, instance, schema)
    )


def _with_clean_words(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError(f"its schema is nested over {_MAX_DEPTH} deep")
    if isinstance(value, list):
        return [_with_clean_words(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: clean_words(item)
        if key in ("description", "title") and isinstance(item, str)
        else _with_clean_words(item, depth + 1)
        for key, item in value.items()
    }


def _problem(path: list[str | int], message: str) -> InitErrorDetails:
    # Braces would be taken for a template.
    kind = PydanticCustomError("json_schema", "{words}", {"words": message})
    return InitErrorDetails(type=kind, loc=tuple(path), input=None)


def _quote(text: str) -> str:
    return text if len(text) <= _MAX_QUOTE_CHARS else f"{text[:_MAX_QUOTE_CHARS]}..."
