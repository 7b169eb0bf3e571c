"""One GET request that cannot be led astray: addresses checked and pinned, redirects too, limits on all.

What the body means is `_page.py`'s; what may be reached is `_rules.py`'s.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from lye._decode import ACCEPTED_ENCODINGS, check_size, decode
from lye._resolve import Resolver, checked_addresses, look_up
from lye._rules import Rules
from lye._url import Target, join, parse_url
from lye.errors import FetchFailed, UrlRefused

if TYPE_CHECKING:
    import httpx

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_ADDRESSES_TRIED = 3
_CONNECT_TIMEOUT_S = 8.0  # leaves time for a second address when the first one is dead
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

    Proxies of the environment are not used: they would look the name up a second time. `SSL_CERT_FILE` and
    `SSL_CERT_DIR` are honoured, unless `ssl_context` is given.
    """

    rules: Rules = field(default_factory=Rules)
    timeout_s: float = 30.0
    resolve: Resolver = look_up
    ssl_context: ssl.SSLContext | None = None

    @asynccontextmanager
    async def get(self, url: str, max_bytes: int) -> AsyncIterator[Answer]:
        """The answer to a GET of `url`, redirects followed; `timeout_s` covers the block's body as well.

        Raises UrlRefused before anything is sent to a place that is not allowed, FetchFailed for a status
        other than 2xx, a body over `max_bytes` or a bad one, too many redirects, a broken connection, or
        no end within the time.
        """
        import httpx

        target = parse_url(url)
        try:
            async with asyncio.timeout(self.timeout_s) as deadline, self._follow(target, max_bytes) as answer:
                yield answer
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise FetchFailed(
                f"{str(target)!r} did not finish within {self.timeout_s:g} s; try again later or use another URL"
            ) from error
        except httpx.HTTPError as error:
            raise FetchFailed(
                f"{str(target)!r} could not be fetched ({type(error).__name__}: {str(error)[:300]});"
                " check the URL or try again later"
            ) from error

    @asynccontextmanager
    async def _follow(self, target: Target, max_bytes: int) -> AsyncIterator[Answer]:
        start = target
        for _ in range(MAX_REDIRECTS + 1):
            async with self._send(target) as response:
                location = response.headers.get("location", "")
                if response.status_code not in _REDIRECTS or not location:
                    yield _accept(response, target, max_bytes)
                    return
                target = join(target, location)
        raise FetchFailed(f"{str(start)!r} redirects more than {MAX_REDIRECTS} times; use the final URL")

    @asynccontextmanager
    async def _send(self, target: Target) -> AsyncIterator[httpx.Response]:
        """The response of one host, its body unread.

        Sent through a bare transport of its own: no cookies, proxies, redirects or reused connections.
        """
        import httpx

        addresses = await checked_addresses(target, self.rules, self.resolve)
        context = self.ssl_context
        if context is None:
            context = await asyncio.to_thread(_default_ssl_context)
        async with httpx.AsyncHTTPTransport(verify=context) as transport:
            response = await self._first_to_answer(transport, target, addresses)
            try:
                yield response
            finally:
                await response.aclose()

    async def _first_to_answer(
        self, transport: httpx.AsyncHTTPTransport, target: Target, addresses: Sequence[str]
    ) -> httpx.Response:
        import httpx

        *others, last = addresses[:_MAX_ADDRESSES_TRIED]
        for address in others:
            try:
                return await transport.handle_async_request(self._request(target, address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await transport.handle_async_request(self._request(target, last))

    def _request(self, target: Target, address: str) -> httpx.Request:
        """A request dialled at `address`, while Host header, SNI and certificate check stay the host's.

        `sni_hostname` is httpx's documented extension for this: it is the name that TLS announces and checks.
        """
        import httpx

        pinned = Target(target.scheme, address, target.port, target.path_and_query)
        timeouts = {"connect": min(_CONNECT_TIMEOUT_S, self.timeout_s)} | dict.fromkeys(
            ("read", "write", "pool"), self.timeout_s
        )
        try:
            return httpx.Request(
                "GET",
                str(pinned),
                headers={"Host": target.authority} | _HEADERS,
                extensions={"sni_hostname": target.host, "timeout": timeouts},
            )
        except httpx.InvalidURL as error:
            raise UrlRefused(f"{str(target)!r} is not a URL: {error}; correct it") from error


def _accept(response: httpx.Response, target: Target, max_bytes: int) -> Answer:
    what = repr(str(target))
    status = response.status_code
    if not 200 <= status < 300:
        known = {known.value: f" ({known.phrase})" for known in HTTPStatus}
        raise FetchFailed(f"{what} answered {status}{known.get(status, '')}; check the URL or use another one")
    length = response.headers.get("content-length", "")
    if length.isascii() and length.isdigit():
        check_size(int(length[:20]), max_bytes, what)
    encoding = response.headers.get("content-encoding", "")
    return Answer(
        url=str(target),
        content_type=response.headers.get("content-type", ""),
        disposition=response.headers.get("content-disposition", ""),
        body=decode(response.aiter_raw(), encoding, max_bytes, what),
    )


@functools.cache
def _default_ssl_context() -> ssl.SSLContext:
    """httpx's own defaults, made once: reading the certificates takes 20 ms."""
    import httpx

    return httpx.create_ssl_context()
