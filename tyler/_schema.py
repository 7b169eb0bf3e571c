"""What a tool's function takes: a JSON schema for the model, checked arguments for the call.

Type hints give the schema and the checks (pydantic), the docstring gives the words. Running the
function and telling the model about mistakes is left to `tools.py`.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import typing
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import SchemaError

_MAX_PROBLEMS = 8
_MAX_QUOTE_CHARS = 120
_SUBSCHEMAS = ("items", "prefixItems", "anyOf", "oneOf", "allOf", "additionalProperties", "propertyNames")
_ARGUMENTS_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False)


class Signature:
    """The parameters of one function: `json_schema` and `description` for the model, `parse` for the call.

    Fixed keywords of a `functools.partial` and the parameter annotated with `context_type` are
    invisible to the model. A parameter without annotation takes any JSON value. Raises TypeError
    for a function whose parameters a model could not fill.
    """

    def __init__(self, function: Callable[..., Any], context_type: type) -> None:
        definition = underlying(function)
        parameters = _visible_parameters(function)
        hints = _resolve_hints(parameters, getattr(definition, "__globals__", {}))
        contexts = [p for p in parameters if _mentions(hints[p.name], context_type)]
        if len(contexts) > 1:
            raise TypeError(f"more than one parameter is annotated {context_type.__name__}; keep one")
        self._context = contexts[0] if contexts else None
        self._parameters = parameters
        # The model's fields are p0, p1, ... because pydantic refuses names such as `copy` or `_x`.
        self._fields = {p.name: f"p{i}" for i, p in enumerate(parameters) if p is not self._context}
        self._model, self._bare_schema = _arguments_model(parameters, self._fields, hints)
        is_object = not inspect.isroutine(function) and not isinstance(function, functools.partial)
        self._doc = inspect.getdoc(definition) or (inspect.getdoc(type(function)) if is_object else "")

    @cached_property
    def description(self) -> str:
        """The docstring without its sections for parameters, results and errors."""
        return self._docstring[0]

    @cached_property
    def json_schema(self) -> dict[str, Any]:
        """A JSON schema of type object; additional properties are refused."""
        properties = {name: dict(schema) for name, schema in self._bare_schema["properties"].items()}
        for name, text in self._docstring[1].items():
            if name in properties:
                properties[name].setdefault("description", text)
        return self._bare_schema | {"properties": properties}

    def parse(self, arguments: str, context: object) -> tuple[list[Any], dict[str, Any]]:
        """The checked positional and keyword arguments, `context` included; raises ValidationError.

        What the model left out is left out, so that the function's own defaults apply.
        """
        parsed = self._model.model_validate_json(arguments)
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for parameter in self._parameters:
            by_position = parameter.kind is parameter.POSITIONAL_ONLY
            if parameter is self._context:
                value: Any = context
            else:
                field = self._fields[parameter.name]
                needs_value = by_position or isinstance(parameter.default, FieldInfo)
                if field not in parsed.model_fields_set and not needs_value:
                    continue
                value = getattr(parsed, field)
            if by_position:
                positional.append(value)
            else:
                keywords[parameter.name] = value
        return positional, keywords

    def explain(self, error: ValidationError) -> str:
        """One line for each mistake: the field, what was expected, what came."""
        problems = error.errors(include_url=False, include_context=False)
        lines = [self._explain_one(p["type"], p["loc"], p["msg"], p["input"]) for p in problems[:_MAX_PROBLEMS]]
        if len(problems) > _MAX_PROBLEMS:
            lines.append(f"... and {len(problems) - _MAX_PROBLEMS} more")
        return "\n".join(f"- {line}" for line in lines)

    def _explain_one(self, kind: str, path: tuple[int | str, ...], message: str, value: object) -> str:
        where = _quote(".".join(map(str, path)))
        if kind == "json_invalid":
            return f"{message}; send one JSON object"
        if not path:
            return f"expected a JSON object with the parameters as keys, got {_quote(repr(value))}"
        if kind == "missing":
            return f"{where}: required, but missing{self._expected(path)}"
        if kind == "extra_forbidden":
            known = f"; the parameters are: {', '.join(self._fields) or 'none'}" if len(path) == 1 else ""
            return f"{where}: unknown{known}"
        return f"{where}: {message}, got {_quote(repr(value))}"

    def _expected(self, path: tuple[int | str, ...]) -> str:
        field = self.json_schema["properties"].get(path[0]) if len(path) == 1 else None
        return f"; expected {_quote(json.dumps(field, ensure_ascii=False))}" if field else ""

    @cached_property
    def _docstring(self) -> tuple[str, dict[str, str]]:
        return read_docstring(self._doc or "")


def underlying(function: Callable[..., Any]) -> Any:
    """The `def` behind a partial, bound method, wrapper or callable object: it has the docstring."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    return inspect.unwrap(function)


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The description, and the text of each parameter, from Google, NumPy or Sphinx style."""
    if not text:
        return "", {}
    import docstring_parser  # 30 ms, and not needed before the first request to a model

    try:
        parsed = docstring_parser.parse(text)
    except (docstring_parser.ParseError, LookupError, ValueError):  # it stumbles over a lone ":", for one
        return text.strip(), {}
    described = {p.arg_name.lstrip("*"): p.description for p in parsed.params if p.description}
    return (parsed.description or "").strip(), {
        name: re.sub(r"\s+", " ", words).strip() for name, words in described.items()
    }


def _visible_parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        signature = inspect.signature(function)
    except (ValueError, NameError) as error:
        raise TypeError(f"its parameters cannot be read: {error}") from error
    fixed = function.keywords if isinstance(function, functools.partial) else {}
    parameters = [p for name, p in signature.parameters.items() if name not in fixed]
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"a model can only fill named parameters, not {str(parameter)!r}; name each one")
        if parameter.name in ("self", "cls") and parameter.annotation is parameter.empty:
            raise TypeError("it is a method without its object; pass the bound one: tool(thing.method)")
    return parameters


def _resolve_hints(parameters: list[inspect.Parameter], namespace: dict[str, Any]) -> dict[str, Any]:
    """Each parameter's annotation as a type; the return annotation, which may not resolve, is left alone."""

    def holder() -> None: ...

    holder.__annotations__ = {
        p.name: Any if p.annotation is inspect.Parameter.empty else p.annotation for p in parameters
    }
    try:
        return typing.get_type_hints(holder, globalns=namespace, include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise TypeError(
            f"an annotation cannot be resolved: {error}. Import the name at the top of the module, "
            "outside `if TYPE_CHECKING` and outside any function"
        ) from error


def _mentions(annotation: Any, wanted: type) -> bool:
    return annotation is wanted or any(_mentions(inner, wanted) for inner in get_args(annotation))


def _arguments_model(
    parameters: list[inspect.Parameter], fields: dict[str, str], hints: dict[str, Any]
) -> tuple[type[BaseModel], dict[str, Any]]:
    """The model that checks the arguments, and its JSON schema."""
    definitions: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.name not in fields:
            continue
        annotation, default = hints[parameter.name], parameter.default
        if isinstance(default, FieldInfo):
            annotation = Annotated[annotation, default]
            field = Field(alias=parameter.name)
        elif default is inspect.Parameter.empty:
            field = Field(alias=parameter.name)
        else:
            annotation = annotation | None if default is None and annotation is not Any else annotation
            field = Field(default=default, alias=parameter.name)
        definitions[fields[parameter.name]] = (annotation, field)
    try:
        model: type[BaseModel] = create_model("Arguments", __config__=_ARGUMENTS_CONFIG, **definitions)
        schema = model.model_json_schema(schema_generator=_QuietSchema)
    except (PydanticUserError, SchemaError, TypeError) as error:
        raise TypeError(f"a parameter's type does not work in JSON: {str(error).splitlines()[0]}") from error
    _drop_titles(schema)
    return model, {"properties": {}} | schema


class _QuietSchema(GenerateJsonSchema):
    """Defaults that are no JSON are left out of the schema without a warning."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 (pydantic's own form)


def _drop_titles(schema: Any) -> None:
    """Remove pydantic's generated titles, which cost tokens and say nothing; a property named title stays."""
    if isinstance(schema, list):
        for inner in schema:
            _drop_titles(inner)
    elif isinstance(schema, dict):
        schema.pop("title", None)
        for key in _SUBSCHEMAS:
            _drop_titles(schema.get(key))
        for key in ("properties", "patternProperties", "$defs"):
            _drop_titles(list(schema.get(key, {}).values()))


def _quote(text: str) -> str:
    return text if len(text) <= _MAX_QUOTE_CHARS else f"{text[:_MAX_QUOTE_CHARS]}..."
