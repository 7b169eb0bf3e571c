"""An agent's configuration from a file: read and checked, then made into Agent's arguments.

`Agent.from_config` is the front, `open_agent` the one for files with MCP servers. What may be said in a file is
`_config_keys.py`'s. Stores are not in it: they are opened with `await`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from narrator.errors import ConfigurationError
from tyler._config_keys import KEYS, Draft
from tyler._config_node import Node, read_node
from tyler._config_shapes import entries, unknown
from tyler.tools import Tool

__all__ = ["AgentFile", "agent_arguments", "json_schema"]

# What users of other names look for: where it is here.
_ELSEWHERE: Mapping[str, str] = {
    "model_name": "it is called model",
    "instructions": "it is called purpose",
    "system_prompt": "it is called purpose",
    "prompt": "it is called purpose",
    "thread_store": "open the store in your program and pass thread_store= to from_config",
    "file_store": "open the store in your program and pass file_store= to from_config",
    "database": "open the store in your program and pass thread_store= to from_config",
}


@dataclass(frozen=True)
class AgentFile:
    """A file that was read, each key checked by itself; nothing was imported, opened or started yet.

    `overrides`: Agent's parameters that take the place of what the file says; None is as not given.
    """

    root: Node
    folder: Path
    overrides: Mapping[str, Any]
    values: Mapping[str, Any]

    @classmethod
    def read(cls, path: str | Path, overrides: Mapping[str, Any]) -> Self:
        """ConfigurationError, with file, line and key path, for what can be seen to be wrong by reading."""
        path = Path(path)
        root = read_node(path)
        found = entries(root)
        for name, node in found.items():
            if name not in KEYS:
                raise _unknown_key(name, node)
        given = {name for name, value in overrides.items() if value is not None}
        said = [name for name in KEYS if name in found and not given & set(KEYS[name].replaced_by)]
        values = {name: KEYS[name].shape.read(found[name]) for name in said}
        if "model" not in said and not given & {"model", "model_name"}:
            raise root.place.error("model is missing; write one as in model: gpt-4o, or pass model= to from_config")
        return cls(root, path.absolute().parent, overrides, values)

    def arguments(self, mcp_tools: Sequence[Tool] | None = None) -> dict[str, Any]:
        """What to call Agent with. Imports the tools' modules; ConfigurationError as `read`."""
        given = {name: value for name, value in self.overrides.items() if value is not None}
        draft = Draft(self.folder, mcp_tools=mcp_tools)
        draft.purpose += [given["purpose"]] if given.get("purpose") else []
        draft.tools += given.get("tools", ())
        found = entries(self.root)
        for name, value in self.values.items():
            KEYS[name].put(draft, value, found[name])
        purpose = "\n\n".join(draft.purpose)
        return {**self.overrides, **draft.arguments, **given, "purpose": purpose, "tools": draft.tools}


def agent_arguments(path: str | Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What to call Agent with: the file's configuration, `overrides` in its place where both say something.

    ConfigurationError, with file, line and key path, for everything that is wrong with the file.
    """
    return AgentFile.read(path, overrides).arguments()


def json_schema() -> dict[str, Any]:
    """The JSON schema of the file, for editors; a private copy. They check and complete by it what you write."""
    properties = {name: {**key.shape.schema, "description": key.about} for name, key in KEYS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An agent of tyler",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _unknown_key(name: str, node: Node) -> ConfigurationError:
    if name in _ELSEWHERE:
        return node.place.error(f"unknown key {name!r}; {_ELSEWHERE[name]}")
    return unknown(node.place, name, KEYS)
