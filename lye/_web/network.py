"""The connections of one request: to the checked address, or through a proxy's tunnel to it.

httpx's and httpcore's own proxy support would hand an http URL over to be looked up again, and check a
certificate against the address instead of the name; so CONNECT is used for http as for https.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import httpcore

from lye._web.proxy import Proxy

_MAX_HEAD_BYTES = 16_384


class Network(httpcore.AsyncNetworkBackend):
    """Opens connections, and closes all of them at its end.

    httpcore leaves the socket of a TLS handshake open when the handshake is cancelled.
    """

    def __init__(self, proxy: Proxy | None, ssl_context: ssl.SSLContext) -> None:
        self._proxy = proxy
        self._ssl_context = ssl_context  # for a proxy that is spoken to in TLS
        self._network = httpcore.AnyIOBackend()
        self._opened: list[httpcore.AsyncNetworkStream] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self._opened:
            await stream.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A stream to `host`, an address; ProxyError if the proxy opens no tunnel to it."""
        proxy = self._proxy
        place = (proxy.host, proxy.port) if proxy else (host, port)
        stream = await self._network.connect_tcp(*place, timeout, local_address, socket_options)
        self._opened.append(stream)
        if proxy is None:
            return stream
        if proxy.scheme == "https":
            stream = await stream.start_tls(self._ssl_context, proxy.host, timeout)
        await _ask(proxy, stream, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", timeout)
        return stream


async def _ask(proxy: Proxy, stream: httpcore.AsyncNetworkStream, place: str, timeout_s: float | None) -> None:
    """Have the proxy make the stream one to `place`."""
    head = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n".encode()
    if proxy.authorization:
        head += b"Proxy-Authorization: " + proxy.authorization + b"\r\n"
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
