"""Pages that want to reach what is not theirs: of all that a browser can send, nothing gets around the rules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import pytest

from tests.lye.browsing import SITE, Browsing, Trap
from tests.lye.local_server import LocalServer

SUBMIT = "<script>document.forms[0].submit()</script>"
# What a page does to reach TRAP (a host and port). The attempt is seen in the proxy's refusals.
REACHING = {
    "iframe": "<iframe src='http://TRAP/'></iframe>",
    "nested data: iframe": "<iframe src=\"data:text/html,<img src='http://TRAP/'>\"></iframe>",
    "srcdoc iframe": "<iframe srcdoc=\"<script>fetch('http://TRAP/')</script>\"></iframe>",
    "image": "<img src='http://TRAP/a.png'>",
    "https image": "<img src='https://TRAP/a.png'>",
    "script": "<script src='http://TRAP/a.js'></script>",
    "module": "<script type=module>import 'http://TRAP/a.js'</script>",
    "style sheet": "<style>@import 'http://TRAP/a.css'</style>",
    "font": "<style>@font-face{font-family:f;src:url(http://TRAP/f)} p{font-family:f}</style><p>text</p>",
    "video": "<video src='http://TRAP/a.mp4' autoplay></video>",
    "object": "<object data='http://TRAP/a'></object>",
    "prefetch": "<link rel=prefetch href='http://TRAP/a'>",
    "fetch": "<script>fetch('http://TRAP/', {mode: 'no-cors'})</script>",
    "XMLHttpRequest": "<script>x=new XMLHttpRequest();x.open('POST','http://TRAP/');x.send('data')</script>",
    "web socket": "<script>new WebSocket('ws://TRAP/')</script>",
    "secure web socket": "<script>new WebSocket('wss://TRAP/')</script>",
    "EventSource": "<script>new EventSource('http://TRAP/')</script>",
    "beacon": "<script>navigator.sendBeacon('http://TRAP/', 'data')</script>",
    "form in a frame": "<iframe name=f></iframe><form action='http://TRAP/' method=post target=f><input name=a></form>"
    + SUBMIT,
    "blob: worker": "<script>new Worker(URL.createObjectURL(new Blob([`fetch('http://TRAP/')`])))</script>",
    "shared worker": "<script>new SharedWorker('/worker.js')</script>",
    "fetch through a redirect": "<script>fetch('/away')</script>",
    "hexadecimal address": "<img src='http://0x7f.1:PORT/'>",
    "IPv6-mapped address": "<img src='http://[::ffff:127.0.0.1]:PORT/'>",
    "localhost": "<img src='http://localhost:PORT/'>",
    "all interfaces": "<img src='http://0.0.0.0:PORT/'>",
}
# What never comes as far as the proxy.
VANISHING = {
    "preconnect": "<link rel=preconnect href='https://TRAP/'>",
    "DNS prefetch": "<link rel=dns-prefetch href='//secret-data.inner.example'>",
    "service worker": "<script>navigator.serviceWorker?.register('/worker.js')</script>",
    "WebRTC over UDP": "<script>p=new RTCPeerConnection({iceServers:[{urls:'stun:127.0.0.1:PORT'}]});"
    "p.createDataChannel('a');p.createOffer().then(o=>p.setLocalDescription(o))</script>",
    "WebRTC over TCP": "<script>p=new RTCPeerConnection({iceServers:[{urls:'turn:127.0.0.1:PORT?transport=tcp',"
    "username:'a',credential:'b'}],iceTransportPolicy:'relay'});"
    "p.createDataChannel('a');p.createOffer().then(o=>p.setLocalDescription(o))</script>",
    "WebTransport": "<script>try { new WebTransport('https://127.0.0.1:PORT/') } catch (e) {}</script>",
    "popup": "<script>window.open('http://TRAP/')</script>",
    "file: frame": "<iframe src='file:///etc/passwd'></iframe>",
    "file: fetch": "<script>fetch('file:///etc/passwd').then(r=>r.text()).then(t=>document.write(t))</script>",
    "chrome: frame": "<iframe src='chrome://version'></iframe>",
}


def aimed(html: str, port: int) -> str:
    return html.replace("TRAP", f"127.0.0.1:{port}").replace("PORT", str(port))


def hostile_site(server: LocalServer, trap: Trap, pages: Mapping[str, str]) -> str:
    """A page with a frame for each of the pages, which wants to reach the trap of its name."""
    frames = []
    for number, (name, html) in enumerate(pages.items()):
        port = trap.ports[name]
        own = html.replace("/away", f"/away/{number}").replace("/worker.js", f"/worker/{number}.js")
        server.serve(f"/frame/{number}", aimed(own, port))
        server.redirect(f"/away/{number}", f"http://127.0.0.1:{port}/")
        code = f"fetch('http://127.0.0.1:{port}/')"
        server.serve(f"/worker/{number}.js", code, headers="Content-Type: text/javascript")
        frames.append(f"<iframe src='/frame/{number}' width=150 height=50></iframe>")
    server.serve("/", f"<p>here</p>{''.join(frames)}")
    return server.url(host=SITE)


async def test_no_request_of_a_page_reaches_a_private_place(browsing: Browsing, server: LocalServer) -> None:
    with Trap(REACHING) as trap:
        result = await browsing.call("browser_open", url=hostile_site(server, trap, REACHING))
        assert "here" in result.content
        missing = set(REACHING)
        end = time.monotonic() + 15
        while missing and time.monotonic() < end:  # some a browser does at its leisure, a prefetch for one
            refused = {port for _, port in browsing.refused()}
            missing = {name for name, port in trap.ports.items() if port not in refused}
            await asyncio.sleep(0.02)
        assert missing == set()
        assert trap.touched == []


async def test_nothing_goes_around_the_proxy(browsing: Browsing, server: LocalServer) -> None:
    with Trap(VANISHING) as trap:
        result = await browsing.call("browser_open", url=hostile_site(server, trap, VANISHING))
        assert "here" in result.content
        assert "root:" not in result.content
        assert "root:" not in (await browsing.call("browser_read")).content
        assert trap.touched == []
    assert [host for host in browsing.names.lookups if "secret-data" in host] == []


@pytest.mark.parametrize(
    ("html", "host"),
    [
        pytest.param("<meta http-equiv=refresh content='0;url=http://TRAP/'>", "127.0.0.1", id="meta refresh"),
        pytest.param(
            "<form action='http://TRAP/'></form><script>document.forms[0].submit()</script>", "127.0.0.1", id="form"
        ),
        pytest.param("<script>location='/away'</script>", "127.0.0.1", id="script, then redirect"),
        pytest.param("<script>location='http://inner.example/'</script>", "inner.example", id="private name"),
    ],
)
async def test_a_page_that_leads_to_a_private_place_is_an_error(
    browsing: Browsing, server: LocalServer, html: str, host: str
) -> None:
    with Trap(["page"]) as trap:
        server.serve("/", aimed(html, trap.ports["page"]))
        server.redirect("/away", f"http://127.0.0.1:{trap.ports['page']}/")
        result = await browsing.call("browser_open", url=server.url(host=SITE))
        assert result.failed
        assert "UrlRefused" in result.content
        assert host in result.content
        assert trap.touched == []
        assert (await browsing.call("browser_read")).failed


async def test_a_redirect_to_a_private_place_is_refused(browsing: Browsing, server: LocalServer) -> None:
    with Trap(["redirect"]) as trap:
        server.redirect("/out", f"http://127.0.0.1:{trap.ports['redirect']}/")
        result = await browsing.call("browser_open", url=server.url("/out", SITE))
        assert result.failed
        assert "UrlRefused" in result.content
        assert "browser_tools(allow_hosts=" in result.content
        assert trap.touched == []


@pytest.mark.deep
async def test_a_page_opens_right_after_a_refusal(browsing: Browsing, server: LocalServer) -> None:
    """The error page of the one before may come while the next one is on its way."""
    server.redirect("/out", "http://inner.example/")
    server.serve("/", "<p>here</p>")
    for _ in range(5):
        assert (await browsing.call("browser_open", url=server.url("/out", SITE))).failed
        assert "here" in (await browsing.call("browser_open", url=server.url(host=SITE))).content


async def test_a_name_that_is_bound_anew_is_refused_at_the_next_connection(
    browsing: Browsing, server: LocalServer
) -> None:
    server.serve("/", "<script>fetch('/secret').then(r=>r.text()).then(t=>document.write(t))</script>here")
    server.serve("/secret", "credentials")
    result = await browsing.call("browser_open", url=server.url(host="turning.example"))
    assert "here" in result.content
    assert "credentials" not in result.content
    assert ("turning.example", server.port) in browsing.refused()
    assert not any("/secret" in request for request in server.requests)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "chrome://settings",
        "chrome://crash",
        "view-source:http://shop.example/",
        "data:text/html,<p>hi",
        "javascript:alert(1)",
        "about:blank",
        "blob:http://shop.example/1",
        "ftp://shop.example/",
        "http://user:secret@shop.example/",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://2130706433/",
        "",
    ],
)
async def test_other_than_web_addresses_are_refused(browsing: Browsing, url: str) -> None:
    result = await browsing.call("browser_open", url=url)
    assert result.failed
    assert "UrlRefused" in result.content
    assert "secret" not in result.content


LINKS = ("file:///etc/passwd", "chrome://version", "view-source:/", "data:text/html,<p>imposter")


@pytest.mark.deep
async def test_a_link_out_of_the_web_leads_nowhere(browsing: Browsing, server: LocalServer) -> None:
    server.serve("/", "".join(f"<a href='{href}'>{href.partition(':')[0]}</a> " for href in LINKS))
    shown = (await browsing.call("browser_open", url=server.url(host=SITE))).content
    for href in LINKS:
        name = shown.partition(f' link "{href.partition(":")[0]}"')[0].rpartition("[")[2]
        clicked = await browsing.call("browser_click", element=name)
        assert "there is no element" not in clicked.content
        for words in ("root:", "imposter", "Executable Path"):
            assert words not in clicked.content
        if clicked.failed:
            shown = (await browsing.call("browser_open", url=server.url(host=SITE))).content


FORM = """<form action="/done" method="post"><label>Full name <input autocomplete="name"></label>
<label>Card <input autocomplete="cc-number"></label><label>Password <input type="password"></label>
<button>Buy</button></form>"""


async def test_a_form_is_known_to_nobody_but_its_site(browsing: Browsing, server: LocalServer) -> None:
    """Chromium would ask Google about the fields of each form, a moment after it sees them."""
    server.serve("/", FORM)
    server.serve("/done", "<p>Thank you</p>")
    before = len(browsing.names.lookups)
    opened = (await browsing.call("browser_open", url=server.url(host=SITE))).content
    name, card, password, buy = [part.split()[0] for part in opened.split("[")[1:]]
    for element, text in ((name, "Ann Bell"), (card, "4111111111111111"), (password, "a password")):
        await browsing.call("browser_fill", element=element, text=text)
    assert "Thank you" in (await browsing.call("browser_click", element=buy)).content
    assert (await browsing.call("browser_open", url=server.url("/missing", SITE))).failed
    assert set(browsing.names.lookups[before:]) == {SITE}
