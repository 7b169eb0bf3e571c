"""Connections through a proxy: CONNECT to the checked address, for http as for https.

httpx's and httpcore's own proxy support would hand an http URL over to be looked up again, and check a
certificate against the address instead of the name.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from contextlib import AsyncExitStack

import httpcore

from lye._proxy import Proxy

_MAX_HEAD_BYTES = 16_384


class Tunnel(httpcore.AsyncNetworkBackend):
    """Opens each connection through the proxy; whoever uses it sees a connection to the address itself."""

    def __init__(self, proxy: Proxy, ssl_context: ssl.SSLContext) -> None:
        self._proxy = proxy
        self._ssl_context = ssl_context
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A stream to `host`, an address; ProxyError if the proxy does not open one."""
        proxy = self._proxy
        async with AsyncExitStack() as unless_open:
            stream = await self._network.connect_tcp(proxy.host, proxy.port, timeout, local_address, socket_options)
            unless_open.push_async_callback(stream.aclose)
            if proxy.scheme == "https":
                stream = await stream.start_tls(self._ssl_context, proxy.host, timeout)
            await self._ask(stream, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", timeout)
            unless_open.pop_all()
        return stream

    async def _ask(self, stream: httpcore.AsyncNetworkStream, place: str, timeout_s: float | None) -> None:
        head = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n".encode()
        if self._proxy.authorization:
            head += b"Proxy-Authorization: " + self._proxy.authorization + b"\r\n"
        await stream.write(head + b"\r\n", timeout_s)
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = await stream.read(4096, timeout_s)
            answer += piece
            if not piece or len(answer) > _MAX_HEAD_BYTES:
                raise httpcore.ProxyError("the proxy gave no answer that HTTP knows")
        if not re.match(rb"HTTP/1\.[01] 2\d\d[ \r]", answer):
            first = answer.partition(b"\r\n")[0][:100].decode("ascii", "replace")
            raise httpcore.ProxyError(f"the proxy opens no tunnel to {place}: it says {first!r}")
        if not answer.endswith(b"\r\n\r\n") or answer.count(b"\r\n\r\n") > 1:
            raise httpcore.ProxyError("the proxy sent more than its answer")
