"""What hosted providers refuse in the `tools`, `tool_choice` and `parallel_tool_calls` of a request. Pure."""

import re
from typing import Any

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MAX_TOOLS = 128
MAX_DESCRIPTION = 1024  # OpenAI: "Invalid 'tools[0].function.description': string too long", seen by many MCP users
FORBIDDEN_AT_TOP = ("oneOf", "anyOf", "allOf", "enum", "not")


def tool_violations(request: dict[str, Any]) -> list[str]:
    """Reasons to refuse the request's tools; the request must already be made of plain JSON values."""
    tools = request.get("tools")
    if tools is None:
        return [
            f"{field}: only allowed with tools"
            for field in ("tool_choice", "parallel_tool_calls")
            if request.get(field) is not None
        ]
    if not isinstance(tools, list) or not 1 <= len(tools) <= MAX_TOOLS:
        return [f"tools: must be a list of 1 to {MAX_TOOLS} tools"]
    found: list[str] = []
    names: set[str] = set()
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type") != "function":
            found.append(f"{where}: must have type 'function' and an object 'function'")
            continue
        name = function.get("name")
        if not isinstance(name, str) or NAME.fullmatch(name) is None:
            found.append(f"{where}.function.name: {name!r} does not match {NAME.pattern}")
        elif name in names:
            found.append(f"{where}.function.name: {name!r} is given twice")
        else:
            names.add(name)
        found += _description_violations(f"{where}.function.description", function.get("description", ""))
        found += _parameters_violations(f"{where}.function.parameters", function)
    return found + _choice_violations(request.get("tool_choice"), names)


def _description_violations(where: str, description: Any) -> list[str]:
    if not isinstance(description, str):
        return [f"{where}: must be a string"]
    return [f"{where}: longer than {MAX_DESCRIPTION}"] if len(description) > MAX_DESCRIPTION else []


def _choice_violations(choice: Any, names: set[str]) -> list[str]:
    if choice is None or choice in ("auto", "none", "required"):
        return []
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if isinstance(name, str) and name in names and choice.get("type") == "function":
        return []
    return [f"tool_choice: {choice!r} names no tool of the request"]


def _parameters_violations(where: str, function: dict[str, Any]) -> list[str]:
    if "parameters" not in function:  # OpenAI: leaving it out defines a function without parameters
        return []
    schema = function["parameters"]
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return [f"{where}: must be a schema of type 'object'"]
    found = [f"{where}.{word}: not allowed at the top of a schema" for word in FORBIDDEN_AT_TOP if word in schema]
    stack: list[tuple[str, Any]] = [(where, schema)]
    while stack:
        at, part = stack.pop()
        if not isinstance(part, dict):
            if not isinstance(part, bool):
                found.append(f"{at}: a schema must be an object")
            continue
        found += _schema_violations(at, part)
        stack.extend(_subschemas(at, part))
    return found


def _schema_violations(where: str, schema: dict[str, Any]) -> list[str]:
    found: list[str] = []
    kind = schema.get("type")
    if kind == "array" and "items" not in schema and "prefixItems" not in schema:
        found.append(f"{where}: array schema missing items")
    if not isinstance(schema.get("properties", {}), dict):
        found.append(f"{where}.properties: must be an object")
        return found
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        found.append(f"{where}.required: must be a list of names")
    elif kind == "object" and not set(required) <= set(schema.get("properties", {})):
        found.append(f"{where}.required: names properties that are not there")
    return found


def _subschemas(where: str, schema: dict[str, Any]) -> list[tuple[str, Any]]:
    inner: list[tuple[str, Any]] = []
    for word in ("properties", "$defs", "definitions"):
        if isinstance(schema.get(word), dict):
            inner += [(f"{where}.{word}.{name}", part) for name, part in schema[word].items()]
    for word in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if isinstance(schema.get(word), list):
            inner += [(f"{where}.{word}[{index}]", part) for index, part in enumerate(schema[word])]
    for word in ("items", "additionalProperties", "not"):
        if word in schema:
            inner.append((f"{where}.{word}", schema[word]))
    return inner
