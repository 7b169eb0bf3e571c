"""A fetch goes where it may, and to the address that was checked."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
import trustme

from lye._web.fetch import MAX_REDIRECTS, Fetcher
from lye._web.rules import Rules
from lye.errors import FetchFailed, UrlRefused
from tests.lye.fetching import LIMIT, LOCAL, Names, fetch
from tests.lye.local_server import LocalServer


async def test_a_page_comes_with_its_type_and_final_url(server: LocalServer) -> None:
    server.serve("/a?b=1", "hello", headers="Content-Type: text/plain; charset=utf-8")
    answer, body = await fetch(LOCAL, server.url("/a?b=1#there"))
    assert (body, answer.url) == (b"hello", server.url("/a?b=1"))
    assert answer.content_type == "text/plain; charset=utf-8"


async def test_the_request_is_a_get_that_says_who_asks_and_carries_nothing_else(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # nothing listens there
    server.serve("/1", status="302 Found", headers="Location: /2\r\nSet-Cookie: a=b")
    server.serve("/2", "done")
    await fetch(LOCAL, server.url("/1"))
    for head in server.requests:
        names = [line.split(":")[0].lower() for line in head.strip().split("\r\n")[1:]]
        assert head.startswith("GET /")
        assert sorted(names) == ["accept", "accept-encoding", "accept-language", "host", "user-agent"]
        assert f"Host: 127.0.0.1:{server.port}\r\n" in head
        assert "tyler" in head


async def test_nothing_is_sent_to_an_address_that_is_not_open(server: LocalServer) -> None:
    server.serve("/", "secret")
    for host in ("127.0.0.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "localhost", "0"):
        for rules in (Rules(), Rules.of(["127.0.0.2"]), Rules.of([f"127.0.0.1:{server.port + 1}"])):
            with pytest.raises(UrlRefused):
                await fetch(Fetcher(rules), server.url(host=host))
    with pytest.raises(UrlRefused, match="'localhost' is, or leads to, a loopback address"):
        await fetch(Fetcher(), "http://localhost/")
    assert server.requests == []


async def test_the_name_is_looked_up_once_and_that_address_is_dialled(server: LocalServer) -> None:
    server.serve("/", "the checked one")
    with LocalServer(host="127.0.0.2", port=server.port) as rebound:
        rebound.serve("/", "the other one")
        names = Names(site_example=[["127.0.0.1"], ["127.0.0.2"]])
        fetcher = Fetcher(Rules.of(["site.example"]), resolve=names)
        _, body = await fetch(fetcher, server.url(host="site.example"))
    assert body == b"the checked one"
    assert (names.lookups, rebound.requests) == (["site.example"], [])
    assert f"Host: site.example:{server.port}\r\n" in server.requests[0]


async def test_a_name_that_turns_private_between_two_requests_is_refused_at_the_second(
    server: LocalServer,
) -> None:
    server.redirect("/", "/again")
    server.serve("/again", "secret")
    names = Names(site_example=[["127.0.0.1"], ["169.254.169.254"]])
    with pytest.raises(UrlRefused, match="metadata"):
        await fetch(Fetcher(Rules.of(["site.example"]), resolve=names), server.url(host="site.example"))
    assert len(server.requests) == 1


@pytest.mark.parametrize("private", ["127.0.0.1", "10.0.0.1", "::1", "fe80::1%lo", "64:ff9b::7f00:1"])
async def test_a_host_with_one_private_address_is_refused_whole(private: str) -> None:
    names = Names(site_example=[["1.1.1.1", private]])
    with pytest.raises(UrlRefused, match=r"site\.example"):
        await fetch(Fetcher(resolve=names), "http://site.example/")


async def test_a_dead_address_is_followed_by_the_next_one(server: LocalServer) -> None:
    server.serve("/", "alive")
    names = Names(site_example=[["127.0.0.3", "127.0.0.1"]])
    fetcher = Fetcher(Rules.of(["site.example"]), resolve=names)
    assert (await fetch(fetcher, server.url(host="site.example")))[1] == b"alive"


async def test_https_is_checked_against_the_name_while_the_pinned_address_is_dialled(
    tls_server: LocalServer, trusting: ssl.SSLContext
) -> None:
    tls_server.serve("/", "safe")
    rules = Rules.of(["site.example", "other.example"])
    names = Names(site_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
    fetcher = Fetcher(rules, resolve=names, ssl_context=trusting)
    url = f"https://site.example:{tls_server.port}/"
    assert (await fetch(fetcher, url))[1] == b"safe"
    assert f"Host: site.example:{tls_server.port}\r\n" in tls_server.requests[0]
    with pytest.raises(FetchFailed, match="certificate"):
        await fetch(fetcher, url.replace("site", "other"))
    with pytest.raises(FetchFailed, match="certificate"):
        await fetch(Fetcher(rules, resolve=names), url)  # the usual authorities do not know this one
    assert len(tls_server.requests) == 1


async def test_sni_names_the_host_not_the_address(authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("site.example").configure_cert(context)
    context.sni_callback = lambda _peer, name, _context: asked.append(name)
    with LocalServer(tls=context) as server:
        server.serve("/", "x")
        names = Names(site_example=[["127.0.0.1"]])
        fetcher = Fetcher(Rules.of(["site.example"]), resolve=names, ssl_context=trusting)
        await fetch(fetcher, f"https://site.example:{server.port}/")
    assert asked == ["site.example"]


async def test_a_redirect_from_https_down_to_http_is_refused(
    tls_server: LocalServer, server: LocalServer, trusting: ssl.SSLContext
) -> None:
    server.serve("/", "plain")
    tls_server.redirect("/", server.url())
    names = Names(site_example=[["127.0.0.1"]])
    fetcher = Fetcher(Rules.of(["site.example", "127.0.0.1"]), resolve=names, ssl_context=trusting)
    with pytest.raises(UrlRefused, match="down to"):
        await fetch(fetcher, f"https://site.example:{tls_server.port}/")
    assert server.requests == []


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
async def test_redirects_are_followed(server: LocalServer, status: str) -> None:
    server.redirect("/", "sub/page?x=1", status)
    server.serve("/sub/page?x=1", "there")
    answer, body = await fetch(LOCAL, server.url())
    assert (answer.url, body) == (server.url("/sub/page?x=1"), b"there")


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/secret",
        "//127.0.0.2:{port}/secret",
        "http://[::1]:{port}/secret",
        "http://0x7f.2/secret",
        "http://localhost:{port}/secret",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://metadata.example/",
        "http://1.1.1.1:22/",
        "http://user:pass@127.0.0.1:{port}/secret",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "javascript:alert(1)",
        "http://127.0.0.1:{port}\\@127.0.0.2/",
        "http://[::1",
        "HTTP://127.0.0.2:{port}/secret",
        "http://127。0。0。2:{port}/secret",
        "http://２１３０７０６４３４:{port}/secret",
        "http://0177.0.0.2:{port}/secret",
        "http://0:{port}/secret",
        "http://[::ffff:7f00:2]:{port}/secret",
        "http://[::127.0.0.2]:{port}/secret",
        "http://[64:ff9b::7f00:2]/",
        "http://[2002:7f00:2::]/",
        "http://[2001:0:7f00:2::]/",
        "http://[fe80::1%25lo]/",
        "http://127.0.0.1:{port}@127.0.0.2:{port}/secret",
        "http://127.0.0.1%2f@127.0.0.2/",
        "http://127.0.0.1\t.evil.example/",
        "///\\127.0.0.2/secret",
        "data:text/html,secret",
        "about:blank",
        "ws://127.0.0.1:{port}/",
        "/" + "a" * 9_000,
        "http://" + "a." * 300 + "example/",
    ],
    ids=lambda location: location[:40],
)
async def test_a_redirect_to_where_one_may_not_go_is_refused(server: LocalServer, location: str) -> None:
    server.redirect("/", location.format(port=server.port))
    server.serve("/secret", "secret")
    names = Names(metadata_example=[["169.254.169.254"]], localhost=[["127.0.0.1"]])
    with pytest.raises(UrlRefused):
        await fetch(Fetcher(Rules.of(["127.0.0.1"]), resolve=names), server.url())
    assert len(server.requests) == 1


async def test_a_loop_of_redirects_ends(server: LocalServer) -> None:
    server.redirect("/", "/")
    with pytest.raises(FetchFailed, match="redirects more than 5 times"):
        await fetch(LOCAL, server.url())
    assert len(server.requests) == MAX_REDIRECTS + 1


async def test_two_pages_that_redirect_to_each_other_end(server: LocalServer) -> None:
    server.redirect("/", "/b")
    server.redirect("/b", "/")
    with pytest.raises(FetchFailed, match="redirects more than 5 times"):
        await fetch(LOCAL, server.url())


async def test_five_redirects_are_followed(server: LocalServer) -> None:
    for number in range(MAX_REDIRECTS):
        server.redirect(f"/{number}", f"/{number + 1}")
    server.serve(f"/{MAX_REDIRECTS}", "there")
    assert (await fetch(LOCAL, server.url("/0")))[1] == b"there"


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "300 Choices", "304 Not Modified", "305 Use Proxy"])
async def test_only_the_five_redirect_codes_lead_elsewhere(server: LocalServer, status: str) -> None:
    server.serve("/", "stay", status=status, headers="Location: /secret\r\nRefresh: 0; url=/secret\r\nLink: </secret>")
    server.serve("/secret", "secret")
    try:
        body = (await fetch(LOCAL, server.url()))[1]
    except FetchFailed:
        body = b"stay"
    assert body == b"stay"
    assert len(server.requests) == 1


async def test_a_part_that_nobody_asked_for_is_no_answer(server: LocalServer) -> None:
    server.serve("/", "half", status="206 Partial Content", headers="Content-Range: bytes 0-3/8")
    with pytest.raises(FetchFailed, match="answered 206"):
        await fetch(LOCAL, server.url())


async def test_a_redirects_own_body_is_not_read(server: LocalServer) -> None:
    def endless() -> Iterator[bytes]:
        while not server.stopping.is_set():
            yield bytes(65_536)

    server.serve("/", endless(), status="302 Found", headers="Location: /there")
    server.serve("/there", "there")
    assert (await fetch(LOCAL, server.url()))[1] == b"there"


async def test_a_redirect_out_of_the_opened_hosts_is_refused(server: LocalServer) -> None:
    server.redirect("/", "http://public.example/?secret")
    names = Names(public_example=[["1.1.1.1"]])
    with pytest.raises(UrlRefused, match=r"redirects out of the hosts that were opened, to 'http://public\.example"):
        await fetch(Fetcher(Rules.of(["127.0.0.1"]), resolve=names), server.url())
    assert names.lookups == []


async def test_given_headers_go_to_the_same_origin_only(server: LocalServer) -> None:
    with LocalServer() as other:
        server.redirect("/", "/same")
        server.redirect("/same", other.url("/elsewhere"))
        other.redirect("/elsewhere", server.url("/back"))
        server.serve("/back", "back")
        async with LOCAL.get(server.url(), LIMIT, {"X-Key": "hunter2"}) as answer:
            assert answer.url == server.url("/back")
        assert "hunter2" not in "".join(other.requests)
    assert ["hunter2" in head for head in server.requests] == [True, True, True]


async def test_given_headers_do_not_go_to_another_name_of_the_same_server(server: LocalServer) -> None:
    server.redirect("/", server.url("/other", host="other.example"))
    names = Names(site_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
    fetcher = Fetcher(Rules.of(["site.example", "other.example"]), resolve=names)
    server.serve("/other", "x")
    async with fetcher.get(server.url(host="site.example"), LIMIT, {"X-Key": "hunter2"}):
        pass
    assert ["hunter2" in head for head in server.requests] == [True, False]
