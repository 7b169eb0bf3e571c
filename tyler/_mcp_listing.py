"""What an MCP server offers, read within bounds: it may be hostile, and what it says goes to the model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
from mcp.client.session import ClientSession
from pydantic import ValidationError

from tyler._mcp_endpoint import Endpoint, quoted
from tyler._raw_schema import clean_words
from tyler._tool_output import cap_output
from tyler.errors import McpToolsRefused

MAX_TOOLS = 1_000
MAX_DESCRIPTION_CHARS = 8_000
_MAX_PAGES = 100
_MAX_CHARS = 5_000_000


@dataclass(frozen=True)
class Offered:
    """One tool as the server describes it. `digest` changes with whatever it says about it."""

    name: str
    description: str
    schema: dict[str, Any] = field(repr=False)
    hints: types.ToolAnnotations = field(repr=False)
    digest: str


async def read_listing(session: ClientSession, endpoint: Endpoint) -> dict[str, Offered]:
    """All tools by name. Raises McpToolsRefused for more than 1,000, or more than 5,000,000 characters of them."""
    found: dict[str, Offered] = {}
    cursor: str | None = None
    chars = 0
    for _ in range(_MAX_PAGES):
        page = await _page(session, endpoint, cursor)
        for tool in page.tools:
            text = json.dumps(tool.model_dump(by_alias=True, exclude={"icons", "meta"}), sort_keys=True, default=str)
            chars += len(text)
            if tool.name in found:
                raise McpToolsRefused(f"MCP server {endpoint.label} offers two tools named {tool.name[:100]!r}")
            found[tool.name] = _offered(tool, hashlib.sha256(text.encode()).hexdigest())
        if len(found) > MAX_TOOLS or chars > _MAX_CHARS:
            raise McpToolsRefused(
                f"MCP server {endpoint.label} offers more than {MAX_TOOLS:,} tools, or describes them in more than "
                f"{_MAX_CHARS:,} characters; use one that offers less"
            )
        cursor = page.next_cursor
        if not cursor:
            return found
    raise McpToolsRefused(f"MCP server {endpoint.label} lists its tools on more than {_MAX_PAGES} pages")


async def _page(session: ClientSession, endpoint: Endpoint, cursor: str | None) -> types.ListToolsResult:
    try:
        return await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor) if cursor else None)
    except ValidationError as error:  # of the whole page: one tool without an object schema is enough
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        words = quoted(f"{where}: {problem['msg']}", endpoint)
        raise McpToolsRefused(
            f"MCP server {endpoint.label}: its list of tools breaks the protocol at {words}"
        ) from error


def _offered(tool: types.Tool, digest: str) -> Offered:
    words = clean_words(tool.description or tool.title or "")
    description = cap_output(words, MAX_DESCRIPTION_CHARS)
    return Offered(tool.name, description, tool.input_schema, tool.annotations or types.ToolAnnotations(), digest)
