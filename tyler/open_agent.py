"""open_agent: the agent of a file that names MCP servers, with its servers open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tyler._config_mcp import mcp_server
from tyler._config_shapes import entries
from tyler.agent import Agent
from tyler.config_file import AgentFile

__all__ = ["open_agent"]


@asynccontextmanager
async def open_agent(path: str | Path, **overrides: Any) -> AsyncIterator[Agent]:
    """The agent that a file describes: `async with open_agent("agent.yaml") as agent`.

    Opens the file's MCP servers, gives their tools to the agent, and closes servers and agent at the end. Otherwise as
    Agent.from_config. Raises McpUnavailable and McpToolsRefused too.
    """
    file = AgentFile.read(path, overrides)  # all of it is checked before a server is started
    node = entries(file.root).get("mcp_servers")
    found = node.value if node is not None and isinstance(node.value, list) else []
    servers = [mcp_server(inner, file.folder) for inner in found]
    async with AsyncExitStack() as opened:
        for server in servers:
            await opened.enter_async_context(server)
        tools = [tool for server in servers for tool in await server.tools()]
        yield await opened.enter_async_context(Agent(**file.arguments(tools)))
