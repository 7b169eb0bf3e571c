"""A forward proxy for one browser page: each host is looked up once and checked, and the checked address is dialled.

A browser that can reach nothing but this proxy is bound by the rules in all that it does: redirects, frames, scripts,
sockets, beacons. Plain HTTP is forwarded, one request a connection; CONNECT is a tunnel, whose TLS the browser checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lye._web.resolve import Resolver, checked_addresses, look_up
from lye._web.rules import Rules
from lye._web.url import DEFAULT_PORTS, Target, normalise_host
from lye.errors import FetchFailed, UrlRefused

_PIECE_BYTES = 1 << 16
_MAX_HEAD_BYTES = 1 << 16
_MAX_CONNECTIONS = 128
_MAX_REMEMBERED = 100  # refusals; a page can try any number of hosts
_MAX_ADDRESSES_TRIED = 3
_CONNECT_S = 8.0
_IDLE_S = 300.0  # a tunnel in which nothing moves
_REQUEST = re.compile(rb"([A-Z]{1,20}) (\S+) HTTP/1\.[01]\r\n")
_ABSOLUTE = re.compile(r"http://([^/?#]+)([/?]\S*)?", re.IGNORECASE)
# Of one connection only (RFC 9110, 7.6.1), and what is for proxies. Upgrade too: web sockets come by CONNECT.
_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authorization proxy-authenticate te upgrade".split(),
)


class _Refused(Exception):
    """The connection ends without an answer; a page must not take our words for a site's."""


@dataclass
class Proxy:
    """Listens on 127.0.0.1 between `start` and `close`. `refusals` says why a host and port was not reached."""

    rules: Rules
    resolve: Resolver = look_up
    bytes_left: int = 0
    refusals: dict[tuple[str, int], UrlRefused | FetchFailed] = field(default_factory=dict)
    port: int = 0
    on_exhausted: Callable[[], None] = field(default=lambda: None, repr=False)
    _server: asyncio.Server | None = None
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        """Listen; `port` is known afterwards."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_MAX_HEAD_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End the listening and every connection."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def allow(self, max_bytes: int) -> None:
        """A new call: so many bytes may come in from now on, and what was refused before is forgotten."""
        self.bytes_left = max_bytes
        self.refusals.clear()

    @property
    def exhausted(self) -> bool:
        """Whether the bytes that were allowed are used up; nothing is let through then."""
        return self.bytes_left <= 0

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._connections) < _MAX_CONNECTIONS and not self.exhausted:
                self._connections.add(task)
                await self._serve(reader, writer)
        except (_Refused, OSError, EOFError, asyncio.LimitOverrunError):  # a TimeoutError is an OSError
            pass  # the browser sees a connection that ended, which is all it is to know
        except asyncio.CancelledError:
            if self._server is not None and self._server.is_serving():
                raise
            # By close(). Python 3.11 asks the task of a connection for its exception, and logs that it was cancelled.
        finally:
            self._connections.discard(task)
            if self.exhausted:
                writer.transport.abort()  # not a clean end, which would make half a page a whole one
            else:
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        match = _REQUEST.match(head)
        if match is None:
            raise _Refused
        method, place = match[1], match[2].decode("latin-1")
        if method == b"CONNECT":
            far_reader, far_writer = await self._dial(_target(place, 443, "/"))
            with contextlib.closing(far_writer):
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                await self._pump_both(reader, writer, far_reader, far_writer)
            return
        absolute = _ABSOLUTE.fullmatch(place)
        if absolute is None:
            raise _Refused
        path = absolute[2] or "/"
        target = _target(absolute[1], 80, path if path.startswith("/") else f"/{path}")
        fields = _fields(head[match.end() :])
        body_bytes = _body_bytes(fields)
        far_reader, far_writer = await self._dial(target)
        with contextlib.closing(far_writer):
            far_writer.write(_request_head(method, target, fields))
            sending = asyncio.create_task(self._send_body(reader, far_writer, body_bytes))
            try:
                await self._answer(far_reader, writer)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    async def _dial(self, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            addresses = await checked_addresses(target, self.rules, self.resolve)
            return await _first_to_answer(target, addresses)
        except (UrlRefused, FetchFailed) as error:
            if len(self.refusals) < _MAX_REMEMBERED:
                self.refusals.setdefault((target.host, target.port), error)
            raise _Refused from error

    async def _pump_both(
        self,
        near_reader: asyncio.StreamReader,
        near_writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        """Both ways at once, until either side ends; half-open connections are not kept."""
        out = asyncio.create_task(self._pump(near_reader, far_writer))
        back = asyncio.create_task(self._pump(far_reader, near_writer))
        try:
            await asyncio.wait((out, back), return_when=asyncio.FIRST_COMPLETED)
        finally:
            out.cancel()
            back.cancel()
            await asyncio.gather(out, back, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(
                _IDLE_S
            ):  # not wait_for, which can swallow close()'s cancellation in Python 3.11
                piece = await reader.read(_PIECE_BYTES)
            if not piece:
                return
            self._count(piece)
            writer.write(piece)
            await writer.drain()

    async def _answer(self, far_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The answer, marked as the last one of this connection."""
        head = b"HTTP/1.1 1"
        while head[8:10] == b" 1":  # interim answers are not passed on
            async with asyncio.timeout(_IDLE_S):
                head = await far_reader.readuntil(b"\r\n\r\n")
            self._count(head)
        status, _, rest = head.partition(b"\r\n")
        if not re.match(rb"HTTP/1\.[01] [2-5]\d\d", status):
            raise _Refused
        writer.write(b"\r\n".join([status, *_kept(_fields(rest)), b"Connection: close", b"", b""]))
        await self._pump(far_reader, writer)

    async def _send_body(self, reader: asyncio.StreamReader, far_writer: asyncio.StreamWriter, left: int) -> None:
        """The request's own body and no byte more: a second request on this connection may be for another host."""
        while left > 0 and (piece := await reader.read(min(left, _PIECE_BYTES))):
            left -= len(piece)
            self._count(piece)
            far_writer.write(piece)
            await far_writer.drain()

    def _count(self, piece: bytes) -> None:
        self.bytes_left -= len(piece)
        if self.exhausted:
            self.on_exhausted()
            raise _Refused


def _target(authority: str, default_port: int, path: str) -> Target:
    """Host and port of a request, in the one notation; what is neither is refused."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:@\[\]]+)(?::(\d{1,5}))?", authority)
    if match is None:
        raise _Refused
    port = int(match[2]) if match[2] else default_port
    try:
        host = normalise_host(match[1].strip("[]"))
    except UrlRefused as error:
        raise _Refused from error
    scheme = next((scheme for scheme, usual in DEFAULT_PORTS.items() if usual == port), "http")
    return Target(scheme, host, port, path)


async def _first_to_answer(
    target: Target, addresses: Sequence[str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    failed: OSError | None = None
    for address in addresses[:_MAX_ADDRESSES_TRIED]:
        try:
            async with asyncio.timeout(_CONNECT_S):
                return await asyncio.open_connection(address, target.port, limit=_MAX_HEAD_BYTES)
        except OSError as error:  # a TimeoutError is one
            failed = error
    raise FetchFailed(
        f"{target.authority!r} could not be reached ({type(failed).__name__}: {failed});"
        " check the URL or try again later"
    ) from failed


def _fields(rest: bytes) -> list[tuple[bytes, bytes]]:
    """The header lines as (lower-case name, line)."""
    lines = [line for line in rest.split(b"\r\n") if line]
    return [(line.partition(b":")[0].strip().lower(), line) for line in lines]


def _kept(fields: list[tuple[bytes, bytes]]) -> list[bytes]:
    return [line for name, line in fields if name not in _HOP]


def _request_head(method: bytes, target: Target, fields: list[tuple[bytes, bytes]]) -> bytes:
    host = f"Host: {target.authority}".encode("ascii")
    kept = [line for name, line in fields if name not in _HOP and name != b"host"]
    first = method + b" " + target.path_and_query.encode("latin-1") + b" HTTP/1.1"
    return b"\r\n".join([first, host, *kept, b"Connection: close", b"", b""])


def _body_bytes(fields: list[tuple[bytes, bytes]]) -> int:
    """The length of a request's body; a browser sends a plain body with its length and not in chunks."""
    headers = {name: line.partition(b":")[2].strip() for name, line in fields}
    length = headers.get(b"content-length", b"0")
    if b"transfer-encoding" in headers or not re.fullmatch(rb"\d{1,15}", length):
        raise _Refused
    return int(length)
