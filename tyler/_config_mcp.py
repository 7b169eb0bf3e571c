"""MCP servers in a configuration file: what may be said of one, and the server of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from narrator.errors import ConfigurationError
from tyler._config_node import Node
from tyler._config_shapes import Shape, address, entries, list_of, number, one_or_more, record, text, texts, truth

if TYPE_CHECKING:
    from tyler.mcp import McpServer


def mcp_server_shape() -> Shape:
    """How to start or reach one server, and McpOptions."""
    names, word = one_or_more(text()), text()
    return record(
        {
            "command": text(),
            "args": list_of(text(variables=True)),
            "env": texts(),
            "cwd": text(),
            "url": address(),
            "headers": texts(),
            "include": names,
            "exclude": names,
            "prefix": word,
            "timeout_s": number(whole=False),
            "risk": word,
            "effect": word,
            "touches": names,
            "trust_annotations": truth(),
        }
    )


def mcp_server(node: Node, folder: Path) -> McpServer:
    """The server, not opened yet; its `cwd` starts from the folder.

    ConfigurationError with its place for one that cannot work.
    """
    from tyler.mcp import McpServer

    said = mcp_server_shape().read(node)
    if ("command" in said) == ("url" in said):
        raise node.place.error("needs command: for a program, or url: for a server that runs, and not both")
    others = ("env", "cwd", "args") if "url" in said else ("headers",)
    if wrong := next((name for name in others if name in said), None):
        raise entries(node)[wrong].place.error(f"does not go with {'url' if 'url' in said else 'command'}")
    try:
        if "url" in said:
            return McpServer.http(said.pop("url"), said.pop("headers", None), **said)
        command, args = said.pop("command"), said.pop("args", [])
        cwd = folder / said.pop("cwd") if "cwd" in said else None
        return McpServer.stdio(command, *args, env=said.pop("env", None), cwd=cwd, **said)
    except (ConfigurationError, TypeError) as error:
        raise node.place.error(str(error)) from error
