"""RawServer: a folder with what the raw MCP server offers and has heard, and McpServers that start it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tyler.mcp import McpServer
from tyler.tools import Tool, ToolContext, ToolResult, collect, run_tool

PROGRAM = str(Path(__file__).with_name("mcp_raw_server.py"))


def offer(name: str, properties: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """One tool as a server describes it."""
    schema = {"type": "object", "properties": properties or {}}
    return {"name": name, "description": f"It will {name}.", "inputSchema": schema, **more}


class RawServer:
    """Start it with `server()`; `offers` changes what it offers from then on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.offers(offer("echo"))

    def offers(self, *tools: dict[str, Any]) -> None:
        (self.folder / "tools.json").write_text(json.dumps(tools), encoding="utf-8")

    def server(self, mode: str = "", **options: Any) -> McpServer:
        # -I and -S: it needs nothing but the standard library, and starts in a few milliseconds without the rest.
        return McpServer.stdio(sys.executable, "-I", "-S", PROGRAM, str(self.folder), *filter(None, [mode]), **options)

    def heard(self, method: str) -> list[dict[str, Any]]:
        """The params of each message of this method that has come, over all its processes."""
        log = self.folder / "log.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [m.get("params", {}) for m in map(json.loads, lines) if m["method"] == method]


def context(**fields: Any) -> ToolContext:
    return ToolContext(**{"thread_id": "t", "owner": None, "call_id": "c", "idempotency_key": "k"} | fields)


async def call(tools: list[Tool], name: str, ctx: ToolContext | None = None, **arguments: Any) -> ToolResult:
    """As an agent calls it."""
    return await run_tool(collect(tools), name, json.dumps(arguments), ctx or context())
