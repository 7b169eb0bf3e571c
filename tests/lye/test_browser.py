"""The five tools, as an agent calls them, and whose the browser is."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lye import BROWSER_TOOLS, Browser, BrowserFailed, UrlRefused, browser_tools
from lye._browser.pool import Limits
from narrator.file_store import FileStore
from tests.lye.browsing import SITE, Browsing
from tests.lye.local_server import LocalServer
from tyler import Agent
from tyler.testing import ScriptedModel, calls
from tyler.tools import ToolContext

LIMITS = Limits(timeout_s=40, max_bytes=5_000_000, max_memory_bytes=1 << 30, max_pages=2, idle_s=600)
CONTEXT = ToolContext(thread_id="t", owner=None, call_id="c", idempotency_key="k")
FORM = """<title>Order</title><h1>Order</h1><form action="/done" method="post"><label>Name <input name="who"></label>
<select name="size"><option>Small<option>Large</select><label><input type="checkbox" name="gift">A gift</label>
<textarea name="note" placeholder="Note"></textarea><input type="file" name="file"><button>Send</button></form>"""


@pytest.fixture(scope="module")
def browsing(chromium: str) -> Iterator[Browsing]:
    running = Browsing(chromium, LIMITS)
    yield running
    asyncio.run(running.thread.close())


def test_the_tools_say_what_they_do_risk_take_and_touch() -> None:
    assert [(tool.name, tool.risk, tool.effect) for tool in BROWSER_TOOLS] == [
        ("browser_open", "external", "read"),
        ("browser_read", "external", "read"),
        ("browser_click", "external", "once"),
        ("browser_fill", "external", "once"),
        ("browser_screenshot", "external", "read"),
    ]
    for tool in BROWSER_TOOLS:
        assert all("description" in field for field in tool.parameters["properties"].values())
    tools = browser_tools(allow_hosts=["wiki.example"])
    reading = {"untrusted"}
    assert tools[0].touched({"url": "https://wiki.example/a"}) == reading
    for url in ("https://other.example/", "not a url", "", None, 7, ["https://wiki.example/"]):
        assert tools[0].touched({"url": url}) == {"untrusted", "outward"}
    assert tools[0].touched({}) == {"untrusted", "outward"}
    assert [tool.touched({}) for tool in tools[1:]] == [
        reading,
        {"untrusted", "outward"},
        {"untrusted", "outward"},
        reading,
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timeout_s": 0}, "timeout_s is 0"),
        ({"max_pages": -1}, "max_pages is -1"),
        ({"idle_s": float("nan")}, "idle_s is nan"),
        ({"allow_hosts": "one.example"}, "pass a list"),
        ({"allow_hosts": ["http://x"]}, "allow_hosts entry"),
    ],
)
def test_wrong_options_are_refused_at_once(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        browser_tools(**options)  # type: ignore[arg-type]


async def test_nothing_is_started_for_a_bad_address_or_without_an_open_page() -> None:
    async with Browser() as browser:
        with pytest.raises(UrlRefused):
            await browser.tools[0](CONTEXT, "file:///etc/passwd")
        with pytest.raises(BrowserFailed, match="no page is open; call browser_open first"):
            await browser.tools[1](CONTEXT)


async def test_a_missing_program_is_named_with_what_installs_it() -> None:
    async with Browser(executable="/nowhere/chromium") as browser:
        with pytest.raises(BrowserFailed, match=r"'/nowhere/chromium'.*playwright install chromium"):
            await browser.tools[0](CONTEXT, "https://site.example/")


async def test_a_program_that_is_no_browser_is_an_error(tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    program.chmod(0o755)
    async with Browser(executable=str(program)) as browser:
        with pytest.raises(BrowserFailed, match="did not start"):
            await browser.tools[0](CONTEXT, "https://site.example/")


async def test_a_form_is_read_filled_and_sent(browsing: Browsing, server: LocalServer) -> None:
    server.serve("/", FORM)
    server.serve("/done", "<p>Thank you</p>")
    opened = await browsing.call("browser_open", url=server.url(host=SITE))
    assert opened.content.startswith(f"Title: Order\nURL: {server.url(host=SITE)}\n\n# Order\n")
    first = opened.content.index("[e")
    name, size, gift, note, file, send = [part.split("]")[0] for part in opened.content[first:].split("[")[1:]]
    assert name.endswith(' textbox "Name"')
    assert size.endswith(' select "size" = "Small" of "Small", "Large"')
    assert gift.endswith(' checkbox "A gift" not checked')
    assert note.endswith(' textbox "Note"')
    assert send.endswith(' button "Send"')

    await browsing.call("browser_fill", element=name.split()[0], text="Ann & Bob")
    await browsing.call("browser_fill", element=f"[{size}]", text="Large")
    clicked = await browsing.call("browser_click", element=gift)
    assert '= "Ann & Bob"' in clicked.content
    assert '= "Large" of' in clicked.content
    assert '"A gift" checked' in clicked.content
    assert "takes a file" in (await browsing.call("browser_fill", element=file, text="/etc/passwd")).content
    assert "could not be used" in (await browsing.call("browser_fill", element=send, text="x")).content

    sent = await browsing.call("browser_click", element=send.split()[0])
    assert sent.content == f"URL: {server.url('/done', SITE)}\n\nThank you"
    assert server.requests[-1].startswith("POST /done ")
    stale = await browsing.call("browser_click", element=send.split()[0])
    assert stale.failed
    assert "there is no element" in stale.content


async def test_fill_can_press_enter(browsing: Browsing, server: LocalServer) -> None:
    server.serve("/", "<form action='/find'><input name=q></form>")
    server.serve("/find?q=tea", "<p>found tea</p>")
    opened = await browsing.call("browser_open", url=server.url(host=SITE))
    element = opened.content.split("[")[1].split()[0]
    assert "found tea" in (await browsing.call("browser_fill", element=element, text="tea", submit=True)).content


async def test_frames_are_read_and_clicked_also_those_of_other_sites(browsing: Browsing, server: LocalServer) -> None:
    server.serve("/", f"<p>outer</p><iframe src='{server.url('/inner', 'other.example')}'></iframe>")
    server.serve("/inner", "<button onclick=\"this.textContent='Pressed'\">Press</button>")
    opened = await browsing.call("browser_open", url=server.url(host=SITE))
    assert "(frame" in opened.content
    element = opened.content.split("[")[1].split()[0]
    assert '"Pressed"' in (await browsing.call("browser_click", element=element)).content


async def test_a_new_tab_takes_the_pages_place_and_dialogs_are_told(browsing: Browsing, server: LocalServer) -> None:
    server.serve("/", "<a href='/tab' target=_blank>tab</a><button onclick=\"confirm('Sure?')\">ask</button>")
    server.serve("/tab", "<p>in the tab</p>")
    opened = await browsing.call("browser_open", url=server.url(host=SITE))
    tab, ask = [part.split()[0] for part in opened.content.split("[")[1:]]
    asked = await browsing.call("browser_click", element=ask)
    assert "the confirm 'Sure?', which was dismissed" in asked.content
    assert "in the tab" in (await browsing.call("browser_click", element=tab)).content
    assert "in the tab" in (await browsing.call("browser_read")).content


async def test_a_bad_status_and_a_bad_certificate_are_errors(
    browsing: Browsing, server: LocalServer, tls_server: LocalServer
) -> None:
    missing = await browsing.call("browser_open", url=server.url("/missing", SITE))
    assert missing.failed
    assert "404 (Not Found)" in missing.content
    untrusted = await browsing.call("browser_open", url=f"https://{SITE}:{tls_server.port}/")
    assert untrusted.failed
    assert "ERR_CERT" in untrusted.content


async def test_a_screenshot_is_kept_and_attached(browsing: Browsing, server: LocalServer) -> None:
    server.serve("/", "<p>picture</p><div style='height:60000px'></div>")
    await browsing.call("browser_open", url=server.url(host=SITE))
    assert "FileStoreNeeded" in (await browsing.call("browser_screenshot")).content
    async with await FileStore.create() as store:
        for full_page, height in ((False, 900), (True, 10_000)):
            result = await browsing.call("browser_screenshot", store=store, full_page=full_page)
            (file,) = result.attachments
            picture = await store.get(file.file_id)
            assert picture.startswith(b"\x89PNG")
            assert int.from_bytes(picture[20:24], "big") == height
            assert file.mime_type == "image/png"


async def test_threads_and_owners_have_pages_and_cookies_of_their_own(browsing: Browsing, server: LocalServer) -> None:
    server.serve("/", "<p id=p></p><script>p.textContent='had '+document.cookie;document.cookie='a=1'</script>")
    url = server.url(host=SITE)
    await browsing.call("browser_open", "one", url=url)
    assert "had a=1" in (await browsing.call("browser_open", "one", url=url)).content
    other = await browsing.call("browser_open", "one", owner="somebody", url=url)
    assert "a=1" not in other.content
    assert (await browsing.call("browser_read", "two")).failed


async def test_of_too_many_pages_the_one_idle_for_longest_is_closed(browsing: Browsing, server: LocalServer) -> None:
    server.serve("/", "<p>here</p>")
    for thread in ("a", "b", "c"):
        assert "here" in (await browsing.call("browser_open", thread, url=server.url(host=SITE))).content
    gone = await browsing.call("browser_read", "a")
    assert "closed to make room for another one); call browser_open to open it again" in gone.content
    assert "here" in (await browsing.call("browser_read", "b")).content


async def test_calls_of_one_message_wait_for_each_other(browsing: Browsing, server: LocalServer) -> None:
    server.serve("/", "<p>one</p>")
    server.serve("/2", "<p>two</p>")
    first, second = await asyncio.gather(
        browsing.call("browser_open", url=server.url(host=SITE)),
        browsing.call("browser_open", url=server.url("/2", SITE)),
    )
    assert "one" in first.content
    assert "two" in second.content


async def test_a_cancelled_call_loses_its_page_and_nothing_else(browsing: Browsing, server: LocalServer) -> None:
    server.serve("/", lambda peer: print(server.stopping.wait(30)))
    server.serve("/good", "<p>good</p>")
    await browsing.call("browser_open", "other", url=server.url("/good", SITE))
    task = asyncio.create_task(browsing.call("browser_open", url=server.url(host=SITE)))
    async with asyncio.timeout(30):
        while not any(request.startswith("GET / ") for request in server.requests):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "the call was cancelled" in (await browsing.call("browser_read")).content
    assert "good" in (await browsing.call("browser_read", "other")).content


def processes_of(parent: int) -> set[int]:
    """All descendants of a process that are alive."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found = {parent}
    while more := {pid for pid, above in parents.items() if above in found} - found:
        found |= more
    return found - {parent}


def browsers(driver_too: bool = False) -> set[int]:
    """The main processes of Chromium below this one; Playwright's drivers instead, if they are asked for."""
    mark = b"run-driver" if driver_too else b"--remote-debugging-pipe"
    lines = {pid: cmdline(pid) for pid in processes_of(os.getpid())}
    return {pid for pid, line in lines.items() if mark in line and b"--type=" not in line}


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are seen in /proc")


@needs_proc
async def test_idle_pages_are_closed_and_the_browser_with_the_last(chromium: str, server: LocalServer) -> None:
    server.serve("/", "<p>here</p>")
    before = browsers()
    browsing = Browsing(chromium, Limits(40, 5_000_000, 1 << 30, 2, idle_s=0.4))
    assert "here" in (await browsing.call("browser_open", url=server.url(host=SITE))).content
    assert browsers() > before
    async with asyncio.timeout(30):
        while browsers() - before:
            await asyncio.sleep(0.05)
    assert "it was idle for" in (await browsing.call("browser_read")).content
    await browsing.thread.close()


@needs_proc
async def test_a_browser_that_crashes_is_started_anew(chromium: str, server: LocalServer) -> None:
    server.serve("/", "<p>here</p>")
    before, drivers = browsers(), browsers(driver_too=True)
    browsing = Browsing(chromium, LIMITS)
    for driver_too in (False, True):
        assert "here" in (await browsing.call("browser_open", url=server.url(host=SITE))).content
        for pid in browsers(driver_too) - before - drivers:
            os.kill(pid, signal.SIGKILL)
        lost = await browsing.call("browser_read")
        assert lost.failed
        assert "call browser_open" in lost.content
    assert "here" in (await browsing.call("browser_open", url=server.url(host=SITE))).content
    await browsing.thread.close()


PROGRAM = """
import asyncio, sys
from lye import Browser
from tyler.tools import ToolContext
browser = Browser(allow_hosts=["127.0.0.1"], executable=sys.argv[1])
context = ToolContext(thread_id="t", owner=None, call_id="c", idempotency_key="k")
print(asyncio.run(browser.tools[0](context, sys.argv[2])).splitlines()[-1], flush=True)
print(asyncio.run(browser.tools[1](context)).splitlines()[-1], flush=True)
if sys.argv[3] == "wait":
    sys.stdin.read()
"""


@needs_proc
@pytest.mark.parametrize("how", ["end", "wait"])
def test_a_program_that_ends_or_is_killed_leaves_no_browser(
    chromium: str, server: LocalServer, tmp_path: Path, how: str
) -> None:
    """A page outlives `asyncio.run`; nothing outlives the program, nor do its temporary files."""
    server.serve("/", "<p>here</p>")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, chromium, server.url(), how],
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline() == "here\n"
        started = processes_of(program.pid)
        assert program.stdout.readline() == "here\n"
        if how == "wait":
            assert started
            program.kill()
        else:
            assert program.wait(30) == 0
            assert program.stderr.read() == ""
    while any(Path(f"/proc/{pid}").exists() and b"chrom" in cmdline(pid) for pid in started):
        os.sched_yield()
    while list(tmp_path.glob("playwright_chromiumdev_profile-*")):
        os.sched_yield()


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def test_an_agent_reads_a_page(chromium: str, server: LocalServer) -> None:
    server.serve("/", "<p>The answer is 42.</p>")
    async with Browser(allow_hosts=["127.0.0.1"], executable=chromium) as browser:
        script = ScriptedModel([calls(("browser_open", {"url": server.url()})), calls(("browser_read", {})), "42"])
        result = await Agent(model=script, tools=[browser.tools]).go("Read it")
    assert result.content == "42"
    assert [message.text.splitlines()[-1] for message in result.thread.messages if message.role == "tool"] == [
        "The answer is 42.",
        "The answer is 42.",
    ]
