"""One connection to an MCP server. A task of its own owns it: anyio wants a scope left by the task that entered it.

What the owner needs from others are events: `stop`, and the end of the streams. Calls go out from the tasks that make
them. When a call may be made again is left to `_mcp_call.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import anyio
import mcp_types as types
from mcp import Client
from mcp.client.client import ConnectMode
from mcp.client.session import ClientSession
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter, ValidationError

from tyler._mcp_endpoint import Endpoint, StdioEndpoint, quoted
from tyler._mcp_http import Failure, HttpWire, http_streams
from tyler._mcp_listing import Offered, read_listing
from tyler._mcp_stdio import Stderr, stdio_streams
from tyler.errors import McpUnavailable

logger = logging.getLogger("tyler")

CallResult = types.CallToolResult | types.InputRequiredResult
_RESULT: TypeAdapter[CallResult] = TypeAdapter(CallResult)
_SUBSCRIBE_S = 2.0
_CLOSE_S = 10.0  # a server that ignores the end of its input is killed after 4 s
_MAX_REPORTS = 1_000

# What opening, or a server that breaks the protocol, can raise from within the mcp package.
_BREAKAGES = (OSError, ValueError, RuntimeError, MCPError, TimeoutError, anyio.BrokenResourceError, ExceptionGroup)

# The mcp package logs whole messages as errors, which Python prints if nobody has set up logging. Ours are left out.
_IN_USE: ContextVar[bool] = ContextVar("tyler_mcp_in_use", default=False)
_CHATTY = (
    "client",
    "mcp.client.client",
    "mcp.client.stdio",
    "mcp.client.streamable_http",
    "mcp.os.posix.utilities",
    "mcp.shared.jsonrpc_dispatcher",
    "httpx2",
)


class CallFailed(Exception):
    """A request has no result; what is known about that."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.why)
        self.failure = failure


class Connection:
    """One connection, opening from the first moment on; for one event loop."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self.endpoint = endpoint
        self.closed_by_us = False
        self._timeout_s = timeout_s
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[McpUnavailable | None] = self._loop.create_future()
        self._session: ClientSession | None = None
        self._wire: HttpWire | None = None
        self._stderr: Stderr | None = None
        self._usable = True
        self._calls = 0
        self._deaf = False  # the server does not tell about changes, so that each call has to ask
        self._stale = True
        self._offered: Mapping[str, Offered] = {}
        self._listing = asyncio.Lock()
        self._owner = asyncio.create_task(self._own(), name="tyler-mcp")

    @property
    def usable(self) -> bool:
        """Whether a request may be sent; a connection does not become usable again."""
        return self._usable and not self._owner.done()

    @property
    def ended(self) -> bool:
        """Whether nothing of it is left."""
        return self._owner.done()

    async def opened(self) -> None:
        """Returns when requests can be sent. Raises McpUnavailable."""
        if (error := await asyncio.shield(self._opened)) is not None:
            raise McpUnavailable(str(error)) from error

    def retire(self) -> None:
        """No new requests; it closes when the last one has its answer."""
        self._usable = False
        if not self._calls:
            self._stop.set()

    def stop_from_anywhere(self) -> None:
        """Have it close, from another loop's thread."""
        self.closed_by_us, self._usable = True, False
        with suppress(RuntimeError):  # that loop is closed, and has cancelled the owner
            self._loop.call_soon_threadsafe(self._stop.set)

    async def close(self) -> None:
        """Close it and wait for that; a server that does not end is killed."""
        self.closed_by_us, self._usable = True, False
        self._stop.set()
        if not self._opened.done():
            self._owner.cancel()
        await asyncio.wait([self._owner], timeout=_CLOSE_S)
        self._owner.cancel()

    def forget(self) -> None:
        """What the server offers is asked for again before the next call."""
        self._stale = True

    async def offered(self) -> Mapping[str, Offered]:
        """The tools by their names, asked for again if they may have changed. Raises CallFailed, McpToolsRefused."""
        async with self._listing:
            if self._stale or self._deaf:
                self._stale = False  # now, so that a change during the listing counts
                try:
                    with self._request() as session:
                        self._offered = await read_listing(session, self.endpoint)
                except BaseException:
                    self._stale = True
                    raise
        return self._offered

    async def call(self, name: str, arguments: dict[str, Any], report: Any) -> CallResult:
        """The server's result. Cancelled, it tells the server so. Raises CallFailed."""
        reports = 0

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            nonlocal reports
            reports += 1
            if reports <= _MAX_REPORTS:
                told = None if message is None else quoted(message, self.endpoint)
                report({"progress": progress, "total": total, "message": told})

        request = types.CallToolRequest(params=types.CallToolRequestParams(name=name, arguments=arguments))
        with self._request() as session:
            # Not session.call_tool: it checks the result by the server's own regular expressions, which may never end.
            return await session.send_request(request, _RESULT, progress_callback=hear)

    @contextmanager
    def _request(self) -> Iterator[ClientSession]:
        """The session, for one request; its errors as CallFailed."""
        if not self.usable or self._session is None:
            raise CallFailed(Failure("the connection has ended", acted=False))
        self._calls += 1
        token = _IN_USE.set(True)
        try:
            yield self._session
        except MCPError as error:
            raise CallFailed(self._failure(error)) from error
        except ValidationError as error:
            why = "its answer is not in the protocol's format"
            raise CallFailed(Failure(why, acted=True, reconnect=False)) from error
        finally:
            _IN_USE.reset(token)
            self._calls -= 1
            if not self._usable and not self._calls:
                self._stop.set()

    def _failure(self, error: MCPError) -> Failure:
        if self._wire is not None and (failure := self._wire.failure_of(error)):
            return Failure(quoted(failure.why, self.endpoint), failure.acted, failure.reconnect)
        if error.code == types.CONNECTION_CLOSED and (self._wire is not None or not self.usable):
            return Failure(f"the connection broke: {quoted(error.message, self.endpoint)}", acted=True)
        return Failure(f"{quoted(error.message, self.endpoint)} (error {error.code})", acted=True, reconnect=False)

    async def _own(self) -> None:
        """Open the connection, keep it until it is to stop or ends by itself, and close it."""
        _be_quiet()
        modes: tuple[ConnectMode, ...] = ("auto", "legacy") if isinstance(self.endpoint, StdioEndpoint) else ("auto",)
        try:
            for mode in modes:
                # Some older servers end when they are asked for the newer protocol first.
                if await self._keep(mode, last=mode == modes[-1]):
                    break
        finally:
            self._usable = False
            if not self._opened.done():
                self._opened.set_result(McpUnavailable(f"MCP server {self.endpoint.label} was closed while it opened"))

    async def _keep(self, mode: ConnectMode, last: bool) -> bool:
        """True when the connection is done with; False if it ended before it was open, and another mode is left."""
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self._timeout_s):
                    client = await stack.enter_async_context(
                        Client(self._streams(), mode=mode, cache=None, message_handler=self._hear)
                    )
                    self._session = client.session
                    await self._subscribe(client, stack)
                self._opened.set_result(None)
                await self._stop.wait()
        except _BREAKAGES as error:
            if self._opened.done():
                logger.debug("an MCP connection ended with %s", type(error).__name__)
            elif self._stop.is_set() and not self.closed_by_us and not last:
                self._stop.clear()
                self._usable = True
                return False
            else:
                self._opened.set_result(await self._unavailable(error))
        return True

    def _streams(self) -> AbstractAsyncContextManager[Any]:
        if isinstance(self.endpoint, StdioEndpoint):
            self._stderr = Stderr()
            return stdio_streams(self.endpoint, self._stderr, self.retire)
        self._wire = HttpWire(self.endpoint.headers)
        return http_streams(self.endpoint, self._wire)

    async def _hear(self, message: object) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._stale = True

    async def _subscribe(self, client: Client, stack: AsyncExitStack) -> None:
        """Hear of changes, where the newer protocol wants that asked for. The older one tells without being asked."""
        tools = client.server_capabilities.tools
        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS or tools is None or not tools.list_changed:
            return
        subscribed = asyncio.Event()
        listener = asyncio.create_task(self._listen(client, subscribed), name="tyler-mcp-listener")
        stack.push_async_callback(_end, listener)
        with suppress(TimeoutError):
            async with asyncio.timeout(_SUBSCRIBE_S):
                await subscribed.wait()
        self._deaf = self._deaf or not subscribed.is_set()

    async def _listen(self, client: Client, subscribed: asyncio.Event) -> None:
        try:
            async with client.listen(tools_list_changed=True) as changes:
                self._deaf, self._stale = False, True
                subscribed.set()
                async for _ in changes:
                    self._stale = True
        except (MCPError, SubscriptionLost, ListenNotSupportedError) as error:
            logger.debug("an MCP server tells no more of changes: %s", type(error).__name__)
        self._deaf = True
        subscribed.set()

    async def _unavailable(self, error: BaseException) -> McpUnavailable:
        """Why it does not open, with the server's last words."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        label, last_words = self.endpoint.label, ""
        if self._stderr is not None and (line := quoted(await self._stderr.last_line(), self.endpoint)):
            last_words = f"; its last line on stderr: {line}"
        if isinstance(error, TimeoutError):
            return McpUnavailable(f"MCP server {label} was not ready within {self._timeout_s:g} s{last_words}")
        if isinstance(error, MCPError):
            failure = self._wire and self._wire.failure_of(error)
            why = quoted(failure.why if failure else error.message, self.endpoint)
        elif isinstance(error, ValidationError):
            why = "its answer is not in the protocol's format"
        else:
            why = quoted(str(error) or type(error).__name__, self.endpoint)
        if isinstance(self.endpoint, StdioEndpoint):
            return McpUnavailable(f"MCP server {label} does not start: {why}{last_words}")
        return McpUnavailable(f"MCP server {label} cannot be reached: {why}")


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.debug("listening to an MCP server ended with %s", type(error).__name__)


def _be_quiet() -> None:
    _IN_USE.set(True)
    for name in _CHATTY:
        logging.getLogger(name).addFilter(_is_not_ours)  # a filter that is there already is not added again


def _is_not_ours(_record: logging.LogRecord) -> bool:
    return not _IN_USE.get()
