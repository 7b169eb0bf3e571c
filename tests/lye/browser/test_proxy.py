"""The browser's proxy: what it dials, what it refuses without a word, and what it lets through."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from lye._browser.proxy import Proxy
from lye._web.rules import Rules
from tests.lye.fetching import Names
from tests.lye.local_server import LocalServer

OPENED = Rules.of(["127.0.0.1", "site.example"], factory="browser_tools")


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    running = Proxy(
        OPENED, Names(site_example=[["127.0.0.1"], ["10.0.0.1"]], rebound_example=[["93.184.216.34", "::1"]])
    )
    await running.start()
    running.allow(1_000_000)
    yield running
    await running.close()


async def ask(proxy: Proxy, request: str, then: bytes = b"") -> bytes:
    """All that comes back through the proxy until it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(request.encode() + then)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b"(reset)"
    finally:
        writer.close()


def void(value: object) -> None:
    pass


def get(url: str, headers: str = "") -> str:
    return f"GET {url} HTTP/1.1\r\nHost: ignored.example\r\n{headers}\r\n"


async def test_a_plain_request_is_forwarded_to_the_host_of_its_url(proxy: Proxy, server: LocalServer) -> None:
    server.serve(
        "/a?b=c", "hello", headers="Content-Type: text/html\r\nConnection: keep-alive\r\nProxy-Authenticate: Basic"
    )
    answer = await ask(proxy, get(server.url("/a?b=c"), "Proxy-Authorization: x\r\nUpgrade: h2c\r\nX-Kept: 1\r\n"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\nConnection: close\r\n\r\nhello")
    assert b"keep-alive" not in answer
    assert b"Proxy-Authenticate" not in answer
    (request,) = server.requests
    assert f"Host: 127.0.0.1:{server.port}\r\n" in request
    assert "X-Kept: 1" in request
    assert "ignored.example" not in request
    assert "Proxy-" not in request
    assert "Upgrade" not in request


async def test_a_second_request_on_the_connection_goes_nowhere(proxy: Proxy, server: LocalServer) -> None:
    server.serve("/", "one")
    answer = await ask(proxy, get(server.url()) + get(server.url("/second")))
    assert answer.endswith(b"one")
    assert len(server.requests) == 1
    assert "second" not in server.requests[0]


async def test_nothing_behind_a_requests_body_is_passed_on(proxy: Proxy) -> None:
    received = b""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        received = await reader.readuntil(b"body")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.write_eof()
        received += await reader.read()
        writer.close()

    far = await asyncio.start_server(reply, "127.0.0.1", 0)
    async with far:
        url = f"http://127.0.0.1:{far.sockets[0].getsockname()[1]}/"
        await ask(proxy, get(url, "Content-Length: 4\r\n").replace("GET", "POST"), b"body" + get(url).encode())
    assert received.startswith(b"POST / ")
    assert received.endswith(b"\r\n\r\nbody")


async def test_a_tunnel_carries_bytes_both_ways(proxy: Proxy, server: LocalServer) -> None:
    server.serve("/in", "through")
    asked = f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n\r\n"
    answer = await ask(proxy, asked, b"GET /in HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 Connected\r\n\r\nHTTP/1.1 200 OK")
    assert answer.endswith(b"through")


async def test_a_name_that_turns_private_is_refused_at_its_second_look_up(proxy: Proxy, server: LocalServer) -> None:
    server.serve("/", "first")
    assert (await ask(proxy, get(server.url(host="site.example")))).endswith(b"first")
    proxy.rules = Rules.of([])
    assert await ask(proxy, get("http://site.example/")) == b""
    assert "a private address" in str(proxy.refusals["site.example", 80])


@pytest.mark.parametrize(
    "request_line",
    [
        pytest.param("CONNECT 10.0.0.1:443", id="private"),
        pytest.param("CONNECT 169.254.169.254:80", id="metadata"),
        pytest.param("CONNECT [::1]:443", id="IPv6 loopback"),
        pytest.param("CONNECT [::ffff:127.0.0.1]:443", id="mapped"),
        pytest.param("CONNECT 0xa.1:443", id="hexadecimal"),
        pytest.param("CONNECT 8.8.8.8:25", id="port"),
        pytest.param("CONNECT rebound.example:443", id="one bad address of two"),
        pytest.param("CONNECT unknown.host@10.0.0.1:443", id="user name"),
        pytest.param("CONNECT /etc/passwd", id="path"),
        pytest.param("CONNECT 1.2.3.4:99999", id="no port"),
        pytest.param("GET http://10.0.0.1/", id="plain private"),
        pytest.param("GET http://[fe80::1%25eth0]/", id="zone"),
        pytest.param("GET http://a:b@10.0.0.1/", id="plain user name"),
        pytest.param("GET https://8.8.8.8/", id="absolute https"),
        pytest.param("GET file:///etc/passwd", id="file"),
        pytest.param("GET /", id="origin form, as another page of this machine's browser would send"),
        pytest.param("nonsense", id="nonsense"),
    ],
)
async def test_what_is_not_allowed_gets_no_answer(proxy: Proxy, request_line: str) -> None:
    assert await ask(proxy, f"{request_line} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") == b""


async def test_a_refusal_is_remembered_by_the_one_notation_of_its_host_and_a_hundred_are(proxy: Proxy) -> None:
    await ask(proxy, "CONNECT 0xa.1:443 HTTP/1.1\r\n\r\n")
    assert list(proxy.refusals) == [("10.0.0.1", 443)]
    for number in range(120):
        await ask(proxy, f"CONNECT 10.0.1.{number}:443 HTTP/1.1\r\n\r\n")
    assert len(proxy.refusals) == 100


@pytest.mark.parametrize(
    "headers", ["Transfer-Encoding: chunked\r\n", "Content-Length: -1\r\n", "Content-Length: x\r\n"]
)
async def test_a_body_without_a_plain_length_is_refused(proxy: Proxy, server: LocalServer, headers: str) -> None:
    assert await ask(proxy, get(server.url(), f"{headers}\r\n"), b"5\r\nhello\r\n0\r\n\r\n") == b""
    assert server.requests == []


async def test_a_flood_is_cut_and_nothing_follows_it(proxy: Proxy, server: LocalServer) -> None:
    server.serve("/flood", (b"x" * 100_000 for _ in range(1_000)))
    server.serve("/small", "small")
    answer = await ask(proxy, get(server.url("/flood")))
    assert len(answer) <= 1_000_000
    assert proxy.exhausted
    assert await ask(proxy, get(server.url("/small"))) in (b"", b"(reset)")
    assert len(server.requests) == 1  # nothing leaves either
    proxy.allow(1_000)
    assert (await ask(proxy, get(server.url("/small")))).endswith(b"small")


async def test_more_connections_than_a_page_needs_are_not_taken(proxy: Proxy, server: LocalServer) -> None:
    server.serve("/", "taken")
    held = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(128)]
    assert await ask(proxy, get(server.url())) in (b"", b"(reset)")
    assert server.requests == []
    held.pop()[1].close()
    async with asyncio.timeout(10):
        while not (await ask(proxy, get(server.url()))).endswith(b"taken"):
            await asyncio.sleep(0.01)
    for _, writer in held:
        writer.close()


async def test_an_endless_head_is_cut(proxy: Proxy, server: LocalServer) -> None:
    assert await ask(proxy, "GET " + "x" * 200_000) in (b"", b"(reset)")


@pytest.mark.parametrize("head", [b"HTTP/1.1 101 Switching\r\n\r\n", b"junk\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
async def test_an_answer_that_is_none_is_not_passed_on(proxy: Proxy, head: bytes) -> None:
    def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        writer.close()

    far = await asyncio.start_server(reply, "127.0.0.1", 0)
    async with far:
        port = far.sockets[0].getsockname()[1]
        assert await ask(proxy, get(f"http://127.0.0.1:{port}/")) == b""


async def test_a_host_that_does_not_listen_is_a_failure_that_is_remembered(proxy: Proxy) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert await ask(proxy, f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n") == b""
    assert "could not be reached" in str(proxy.refusals["127.0.0.1", port])


async def test_closing_ends_what_is_open(proxy: Proxy, server: LocalServer) -> None:
    server.serve("/slow", lambda peer: void(server.stopping.wait(30)))
    asking = asyncio.create_task(ask(proxy, get(server.url("/slow"))))
    async with asyncio.timeout(15):
        while not server.requests:
            await asyncio.sleep(0.02)
    await proxy.close()
    assert await asking in (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n", b"", b"(reset)")
    assert server.stopping.is_set() is False  # it was the proxy that ended it


async def test_closing_ends_what_never_stops_sending(server: LocalServer) -> None:
    """Data that comes in the moment of the cancellation must not outlive it."""
    server.serve("/endless", (b"x" * 1_000 for _ in range(100_000_000)))
    proxy = Proxy(OPENED)
    await proxy.start()
    proxy.allow(1 << 40)
    asking = asyncio.create_task(ask(proxy, get(server.url("/endless"))))
    async with asyncio.timeout(10):
        while proxy.bytes_left > (1 << 40) - 500_000:
            await asyncio.sleep(0)
        await proxy.close()
        await asking
