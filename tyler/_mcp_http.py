"""An MCP server over streamable HTTP: what went wrong with a request, said exactly, and answers of bounded size.

The mcp package ends the whole connection when one request fails, and does not say whether it was sent. Here each
failure becomes the answer to its own request, with a token by which `failure_of` knows it again.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from mcp.client._transport import TransportStreams
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED

from tyler._mcp_endpoint import HttpEndpoint

MAX_ANSWER_BYTES = 50_000_000
_SESSION = "mcp-session-id"
_GOODBYE_S = 2.0
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)


@dataclass(frozen=True)
class Failure:
    """Why a request has no answer, whether the server may have acted on it, and whether a new connection may help."""

    why: str
    acted: bool
    reconnect: bool = True


class HttpWire(httpx2.AsyncClient):
    """An HTTP client with failures as answers."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        # No limit to reading: a call takes as long as its tool's time-out allows.
        super().__init__(headers=dict(headers), timeout=httpx2.Timeout(30.0, read=None))
        self._failures: dict[str, Failure] = {}

    def failure_of(self, error: MCPError) -> Failure | None:
        """The failure that this error stands for; None if the server sent the error."""
        token = error.error.data
        return self._failures.pop(token, None) if isinstance(token, str) else None

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send it. A GET is a stream of news, about which nobody asks; only a POST gets failures as answers."""
        if request.method == "DELETE":  # the goodbye to a session: the server may be gone
            request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), _GOODBYE_S)
        if request.method != "POST":
            return await super().send(request, **options)
        try:
            response = await super().send(request, **options)
            return await self._checked(request, response)
        except _NEVER_SENT as error:
            return self._answer(request, Failure(_words(error), acted=False))
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            return self._answer(request, Failure(f"the connection broke: {_words(error)}", acted=True))

    async def _checked(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """The response with a body that has come, or what stands for a refusal without an answer of the protocol's."""
        is_json = response.headers.get("content-type", "").lower().startswith("application/json")
        if response.status_code < 400 and not is_json:
            return response
        content = await _bytes(response)
        if content is None:
            return self._answer(request, Failure(f"its answer is over {MAX_ANSWER_BYTES:,} bytes", True, False))
        if response.status_code >= 400 and (failure := _refusal(request, response, content)):
            return self._answer(request, failure)
        kept = {"content-type": response.headers.get("content-type", "")}
        if _SESSION in response.headers:
            kept[_SESSION] = response.headers[_SESSION]
        return httpx2.Response(response.status_code, headers=kept, content=content, request=request)

    def _answer(self, request: httpx2.Request, failure: Failure) -> httpx2.Response:
        token = secrets.token_hex(16)
        self._failures[token] = failure
        error = {"code": CONNECTION_CLOSED, "message": failure.why, "data": token}
        content = json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
        return httpx2.Response(502, headers={"content-type": "application/json"}, content=content, request=request)


@asynccontextmanager
async def http_streams(endpoint: HttpEndpoint, wire: HttpWire) -> AsyncGenerator[TransportStreams, None]:
    """The streams to the server."""
    async with (
        wire,
        streamable_http_client(endpoint.url, http_client=wire, max_sse_event_size=MAX_ANSWER_BYTES) as streams,
    ):
        yield streams


def _refusal(request: httpx2.Request, response: httpx2.Response, content: bytes) -> Failure | None:
    status, is_object = response.status_code, content.lstrip().startswith(b"{")
    # Some servers say 400 where the protocol asks for 404.
    gone = status == 404 or (status == 400 and b"session" in content[:10_000].lower())
    if _SESSION in request.headers and gone:
        return Failure("the server has ended the session", acted=False)
    if is_object and response.headers.get("content-type", "").lower().startswith("application/json"):
        return None
    hint = "; check headers=" if status in (401, 403) else ""
    why = f"HTTP status {status} {response.reason_phrase}".strip() + hint
    return Failure(why, acted=status >= 500, reconnect=False)


async def _bytes(response: httpx2.Response) -> bytes | None:
    """The body, or None if it is too long."""
    content = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                return None
    finally:
        await response.aclose()
    return bytes(content)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
