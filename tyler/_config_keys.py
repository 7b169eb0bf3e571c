"""The keys of an agent's configuration file: KEYS is the table, with a shape and a function for each.

Checks of values are `_config_shapes.py`'s, import paths `_import_path.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

from narrator.errors import ConfigurationError
from tyler import skills
from tyler._config_mcp import mcp_server_shape
from tyler._config_node import Node, Place, shown
from tyler._config_shapes import (
    Shape,
    address,
    either,
    entries,
    list_of,
    number,
    one_or_more,
    record,
    secret,
    text,
    truth,
    values,
)
from tyler._import_path import IMPORT_PATH, check_import_path, load_object, load_tools, make_tools
from tyler._text_file import TextUnreadable, read_text
from tyler.approval import Approval
from tyler.budget import Budget
from tyler.context import ContextWindow
from tyler.tools import Tool, collect

MAX_PURPOSE_FILE_BYTES = 100_000
_APPROVE_WORDS = ("auto", "ask", "deny")


@dataclass
class Draft:
    """The agent's arguments while they are gathered. `folder`: the file's, which its paths start from."""

    folder: Path
    purpose: list[str] = field(default_factory=list)
    tools: list[Any] = field(default_factory=list)
    mcp_tools: Sequence[Tool] | None = None  # what the file's MCP servers have offered; None: they were not asked
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Key:
    """A key of the file: what it must be, what becomes of it, which overrides take its place."""

    about: str
    shape: Shape
    put: Callable[[Draft, Any, Node], None]
    replaced_by: tuple[str, ...] = ()


class _ToolEntry(NamedTuple):
    path: str
    arguments: dict[str, Any] | None
    place: Place


def _tool_entry() -> Shape:
    """An import path, or a mapping that calls what it names."""
    path = Shape(
        lambda node: check_import_path(text().read(node), node.place), {"type": "string", "pattern": f"^{IMPORT_PATH}$"}
    )
    call = record({"import": path, "with": values()})

    def read(node: Node) -> _ToolEntry:
        if not isinstance(node.value, dict):
            if not isinstance(node.value, str):
                raise node.wrong("an import path, as in lye:WEB_TOOLS, or {import: ..., with: {...}}")
            return _ToolEntry(path.read(node), None, node.place)
        found = call.read(node)
        if "import" not in found:
            raise node.place.error("import is missing: the import path of the function that makes the tools")
        return _ToolEntry(found["import"], found.get("with"), node.place)

    return Shape(read, {"anyOf": [path.schema, {**call.schema, "required": ["import"]}]})


def _approve() -> Shape:
    """A rule, or rules by tool name; read as they are, functions still import paths."""

    def rule(node: Node) -> str:
        if isinstance(node.value, str) and node.value in _APPROVE_WORDS:
            return node.value
        if not isinstance(node.value, str) or ":" not in node.value:
            raise node.wrong("auto, ask, deny, or the import path of a function")
        return check_import_path(node.value, node.place)

    def read(node: Node) -> Any:
        if isinstance(node.value, dict):
            return {pattern: rule(inner) for pattern, inner in node.value.items()}
        if not isinstance(node.value, str):
            raise node.wrong("auto, ask, deny, an import path, or a mapping of tool names to these")
        return rule(node)

    one = {"anyOf": [{"enum": list(_APPROVE_WORDS)}, {"type": "string", "pattern": f"^{IMPORT_PATH}$"}]}
    return Shape(read, {"anyOf": [*one["anyOf"], {"type": "object", "additionalProperties": one}]})


def _budget() -> Shape:
    """The fields of Budget, by its own hints."""
    hints = get_type_hints(Budget)
    return record({f.name: number(whole=float not in get_args(hints[f.name])) for f in fields(Budget)})


def _context() -> Shape:
    """The fields of ContextWindow."""
    summarize = either(truth(), text(), is_first=bool)
    whole = number(whole=True)
    fields = {"max_tokens": whole, "summarize": summarize, "keep": number(whole=False), "tool_output_chars": whole}
    return record(fields)


def _argument(name: str) -> Callable[[Draft, Any, Node], None]:
    """Passed on under this name."""

    def put(draft: Draft, value: Any, node: Node) -> None:
        draft.arguments[name] = value

    return put


def _nowhere(draft: Draft, value: Any, node: Node) -> None:
    """For editors only."""


def _put_purpose(draft: Draft, value: list[str], node: Node) -> None:
    draft.purpose += [part.strip() for part in value]


def _put_purpose_files(draft: Draft, value: list[str], node: Node) -> None:
    for name, place in zip(value, _places(node), strict=True):
        try:
            found = read_text(draft.folder / name, MAX_PURPOSE_FILE_BYTES).strip()
        except TextUnreadable as error:
            raise place.error(f"{shown(name)} {error}") from error
        draft.purpose += [found] if found else []


def _put_skills(draft: Draft, value: list[str], node: Node) -> None:
    def loaded(place: Place, *names: str) -> skills.Skills:
        try:
            return skills.load(*(draft.folder / name for name in names))
        except ConfigurationError as error:
            raise place.error(str(error)) from error

    for name, place in zip(value, _places(node), strict=True):
        loaded(place, name)
    found = loaded(node.place, *value)  # all at once, for two of one name
    if found.by_name:
        draft.purpose.append(found.purpose)
        draft.tools += found.tools


def _put_tools(draft: Draft, value: list[_ToolEntry], node: Node) -> None:
    for path, arguments, place in value:
        if arguments is None:
            draft.tools += load_tools(path, place, draft.folder)
        else:
            draft.tools += make_tools(path, arguments, place, draft.folder)
        try:
            collect(draft.tools)
        except ValueError as error:  # two of one name
            raise place.error(str(error)) from error


def _put_mcp_servers(draft: Draft, value: list[dict[str, Any]], node: Node) -> None:
    if value and draft.mcp_tools is None:
        raise node.place.error(
            "MCP servers have to be opened, which from_config cannot do; use "
            "async with tyler.open_agent.open_agent(...) as agent"
        )
    draft.tools += draft.mcp_tools or ()
    try:
        collect(draft.tools)
    except ValueError as error:
        raise node.place.error(f"{error}, or give the server a prefix") from error


def _put_context(draft: Draft, value: dict[str, Any], node: Node) -> None:
    if value.get("max_tokens") is None:
        raise node.place.error("max_tokens is missing: how many tokens a request may have")
    try:
        draft.arguments["context"] = ContextWindow(**value)
    except (ConfigurationError, TypeError) as error:
        raise node.place.error(str(error)) from error


def _put_approve(draft: Draft, value: str | dict[str, str], node: Node) -> None:
    def rule(said: str, place: Place) -> Any:
        return said if said in _APPROVE_WORDS else load_object(said, place, draft.folder)

    names = collect(draft.tools)
    rules = value if isinstance(value, dict) else {"": value}
    places = {name: inner.place for name, inner in entries(node).items()} if isinstance(value, dict) else {}
    made = {name: rule(said, places.get(name, node.place)) for name, said in rules.items()}
    for name, one in made.items():
        try:
            Approval({name: one} if isinstance(value, dict) else one, names)
        except ConfigurationError as error:
            raise places.get(name, node.place).error(str(error)) from error
    draft.arguments["approve"] = made if isinstance(value, dict) else made[""]


def _put_budget(draft: Draft, value: dict[str, Any], node: Node) -> None:
    for name, inner in entries(node).items():
        try:
            Budget(**{name: value[name]})
        except ConfigurationError as error:
            raise inner.place.error(str(error)) from error
    draft.arguments["budget"] = Budget(**value)


def _places(node: Node) -> list[Place]:
    return [inner.place for inner in node.value] if isinstance(node.value, list) else [node.place]


# In the order in which they are put together: approve rules are about the tools that are there by then.
KEYS: Mapping[str, Key] = {
    "$schema": Key("This schema's address, for editors", text(), _nowhere),
    "name": Key("The agent's name", text(), _argument("name"), ("name",)),
    "model": Key("litellm's name of the model", text(variables=True), _argument("model_name"), ("model", "model_name")),
    "api_base": Key("The model's address", address(), _argument("api_base"), ("model", "api_base")),
    "api_key": Key("The model's key, as ${VARIABLE}", secret(), _argument("api_key"), ("model", "api_key")),
    "model_params": Key(
        "Provider parameters of each request", values(), _argument("model_params"), ("model", "model_params")
    ),
    "purpose": Key(
        "The system prompt; several texts become paragraphs", one_or_more(text()), _put_purpose, ("purpose",)
    ),
    "purpose_files": Key(
        "Text files that are taken into the purpose", one_or_more(text()), _put_purpose_files, ("purpose",)
    ),
    "tools": Key(
        "Import paths of tools, or of functions that make them", list_of(_tool_entry()), _put_tools, ("tools",)
    ),
    "skills": Key("Folders of skills", one_or_more(text()), _put_skills),
    "mcp_servers": Key("MCP servers whose tools the agent has", list_of(mcp_server_shape()), _put_mcp_servers, ()),
    "approve": Key("Which tool calls need a human", _approve(), _put_approve, ("approve",)),
    "guard": Key("false: what goes outward is never asked about", truth(), _argument("guard"), ("guard",)),
    "fallback_models": Key(
        "Models to ask where the first cannot answer, as litellm names them",
        one_or_more(text(variables=True)),
        _argument("fallback_models"),
        ("model", "fallback_models"),
    ),
    "context": Key("How much of a long thread the model sees", _context(), _put_context, ("context",)),
    "budget": Key("What one run may use up; null is no limit", _budget(), _put_budget, ("budget",)),
}
