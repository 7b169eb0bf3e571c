"""A proxy carries everything, to the address that was checked, and its password is never shown."""

from __future__ import annotations

import base64
import ssl
from dataclasses import replace

import pytest

from lye import FetchFailed, UrlRefused, web_tools
from lye._web.fetch import Fetcher
from lye._web.proxy import Proxy
from lye._web.rules import Rules
from tests.lye.fetching import LOCAL, Names, fetch
from tests.lye.local_proxy import LocalProxy
from tests.lye.local_server import LocalServer


async def test_a_plain_request_goes_through_a_tunnel_to_the_checked_address(server: LocalServer) -> None:
    server.serve("/", "hello")
    names = Names(site_example=[["127.0.0.1"], ["127.0.0.2"]])
    with LocalProxy() as proxy:
        fetcher = Fetcher(Rules.of(["site.example"]), resolve=names, proxy=Proxy.parse(proxy.url("me:hunter%202@")))
        assert (await fetch(fetcher, server.url(host="site.example")))[1] == b"hello"
    (asked,) = proxy.asked
    assert asked.startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'me:hunter 2').decode()}\r\n" in asked
    assert names.lookups == ["site.example"]
    assert f"Host: site.example:{server.port}\r\n" in server.requests[0]
    assert "Proxy-Authorization" not in server.requests[0]


async def test_tls_ends_at_the_server_and_checks_its_name(tls_server: LocalServer, trusting: ssl.SSLContext) -> None:
    tls_server.serve("/", "safe")
    names = Names(site_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
    rules = Rules.of(["site.example", "other.example"])
    with LocalProxy() as proxy:
        fetcher = Fetcher(rules, resolve=names, ssl_context=trusting, proxy=Proxy.parse(proxy.url()))
        assert (await fetch(fetcher, f"https://site.example:{tls_server.port}/"))[1] == b"safe"
        with pytest.raises(FetchFailed, match="certificate"):
            await fetch(fetcher, f"https://other.example:{tls_server.port}/")


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://10.0.0.1/", "http://localhost/", "http://[::1]/"])
async def test_what_is_refused_without_a_proxy_is_refused_with_one(url: str) -> None:
    with LocalProxy() as proxy, pytest.raises(UrlRefused):
        await fetch(Fetcher(proxy=Proxy.parse(proxy.url())), url)
    assert proxy.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\x1b[31m\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    ],
    ids=lambda answer: repr(answer[:24]),
)
async def test_a_proxy_that_opens_no_tunnel_is_a_failure(server: LocalServer, answer: bytes) -> None:
    with LocalProxy(answer) as proxy:
        fetcher = replace(LOCAL, proxy=Proxy.parse(proxy.url("me:hunter2@")))
        with pytest.raises(FetchFailed, match=r"ProxyError: the proxy") as failure:
            await fetch(fetcher, server.url())
    assert "hunter2" not in str(failure.value)
    assert server.requests == []


async def test_an_address_that_the_proxy_cannot_reach_is_followed_by_the_next_one(server: LocalServer) -> None:
    server.serve("/", "alive")
    names = Names(site_example=[["127.0.0.3", "127.0.0.1"]])
    with LocalProxy() as proxy:
        fetcher = Fetcher(Rules.of(["site.example"]), resolve=names, proxy=Proxy.parse(proxy.url()))
        assert (await fetch(fetcher, server.url(host="site.example")))[1] == b"alive"


def test_no_password_is_in_a_repr() -> None:
    proxy = Proxy.parse("http://me:hunter2@proxy.example:3128")
    shown = repr(Fetcher(proxy=proxy)) + repr(web_tools(proxy="http://me:hunter2@proxy.example:3128"))
    assert "proxy.example" in shown
    assert "hunter2" not in shown
    assert base64.b64encode(b"me:hunter2").decode() not in shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hunter2",
        "proxy.example:3128",
        "http://me:hunter2@proxy.example",
        "socks5://me:hunter2@proxy.example:1080",
        "http://me:hunter2@:3128",
        "http://me:hunter2@proxy.example:port",
        "http://me:hunter2@[proxy.example:3128",
        "http://me:hunter2@pro xy:3128",
        "http://me:hunter2@proxy.example:3128/path",
    ],
)
def test_what_is_no_proxy_is_refused_without_its_words(url: str) -> None:
    with pytest.raises(ValueError, match="user:password@host:port") as refusal:
        web_tools(proxy=url)
    assert "hunter2" not in str(refusal.value)
