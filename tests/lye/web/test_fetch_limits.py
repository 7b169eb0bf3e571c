"""A fetch ends within its limits, and a bad answer is a failure."""

from __future__ import annotations

import asyncio
import gzip
import socket
import socketserver
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pytest

from lye._web.fetch import Fetcher
from lye._web.page import Page, read_page
from lye._web.rules import Rules
from lye.errors import FetchFailed, UrlRefused
from tests.lye.fetching import LIMIT, LOCAL, Names, fetch
from tests.lye.local_server import LocalServer


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("404 Not Found", r"404 \(Not Found\)"),
        ("500 \x1b[31mred", r"500 \(Internal"),
        ("304 x", "304"),
        ("302 no location", "302"),
        ("799 odd", "answered 799;"),
        ("204 x", ""),
    ],
)
async def test_a_status_other_than_2xx_is_a_failure(server: LocalServer, status: str, said: str) -> None:
    server.serve("/", b"", status=status)
    if not said:
        assert (await fetch(LOCAL, server.url()))[1] == b""
        return
    with pytest.raises(FetchFailed, match=said):
        await fetch(LOCAL, server.url())


def endless(server: LocalServer) -> Iterator[bytes]:
    while not server.stopping.is_set():
        yield b"x" * 65_536


async def test_a_body_without_end_stops_at_the_limit(server: LocalServer) -> None:
    server.serve("/", endless(server))
    with pytest.raises(FetchFailed, match="limit of 1,000,000 bytes"):
        await fetch(LOCAL, server.url())


async def test_a_body_that_says_it_is_too_large_is_not_read(server: LocalServer) -> None:
    server.serve("/", lambda peer: peer.sendall(b"Content-Length: 99999999\r\n\r\n"))
    with pytest.raises(FetchFailed, match="larger than the limit"):
        await fetch(LOCAL, server.url())


async def test_a_compressed_bomb_stops_at_the_limit_with_little_memory(server: LocalServer) -> None:
    server.serve_gzip("/", bytes(200_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(FetchFailed, match="limit"):
            await fetch(LOCAL, server.url())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


async def test_a_bomb_within_a_bomb_is_opened_once(server: LocalServer) -> None:
    inner = gzip.compress(bytes(10_000_000))
    server.serve_gzip("/", inner)
    assert (await fetch(LOCAL, server.url()))[1] == inner


def drip(server: LocalServer, start: bytes) -> Callable[[socket.socket], None]:
    def send(peer: socket.socket) -> None:
        peer.sendall(start)
        while not server.stopping.wait(0.02):
            peer.sendall(b"x")

    return send


@pytest.mark.parametrize(
    "start",
    [
        b"Content-Length: 100000\r\n\r\n",
        b"X-Slow: ",
        b"\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5;ext=",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: ",
        b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x00",
    ],
)
async def test_a_server_that_drips_is_left_at_the_time_limit(server: LocalServer, start: bytes) -> None:
    server.serve("/", drip(server, start))
    began = time.monotonic()
    with pytest.raises(FetchFailed, match=r"within 0\.5 s"):
        await fetch(Fetcher(Rules.of(["127.0.0.1"]), timeout_s=0.5), server.url())
    assert 0.4 < time.monotonic() - began < 3


async def test_a_resolver_that_hangs_is_left_at_the_time_limit() -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(FetchFailed, match="did not finish"):
        await fetch(Fetcher(resolve=never, timeout_s=0.1), "http://site.example/")


async def test_the_time_limit_is_for_all_redirects_together(server: LocalServer) -> None:
    server.redirect("/", "/slow")
    server.serve("/slow", drip(server, b"\r\n"))
    with pytest.raises(FetchFailed, match=f"{server.port}/' did not finish"):
        await fetch(Fetcher(Rules.of(["127.0.0.1"]), timeout_s=0.4), server.url())


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffffffff\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 60_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nBad Header\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"<html>HTTP/0.9 had no head</html>",
        b"HTTP/1.1 200 " + b"O" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX\x00: a\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n: nameless\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n folded: first\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;" + b"x" * 300_000 + b"\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 60_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n" + b"Link: x\r\n" * 60_000 + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000,
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
    ids=lambda answer: repr(answer[9:60]),
)
async def test_a_broken_answer_is_a_failure(answer: bytes) -> None:
    class Raw(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            try:
                self.request.sendall(answer)
            except OSError:
                return  # the client had enough of it

    with socketserver.TCPServer(("127.0.0.1", 0), Raw) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        turn = asyncio.create_task(asyncio.to_thread(server.handle_request))
        with pytest.raises(FetchFailed):
            await fetch(LOCAL, url)
        await turn


async def test_a_content_encoding_that_was_not_asked_for_is_a_failure(server: LocalServer) -> None:
    for encoding in ("br", "gzip, gzip", "zstd"):
        server.serve("/", b"x", headers=f"Content-Encoding: {encoding}")
        with pytest.raises(FetchFailed, match="content-encoding"):
            await fetch(LOCAL, server.url())
    server.serve("/", gzip.compress(b"x"), headers="Content-Encoding: gzip\r\nContent-Encoding: gzip")
    with pytest.raises(FetchFailed, match="content-encoding"):
        await fetch(LOCAL, server.url())


async def test_a_refused_connection_and_an_unknown_host_are_failures_with_advice() -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(FetchFailed, match="check the URL or try again later"):
        await fetch(LOCAL, f"http://127.0.0.1:{port}/")

    async def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for resolve in (unknown, Names(nowhere_example=[[]])):
        with pytest.raises(FetchFailed, match=r"'nowhere\.example'.*check its spelling"):
            await fetch(Fetcher(resolve=resolve), "http://nowhere.example/")


async def test_a_cancelled_fetch_is_cancelled_not_failed(server: LocalServer) -> None:
    server.serve("/", drip(server, b"\r\n"))
    started = asyncio.Event()

    async def read() -> None:
        async with LOCAL.get(server.url(), LIMIT) as answer:
            async for _ in answer.body:
                started.set()

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_fifty_fetches_at_once_share_one_fetcher(server: LocalServer) -> None:
    for number in range(50):
        server.serve(f"/{number}", str(number))
    bodies = await asyncio.gather(*(fetch(LOCAL, server.url(f"/{number}")) for number in range(50)))
    assert [body for _, body in bodies] == [str(number).encode() for number in range(50)]


def raw(server: LocalServer, pieces: Callable[[], Iterator[bytes]]) -> Callable[[socket.socket], None]:
    def send(peer: socket.socket) -> None:
        for piece in pieces():
            if server.stopping.is_set():
                return
            peer.sendall(piece)

    return send


def provisional(server: LocalServer) -> Iterator[bytes]:
    yield b"\r\n"
    while not server.stopping.is_set():
        yield b"HTTP/1.1 100 Continue\r\n\r\n" * 100


def headers(server: LocalServer) -> Iterator[bytes]:
    while not server.stopping.is_set():
        yield b"X: y\r\n"


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints"])
async def test_provisional_answers_without_end_stop_at_the_time_limit(server: LocalServer, status: str) -> None:
    server.serve("/", raw(server, lambda: provisional(server)), status=status)
    with pytest.raises(FetchFailed, match=r"within 0\.5 s"):
        await fetch(Fetcher(Rules.of(["127.0.0.1"]), timeout_s=0.5), server.url())


async def test_headers_without_end_stop(server: LocalServer) -> None:
    server.serve("/", raw(server, lambda: headers(server)))
    with pytest.raises(FetchFailed):
        await fetch(LOCAL, server.url())


@pytest.mark.parametrize("greeting", [b"", b"\x16\x03\x03\x40\x00", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_tls_handshake_that_never_ends_or_is_none_is_left(greeting: bytes) -> None:
    stopping = threading.Event()

    class Silent(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(greeting)
            stopping.wait(10)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Silent) as silent:
        turn = asyncio.create_task(asyncio.to_thread(silent.handle_request))
        began = time.monotonic()
        with pytest.raises(FetchFailed):
            await fetch(
                Fetcher(Rules.of(["127.0.0.1"]), timeout_s=0.5), f"https://127.0.0.1:{silent.server_address[1]}/"
            )
        assert time.monotonic() - began < 3
        stopping.set()
        await turn


async def test_a_body_of_chunks_of_one_byte_leaves_the_loop_free(server: LocalServer) -> None:
    server.serve("/", lambda peer: peer.sendall(b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 50_000))
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    watcher = asyncio.create_task(watch())
    with pytest.raises(FetchFailed):  # it has no last chunk
        await fetch(LOCAL, server.url())
    watcher.cancel()
    assert turns > 100  # 5 reads from the network would give it a few


@pytest.mark.parametrize(
    ("head", "body", "read"),
    [
        ("Content-Length: 2\r\nTransfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("Content-Length: 5", b"hello and more than was announced", b"hello"),
        ("Content-Length: 5, 5", b"hello", b"hello"),
        ("Transfer-Encoding: CHUNKED", b"5\r\nhello\r\n0\r\nX: y\r\n\r\n", b"hello"),
        ("Transfer-Encoding: chunked", b"5;a=b;c\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("X-Odd: \xff\xfe", b"hello", b"hello"),
        ("Content-Type: text/plain; charset=" + "x" * 9_000, b"hello", b"hello"),
        ("Set-Cookie: a=b; Domain=.example\r\nAlt-Svc: h3=':1'\r\nRefresh: 0;/x", b"hello", b"hello"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_odd_but_whole_answers_are_read_as_http_says(
    server: LocalServer, head: str, body: bytes, read: bytes
) -> None:
    server.serve("/", lambda peer: peer.sendall(head.encode("latin-1") + b"\r\n\r\n" + body), headers="X: y")
    assert (await fetch(LOCAL, server.url()))[1] == read
    assert len(server.requests) == 1


BROTLI = bytes.fromhex("0b028068656c6c6f03")  # "hello"
ZSTD = bytes.fromhex("28b52ffd2005290000") + b"hello"


@pytest.mark.parametrize(("encoding", "body"), [("br", BROTLI), ("zstd", ZSTD), ("gzip, br", BROTLI), ("br", bytes(9))])
async def test_brotli_and_zstd_sent_unasked_are_refused_unread_and_at_once(
    server: LocalServer, encoding: str, body: bytes
) -> None:
    def endless() -> Iterator[bytes]:
        while not server.stopping.is_set():
            yield body * 1_000

    server.serve("/", endless(), headers=f"Content-Encoding: {encoding}")
    began = time.monotonic()
    with pytest.raises(FetchFailed, match=rf"content-encoding '{encoding}'"):
        await fetch(LOCAL, server.url())
    assert time.monotonic() - began < 2
    assert "br" not in server.requests[0].partition("Accept-Encoding:")[2].partition("\r\n")[0]


SECRET = "/a?token=hunter2"
FAILURES: dict[str, dict[str, object]] = {
    "a bad status": {"status": "404 Not Found"},
    "too large": {"body": b"x" * (LIMIT + 1)},
    "too large, and it does not say so": {"body": [b"x" * (LIMIT + 1)]},
    "damaged": {"body": b"x", "headers": "Content-Encoding: gzip"},
    "an encoding that was not asked for": {"headers": "Content-Encoding: br"},
    "no HTTP": {"headers": "Content-Length: 1\r\nContent-Length: 2"},
    "a damaged header": {"headers": "Set-Cookie: hunter2\0"},
    "a damaged status": {"status": "200\0hunter2"},
    "it redirects to itself": {"status": "302 Found", "headers": f"Location: {SECRET}"},
    "it redirects out": {"status": "302 Found", "headers": "Location: http://other.example/b?token=hunter2"},
    "it redirects to no place": {"status": "302 Found", "headers": "Location: ftp://other.example/b?token=hunter2"},
    "it redirects to a bad port": {"status": "302 Found", "headers": "Location: http://127.0.0.1:0/?token=hunter2"},
}


@pytest.mark.parametrize("answer", FAILURES.values(), ids=FAILURES)
async def test_no_failure_repeats_what_a_query_holds(server: LocalServer, answer: dict[str, object]) -> None:
    server.serve(SECRET, **answer)  # type: ignore[arg-type]
    opened = Fetcher(Rules.of([f"127.0.0.1:{server.port}"]), timeout_s=10)
    with pytest.raises((FetchFailed, UrlRefused)) as failure:
        await fetch(opened, server.url(SECRET))
    assert f"'{server.url('/a')}?...'" in str(failure.value)
    assert "hunter2" not in str(failure.value)


async def test_what_was_not_reached_or_is_no_page_is_named_without_its_query(server: LocalServer) -> None:
    server.serve(SECRET, lambda _peer: server.stopping.wait() and None)
    for fetcher, url in (
        (Fetcher(Rules.of(["127.0.0.1"]), timeout_s=0.2), server.url(SECRET)),
        (LOCAL, "http://127.0.0.1:1" + SECRET),
        (Fetcher(), "http://site.example:1" + SECRET),
    ):
        with pytest.raises((FetchFailed, UrlRefused), match=r"/a\?\.\.\.'") as failure:
            await fetch(fetcher, url)
        assert "hunter2" not in str(failure.value)
    for body, content_type, links in ((b"x", "image/png", False), (b"%PDF-", "", False), (b"x", "text/plain", True)):
        with pytest.raises(FetchFailed, match=r"/a\?\.\.\.'"):
            read_page(body, content_type, "https://site.example" + SECRET, links)
    with pytest.raises(FetchFailed, match=r"/a\?\.\.\.' does not exist"):
        Page("", "https://site.example" + SECRET, "").show(2)
