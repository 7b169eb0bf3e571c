"""One GET request that cannot be led astray: addresses checked and pinned, redirects too, limits on all.

What the body means is `page.py`'s; what may be reached is `rules.py`'s.
"""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING

from lye._web.decode import ACCEPTED_ENCODINGS, check_size, decode
from lye._web.proxy import Proxy
from lye._web.resolve import Resolver, checked_addresses, look_up
from lye._web.rules import Rules
from lye._web.url import Target, join, parse_url
from lye.errors import FetchFailed, UrlRefused

if TYPE_CHECKING:
    import httpcore

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_ADDRESSES_TRIED = 3
_CONNECT_TIMEOUT_S = 8.0  # leaves time for a second address when the first one is dead
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_HEADERS = {
    "User-Agent": "Mozilla/5.0 (compatible; tyler-lye/0.1)",
    "Accept": "text/html,application/xhtml+xml,text/markdown,text/plain,application/json,*/*;q=0.5",
    "Accept-Language": "en,*;q=0.5",
    "Accept-Encoding": ACCEPTED_ENCODINGS,
}


@dataclass(frozen=True)
class Answer:
    """A 200-299 response: its final URL, headers, and the decoded body in pieces, to be read once."""

    url: str
    content_type: str
    disposition: str
    body: AsyncIterator[bytes]


@dataclass(frozen=True)
class Fetcher:
    """How to fetch. Holds no connection and no cookie, so any number of tasks and event loops may share one.

    Proxies of the environment are not used. One that is given gets a tunnel to the address that was checked,
    never a name to look up again. `SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured, unless `ssl_context` is given.
    """

    rules: Rules = field(default_factory=Rules)
    timeout_s: float = 30.0
    resolve: Resolver = look_up
    ssl_context: ssl.SSLContext | None = None
    proxy: Proxy | None = None

    @asynccontextmanager
    async def get(self, url: str, max_bytes: int, headers: Mapping[str, str] = _NO_HEADERS) -> AsyncIterator[Answer]:
        """The answer to a GET of `url`, redirects followed; `timeout_s` covers the block's body as well.

        `headers`, which may hold a key, go to the URL's own scheme, host and port only, whatever it redirects to.

        Raises UrlRefused before anything is sent to a place that is not allowed, FetchFailed for a status
        other than 2xx, a body over `max_bytes` or a bad one, too many redirects, a broken connection, or
        no end within the time.
        """
        import httpcore

        target = parse_url(url)
        try:
            async with asyncio.timeout(self.timeout_s) as deadline, self._follow(target, max_bytes, headers) as answer:
                yield answer
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise FetchFailed(
                f"{target.shown!r} did not finish within {self.timeout_s:g} s; try again later or use another URL"
            ) from error
        except (
            httpcore.NetworkError,
            httpcore.TimeoutException,
            httpcore.ProtocolError,
            httpcore.ProxyError,
        ) as error:
            raise FetchFailed(
                f"{target.shown!r} could not be fetched ({type(error).__name__}: {_reason(error)});"
                " check the URL or try again later"
            ) from error

    @asynccontextmanager
    async def _follow(self, target: Target, max_bytes: int, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        start = target
        for _ in range(MAX_REDIRECTS + 1):
            own = headers if target.origin == start.origin else _NO_HEADERS
            async with self._send(target, own) as response:
                location = _header(response, b"location")
                if response.status not in _REDIRECTS or not location:
                    yield _accept(response, target, max_bytes)
                    return
                target = self._next(target, location)
        raise FetchFailed(f"{start.shown!r} redirects more than {MAX_REDIRECTS} times; use the final URL")

    def _next(self, target: Target, location: str) -> Target:
        """Where a redirect leads. A call to an opened host is not "outward" (see web.py), so it must stay there."""
        following = join(target, location)
        if self.rules.is_opened(target) and not self.rules.is_opened(following):
            raise UrlRefused(
                f"{target.shown!r} redirects out of the hosts that were opened, to {following.shown!r};"
                " open that one yourself if you mean it"
            )
        return following

    @asynccontextmanager
    async def _send(self, target: Target, headers: Mapping[str, str]) -> AsyncIterator[httpcore.Response]:
        """The response of one host, its body unread.

        Sent through connections of its own: no cookies, redirects, or anything left by another request.
        """
        import httpcore

        from lye._web.network import Network

        addresses = await checked_addresses(target, self.rules, self.resolve)
        usual = await asyncio.to_thread(_default_ssl_context)
        async with (
            Network(self.proxy, usual) as network,
            httpcore.AsyncConnectionPool(self.ssl_context or usual, network_backend=network) as pool,
        ):
            response = await self._first_to_answer(pool, target, addresses, headers)
            try:
                yield response
            finally:
                await response.aclose()

    async def _first_to_answer(
        self,
        pool: httpcore.AsyncConnectionPool,
        target: Target,
        addresses: Sequence[str],
        headers: Mapping[str, str],
    ) -> httpcore.Response:
        import httpcore

        *others, last = addresses[:_MAX_ADDRESSES_TRIED]
        for address in others:
            try:
                return await pool.handle_async_request(self._request(target, address, headers))
            except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.ProxyError):
                continue
        return await pool.handle_async_request(self._request(target, last, headers))

    def _request(self, target: Target, address: str, headers: Mapping[str, str]) -> httpcore.Request:
        """A request dialled at `address`, while Host header, SNI and certificate check stay the host's.

        `sni_hostname` is the documented extension for this: it is the name that TLS announces and checks.
        """
        import httpcore

        timeouts = {"connect": min(_CONNECT_TIMEOUT_S, self.timeout_s)} | dict.fromkeys(
            ("read", "write", "pool"), self.timeout_s
        )
        pinned = httpcore.URL(
            scheme=target.scheme.encode(),
            host=address.encode(),
            port=target.port,
            target=target.path_and_query.encode(),
        )
        return httpcore.Request(
            "GET",
            pinned,
            headers=list(({"Host": target.authority} | _HEADERS | dict(headers)).items()),
            extensions={"sni_hostname": target.host, "timeout": timeouts},
        )


def _reason(error: Exception) -> str:
    """Its words, without the server's: h11 quotes a header line that is none, which can be a cookie."""
    return re.sub(r"b(ytearray\(b)?['\"].*", "...", str(error), flags=re.DOTALL)[:300]


def _header(response: httpcore.Response, name: bytes) -> str:
    """The header's values, joined as RFC 9110 says; "" without it."""
    value = b", ".join(value for key, value in response.headers if key.lower() == name)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _accept(response: httpcore.Response, target: Target, max_bytes: int) -> Answer:
    what = repr(target.shown)
    status = response.status
    if not 200 <= status < 300 or status == HTTPStatus.PARTIAL_CONTENT:  # a part is never asked for
        known = {known.value: f" ({known.phrase})" for known in HTTPStatus}
        message = f"{what} answered {status}{known.get(status, '')}; check the URL or use another one"
        raise FetchFailed(message, status)
    length = _header(response, b"content-length")
    if length.isascii() and length.isdigit():
        check_size(int(length[:20]), max_bytes, what)
    return Answer(
        url=str(target),
        content_type=_header(response, b"content-type"),
        disposition=_header(response, b"content-disposition"),
        body=decode(response.aiter_stream(), _header(response, b"content-encoding"), max_bytes, what),
    )


@functools.cache
def _default_ssl_context() -> ssl.SSLContext:
    """httpx's own defaults, made once: reading the certificates takes 20 ms."""
    import httpx

    return httpx.create_ssl_context()
