"""How a model is held to a form: by the provider's own JSON schema, or by a tool whose arguments are the answer.

The tool is litellm's affair only: no caller sees its call, which is turned into the answer's content. Whether the
content fits the schema is checked by who asked for it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from tyler.model import OutputSchema, Request

NAME = "final_answer"
DESCRIPTION = "Give the final answer. Call it once, when nothing else is left to do; call no other tool beside it."

# Where the provider's JSON schema and tools go together. Gemini takes one or the other. For Claude litellm only
# imitates it, and such an answer ends with the reason of a tool call.
_WITH_TOOLS = ("openai", "azure")
_WITHOUT_TOOLS = ("gemini", "vertex_ai")
_THINK_AND_OBEY = (*_WITH_TOOLS, *_WITHOUT_TOOLS)  # the others refuse a forced call of a model that thinks
_THINK_WHEN_ASKED = ("anthropic", "bedrock", "azure_ai")

_STRICT_WORDS = {
    "$defs",
    "$ref",
    "additionalProperties",
    "anyOf",
    "const",
    "description",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maximum",
    "minItems",
    "minimum",
    "multipleOf",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
}
_STRICT_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
_STRICT_DEPTH, _STRICT_PROPERTIES = 5, 100


def takes_schema(litellm: ModuleType, name: str, provider: str, request: Request, json_schema: bool | None) -> bool:
    """Whether the provider's own JSON schema may be used for this request. `json_schema` is the user's word for it."""
    if is_claude(name, provider):
        return False
    if json_schema is not None:
        return json_schema
    fits = provider in _WITH_TOOLS or (provider in _WITHOUT_TOOLS and not request.tools)
    return fits and bool(litellm.supports_response_schema(name))


def response_format(output: OutputSchema) -> dict[str, Any]:
    """The schema as a provider of OpenAI's format takes it; strict where all of it may be."""
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", output.name)[:64] or "answer"
    schema = {"name": name, "schema": copy.deepcopy(output.schema), "strict": is_strict(output.schema)}
    return {"type": "json_schema", "json_schema": schema}


def tool_name(tools: Sequence[Mapping[str, Any]]) -> str:
    """A name for the output tool that no other tool has."""
    taken = {tool["function"]["name"] for tool in tools}
    name, number = NAME, 2
    while name in taken:
        name, number = f"{NAME}_{number}", number + 1
    return name


def definition(name: str, output: OutputSchema) -> dict[str, Any]:
    """The output tool as a request has it."""
    parameters = copy.deepcopy(output.schema)  # litellm edits schemas in place
    return {"type": "function", "function": {"name": name, "description": DESCRIPTION, "parameters": parameters}}


def may_force(litellm: ModuleType, name: str, provider: str, params: Mapping[str, Any]) -> bool:
    """Whether the model may be made to call a tool. Most that think refuse that, and are asked politely."""
    if "tool_choice" not in (litellm.get_supported_openai_params(name) or ()):
        return False
    if provider in _THINK_AND_OBEY and not is_claude(name, provider):
        return True
    if thinking_asked(params):
        return False
    return provider in _THINK_WHEN_ASKED or is_claude(name, provider) or not litellm.supports_reasoning(name)


def thinking_asked(params: Mapping[str, Any]) -> bool:
    """Whether these parameters ask the model to think."""
    thinking, effort = params.get("thinking"), params.get("reasoning_effort")
    off = isinstance(thinking, Mapping) and thinking.get("type") == "disabled"
    return (bool(thinking) and not off) or effort not in (None, "none")


def is_claude(name: str, provider: str) -> bool:
    """Whether it is one of Anthropic's models, wherever it is served."""
    return provider == "anthropic" or "claude" in name.lower()


def is_strict(schema: Mapping[str, Any]) -> bool:
    """Whether OpenAI's strict mode takes the schema: it refuses the whole request where one word does not fit."""
    if schema.get("type") != "object" or "anyOf" in schema:
        return False
    parts = list(_parts(schema, 1))
    count = sum(len(_named(part, "properties")) for part, _ in parts)
    return count <= _STRICT_PROPERTIES and all(depth <= _STRICT_DEPTH and _fits(part) for part, depth in parts)


def _fits(part: Any) -> bool:
    if not isinstance(part, Mapping) or not part or part.keys() - _STRICT_WORDS:
        return False
    if "$ref" in part:
        return len(part) == 1 and isinstance(part["$ref"], str) and part["$ref"].startswith("#/$defs/")
    if part.get("format", "uuid") not in _STRICT_FORMATS or not part.keys() & {"type", "anyOf", "enum", "const"}:
        return False
    if part.get("type") == "array" and "items" not in part:
        return False
    if part.get("type") != "object" and "properties" not in part:
        return True
    names, required = sorted(_named(part, "properties")), part.get("required", [])
    return (
        part.get("additionalProperties") is False and isinstance(required, list) and sorted(required, key=str) == names
    )


def _parts(schema: Any, depth: int) -> Iterator[tuple[Any, int]]:
    """The schema and all within it, with how deep each is; one level beyond what is allowed is enough."""
    yield schema, depth
    if not isinstance(schema, Mapping) or depth > _STRICT_DEPTH:
        return
    for part in _named(schema, "properties").values():
        yield from _parts(part, depth + 1)
    for part in _named(schema, "$defs").values():
        yield from _parts(part, depth + 1)
    choices = schema.get("anyOf")
    for part in choices if isinstance(choices, list) else ():
        yield from _parts(part, depth + 1)
    if "items" in schema:
        yield from _parts(schema["items"], depth + 1)


def _named(schema: Any, word: str) -> Mapping[str, Any]:
    found = schema.get(word) if isinstance(schema, Mapping) else None
    return found if isinstance(found, Mapping) else {}
