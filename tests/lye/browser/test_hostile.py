"""Pages that want to hang, to flood, to swell, to open windows, to hand out files and to ask for permissions."""

from __future__ import annotations

import asyncio

import pytest

from lye._browser.pool import Limits
from tests.lye.browsing import SITE, Browsing
from tests.lye.local_server import LocalServer

IMPATIENT = Limits(timeout_s=6, max_bytes=5_000_000, max_memory_bytes=250_000_000, max_pages=8, idle_s=600)


async def test_pages_that_hang_flood_and_swell_are_ended_and_others_are_not(chromium: str, server: LocalServer) -> None:
    server.serve("/alerts", "<script>for (;;) alert('again')</script>")
    server.serve("/loop", "<p>a</p><script>setTimeout(() => { for (;;); }, 50)</script>")
    server.serve("/drip", (server.stopping.wait(0.05) or b" " for _ in range(10_000)))
    server.serve("/flood", (b"<p>" + b"x" * 100_000 for _ in range(1_000)))
    server.serve("/heap", "<script>const a=[]; for (;;) { a.push(new Uint8Array(10_000_000).fill(1)) }</script>")
    server.serve("/good", "<p>fine</p>")
    browsing = Browsing(chromium, IMPATIENT)
    try:
        assert "fine" in (await browsing.call("browser_open", "good", url=server.url("/good", SITE))).content
        heap = await browsing.call("browser_open", "heap", url=server.url("/heap", SITE))
        assert heap.failed
        assert "too much memory" in heap.content
        paths = ("alerts", "loop", "drip", "flood")
        results = await asyncio.gather(
            *(browsing.call("browser_open", path, url=server.url(f"/{path}", SITE)) for path in paths)
        )
        words = dict(zip(paths, (result.content for result in results), strict=True))
        assert all(result.failed for result in results), words
        assert "within 6 s" in words["alerts"]
        assert "within 6 s" in words["loop"]
        assert "within 6 s" in words["drip"]
        assert "limit of 5,000,000 bytes" in words["flood"]
        gone = await browsing.call("browser_read", "loop")
        assert "call browser_open to open it again" in gone.content
        assert "fine" in (await browsing.call("browser_read", "good")).content
    finally:
        await browsing.thread.close()


async def test_a_download_is_refused_and_said(browsing: Browsing, server: LocalServer) -> None:
    server.serve("/file", b"MZ" * 100, headers="Content-Type: application/zip")
    server.serve("/", "<a href='/file' download>get</a>")
    result = await browsing.call("browser_open", url=server.url("/file", SITE))
    assert result.failed
    assert "call download_file" in result.content
    await browsing.call("browser_open", thread="files", url=server.url(host=SITE))
    clicked = await browsing.call("browser_click", thread="files", element="e1")
    assert "a download was refused" in clicked.content


async def test_permissions_are_denied_without_a_question(browsing: Browsing, server: LocalServer) -> None:
    script = """<p id=out></p><script>(async () => {
      const say = text => out.textContent += text + ' ';
      for (const name of ['geolocation', 'notifications', 'camera', 'microphone', 'clipboard-read', 'midi'])
        say(name + '=' + (await navigator.permissions.query({name})).state);
      navigator.geolocation.getCurrentPosition(() => say('located'), () => say('unlocated'));
    })()</script>"""
    server.serve("/", script)
    result = await browsing.call("browser_open", url=server.url(host=SITE))
    assert "=granted" not in result.content
    assert "notifications=denied" in result.content
    assert " located" not in result.content


@pytest.mark.deep
async def test_windows_that_a_page_opens_by_itself_are_closed(browsing: Browsing, server: LocalServer) -> None:
    server.serve("/", "<p>first</p><script>for (let i = 0; i < 8; i++) window.open('/more?' + i)</script>")
    result = await browsing.call("browser_open", url=server.url(host=SITE))
    assert "first" in result.content
    read = await browsing.call("browser_read")
    assert "first" in read.content
    assert len(browsing.pool._sessions[None, "t"].context.pages) == 1
