"""McpServer: the tools of an MCP server as Tools. Needs the extra: pip install 'tyler-narrator-lye[mcp]'.

Connections are kept in `_mcp_connection.py`, what the server offers is read in `_mcp_listing.py`, and a call is
made in `_mcp_call.py`. They are imported on first use: the mcp package takes most of a second.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import re
import threading
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack, get_args
from urllib.parse import urlsplit

from narrator.errors import ConfigurationError
from tyler._daemon_thread import in_daemon_thread
from tyler._mcp_endpoint import Endpoint, HttpEndpoint, StdioEndpoint
from tyler._raw_schema import RawSchema
from tyler.errors import McpToolsRefused, McpUnavailable
from tyler.tools import Effect, Risk, Tool, Touch

if TYPE_CHECKING:
    from tyler._mcp_connection import Connection
    from tyler._mcp_listing import Offered

__all__ = ["McpOptions", "McpServer"]

INSTALL = "pip install 'tyler-narrator-lye[mcp]'"
_MAX_NAMED = 50
_STRANGERS: Collection[Touch] = ("outward", "untrusted")


class McpOptions(TypedDict, total=False):
    """What `McpServer.stdio` and `McpServer.http` take beside the address."""

    include: Sequence[str]
    """Names or glob patterns of the tools to take; all unless given. One that matches nothing is an error."""
    exclude: Sequence[str]
    """Names or glob patterns of the tools to leave out."""
    prefix: str
    """Put before each name, so that tools of two servers do not clash: `prefix="git_"`."""
    timeout_s: float
    """For opening the connection, for listing, and for each call; 30 s unless given."""
    risk: Risk
    """Of every tool; "external" unless given."""
    effect: Effect
    """Of every tool; "once" unless given."""
    touches: Collection[Touch]
    """What the guard is told of every tool: "untrusted" and "outward" unless given, or what another risk says."""
    trust_annotations: bool
    """Take risk and effect from the hints that the server gives; do that for a server that you trust only."""


class McpServer:
    """An MCP server: `McpServer.stdio(...)` starts one, `McpServer.http(...)` reaches one.

    The connection is opened on first use, kept open, and opened again when it is gone; each event loop has its own
    (over stdio that is a process of its own). `close`, or the end of the event loop, ends it. `tools` raises
    McpUnavailable and McpToolsRefused.
    """

    def __init__(self, endpoint: Endpoint, **options: Unpack[McpOptions]) -> None:
        _check(options)
        self._endpoint = endpoint
        self._options = options
        self._timeout_s = options.get("timeout_s", 30.0)
        self._connections: dict[asyncio.AbstractEventLoop, list[Connection]] = {}
        self._lock = threading.Lock()

    @classmethod
    def stdio(
        cls,
        command: str,
        *args: str,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        **options: Unpack[McpOptions],
    ) -> Self:
        """A server that is a program: `McpServer.stdio("python", "-m", "mcp_server_time")`.

        Of this process's environment it gets HOME, LOGNAME, PATH, SHELL, TERM and USER (on Windows their like), and
        `env` on top: secrets belong there, not into the arguments. What it writes to stderr is not shown.
        Raises ConfigurationError, and McpUnavailable if the extra is missing.
        """
        _require_extra()
        return cls(StdioEndpoint(command, args, dict(env or {}), cwd), **options)

    @classmethod
    def http(cls, url: str, headers: Mapping[str, str] | None = None, **options: Unpack[McpOptions]) -> Self:
        """A server behind a URL (streamable HTTP). `headers` go with each request: `{"Authorization": "Bearer ..."}`.

        Raises ConfigurationError, and McpUnavailable if the extra is missing.
        """
        _require_extra()
        endpoint = HttpEndpoint(url, dict(headers or {}))
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"MCP server {endpoint.label}: pass a URL such as 'https://host/mcp'")
        return cls(endpoint, **options)

    async def tools(self) -> list[Tool]:
        """The server's tools as it describes them now, chosen and named by the options; risk and effect are theirs too.

        A Tool stands for this definition: once the server changes it, calls are refused until `tools` is called again.
        Raises McpUnavailable, and McpToolsRefused for a set of tools that cannot be taken.
        """
        offered = await self._offered()
        tools: dict[str, tuple[str, Tool]] = {}
        for tool in self._chosen(offered):
            made = self._as_tool(tool)
            if made.name in tools:
                raise McpToolsRefused(
                    f"MCP server {self._endpoint.label}: {tools[made.name][0]!r} and {tool.name!r} would both be "
                    f"named {made.name!r}; leave one out with exclude=, or load them apart with include= and prefix="
                )
            tools[made.name] = (tool.name, made)
        return [made for _, made in tools.values()]

    async def close(self) -> None:
        """End the connection; a second call does nothing, and the next use opens a new one."""
        loop = asyncio.get_running_loop()
        with self._lock:
            connections, self._connections = self._connections, {}
        for other in (c for owner, found in connections.items() if owner is not loop for c in found):
            other.stop_from_anywhere()
        await asyncio.gather(*(connection.close() for connection in connections.get(loop, ())))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"McpServer({self._endpoint.label})"

    async def _connect(self) -> Connection:
        """This event loop's connection, a new one if that has ended. Raises McpUnavailable."""
        await in_daemon_thread(_import)
        from tyler._mcp_connection import Connection

        loop = asyncio.get_running_loop()
        with self._lock:
            for ended in [other for other in self._connections if other.is_closed()]:
                del self._connections[ended]
            mine = [c for c in self._connections.get(loop, ()) if not c.ended]
            self._connections[loop] = mine
            connection = next((c for c in mine if c.usable), None)
            if connection is None:
                connection = Connection(self._endpoint, self._timeout_s)
                mine.append(connection)
        await connection.opened()
        return connection

    async def _offered(self) -> Mapping[str, Offered]:
        """What the server offers now; asked over a new connection if the one that there was has ended."""
        connection = await self._connect()
        from tyler._mcp_connection import CallFailed

        connection.forget()
        try:
            return await self._listed(connection)
        except CallFailed as error:
            if not error.failure.reconnect:
                raise McpUnavailable(f"MCP server {self._endpoint.label} does not list its tools: {error}") from error
            connection.retire()
        try:
            return await self._listed(await self._connect())
        except CallFailed as error:
            raise McpUnavailable(f"MCP server {self._endpoint.label} does not list its tools: {error}") from error

    async def _listed(self, connection: Connection) -> Mapping[str, Offered]:
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                return await connection.offered()
        except TimeoutError as error:
            if not deadline.expired():
                raise
            label = self._endpoint.label
            raise McpUnavailable(f"MCP server {label} did not list its tools within {self._timeout_s:g} s") from error

    def _chosen(self, offered: Mapping[str, Offered]) -> list[Offered]:
        names = list(offered)
        include, exclude = self._options.get("include"), self._options.get("exclude", ())
        for pattern in include or ():
            if not any(fnmatchcase(name, pattern) for name in names):
                there = ", ".join(map(repr, names[:_MAX_NAMED])) or "none"
                raise McpToolsRefused(
                    f"MCP server {self._endpoint.label} has no tool that matches include={pattern!r}; it has: {there}"
                )
        return [
            tool
            for name, tool in offered.items()
            if (include is None or any(fnmatchcase(name, pattern) for pattern in include))
            and not any(fnmatchcase(name, pattern) for pattern in exclude)
        ]

    def _as_tool(self, tool: Offered) -> Tool:
        from tyler._mcp_call import RemoteCall, RemoteTool

        risk, effect = self._risk_and_effect(tool)
        origin = f"MCP server {self._endpoint.label} (give its tools a prefix=)"
        name = re.sub(r"[^a-zA-Z0-9_-]", "_", self._options.get("prefix", "") + tool.name)[:64]
        try:
            return RemoteTool(
                RemoteCall(self._connect, tool, effect),
                name=name,
                risk=risk,
                effect=effect,
                timeout_s=self._timeout_s,
                touches=self._options.get("touches", _STRANGERS if risk == "external" else None),
                declared=RawSchema(tool.description, tool.schema, origin, version=tool.digest),
            )
        except ValueError as error:
            raise McpToolsRefused(
                f"MCP server {self._endpoint.label}: the tool {tool.name[:100]!r} cannot be taken: {error}; "
                "leave it out with exclude="
            ) from error

    def _risk_and_effect(self, tool: Offered) -> tuple[Risk, Effect]:
        """The careful ones, or the server's hints if the developer trusts them (unsaid, it has an open world)."""
        risk: Risk = "external"
        effect: Effect = "once"
        if self._options.get("trust_annotations"):
            reads, repeats = tool.hints.read_only_hint is True, tool.hints.idempotent_hint is True
            effect = "read" if reads else "idempotent" if repeats else "once"
            if tool.hints.open_world_hint is False:
                risk = "read" if reads else "write"
        return self._options.get("risk", risk), self._options.get("effect", effect)


def _require_extra() -> None:
    if importlib.util.find_spec("mcp") is None:
        raise McpUnavailable(f"MCP servers need the mcp package, which is not installed: {INSTALL}")


def _import() -> None:
    """What is used from here on, so that the event loop need not wait for it."""
    for name in ("tyler._mcp_call", "jsonschema"):
        importlib.import_module(name)


def _check(options: McpOptions) -> None:
    if unknown := sorted(options.keys() - McpOptions.__annotations__.keys()):
        known = ", ".join(McpOptions.__annotations__)
        raise TypeError(f"an McpServer has no option {unknown[0]!r}; it takes {known}")
    for name, allowed in (("risk", Risk), ("effect", Effect)):
        value: Any = options.get(name)
        if name in options and value not in get_args(allowed):
            raise ConfigurationError(f"{name}={value!r} is not one of {get_args(allowed)}")
    touches: Any = options.get("touches", ())
    if isinstance(touches, str) or not set(touches) <= set(get_args(Touch)):
        raise ConfigurationError(f"touches={touches!r} is not a list of {get_args(Touch)}")
    if not options.get("timeout_s", 1) > 0:
        raise ConfigurationError(f"timeout_s={options.get('timeout_s')!r} must be above 0")
    for name in ("include", "exclude"):
        if isinstance(options.get(name), str):
            raise ConfigurationError(f"{name}={options.get(name)!r}: pass a list of names or patterns")
