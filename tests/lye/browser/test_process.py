"""The browser's processes: found, started so that nothing is left of them, mourned, and ended with the program."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lye import Browser, BrowserFailed, ExtraNeeded
from lye._browser.pool import Limits
from tests.lye.browsing import SITE, Browsing
from tests.lye.local_server import LocalServer
from tyler.tools import ToolContext

CONTEXT = ToolContext(thread_id="t", owner=None, call_id="c", idempotency_key="k")
DEADLINE_S = 15
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are seen in /proc")


def until(reached: Callable[[], bool]) -> None:
    """Look until it is reached, at most DEADLINE_S."""
    end = time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < end, f"not reached within {DEADLINE_S} s"
        time.sleep(0.02)


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


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


async def why_not_started(executable: str) -> str:
    async with Browser(executable=executable) as browser:
        with pytest.raises(BrowserFailed) as raised:
            await browser.tools[0](CONTEXT, "https://site.example/")
    return str(raised.value)


async def test_a_missing_program_is_named_with_what_installs_it() -> None:
    message = await why_not_started("/nowhere/chromium")
    assert "'/nowhere/chromium'" in message
    assert "playwright install chromium" in message


@pytest.mark.deep
async def test_without_fonts_the_error_says_so(chromium: str, tmp_path: Path, server: LocalServer) -> None:
    """Text that no font can draw takes no place, and would look hidden."""
    (tmp_path / "fonts.conf").write_text("<fontconfig></fontconfig>", encoding="utf-8")
    program = tmp_path / "chromium"
    program.write_text(
        f'#!/bin/sh\nexport FONTCONFIG_FILE={tmp_path}/fonts.conf\nexec {chromium} "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    server.serve("/", "<p>here</p>")
    browsing = Browsing(str(program))
    try:
        opened = await browsing.call("browser_open", url=server.url(host=SITE))
        assert opened.failed
        assert "apt install fonts-liberation" in opened.content
    finally:
        await browsing.thread.close()


LIBRARY = "chromium: error while loading shared libraries: libnss3.so: cannot open shared object file"
# Chromium's own words: where an account may not make user namespaces, with its helper missing or unfit, in a container.
NO_SANDBOX = {
    "no namespaces": "[7:7:1129/221317.344907:ERROR:content/browser/zygote_host/zygote_host_impl_linux.cc:128]"
    " No usable sandbox! If this is a Debian system, please install the chromium-sandbox package.",
    "unfit helper": "[7:7:1129/221317.247629:FATAL:sandbox/linux/suid/client/setuid_sandbox_host.cc:166] The SUID"
    " sandbox helper binary was found, but is not configured correctly. Rather than run without",
    "container": "Failed to move to new namespace: PID namespaces supported, Network namespace supported, but failed:"
    " errno = Operation not permitted",
}
SAYING = {
    "nothing": ("", "did not start"),
    "a library": (LIBRARY, f"did not start ({LIBRARY})"),
    "a reason and more": ("x\n[7:7:FATAL:a.cc:1] Out of disk\n[7:ERROR:b.cc:2] z", "([7:7:FATAL:a.cc:1] Out of disk)"),
    **{name: (said, "can allow user namespaces to this account, or install") for name, said in NO_SANDBOX.items()},
}


@pytest.mark.parametrize("name", SAYING)
async def test_a_program_that_does_not_start_is_an_error_of_one_line(tmp_path: Path, name: str) -> None:
    said, told = SAYING[name]
    program = tmp_path / "chromium"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\nexit 3\n", encoding="utf-8")
    program.chmod(0o755)
    message = await why_not_started(str(program))
    assert told in message
    assert "\n" not in message


WITHOUT_PLAYWRIGHT = """
import asyncio, sys
from lye import BROWSER_TOOLS, ExtraNeeded
from tyler.tools import ToolContext

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "playwright":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
context = ToolContext(thread_id="t", owner=None, call_id="c", idempotency_key="k")
try:
    asyncio.run(BROWSER_TOOLS[0](context, "https://site.example/"))
except ExtraNeeded as error:
    print(error)
"""


def test_without_playwright_the_error_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PLAYWRIGHT],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "pip install 'tyler-narrator-lye[browser]'" in done.stdout, done.stderr
    assert issubclass(ExtraNeeded, ImportError)


@needs_proc
@pytest.mark.deep
async def test_idle_pages_are_closed_and_the_browser_with_the_last(chromium: str, server: LocalServer) -> None:
    server.serve("/", "<p>here</p>")
    before = browsers()
    browsing = Browsing(chromium, Limits(40, 5_000_000, 1 << 30, 2, idle_s=0.4))
    try:
        assert "here" in (await browsing.call("browser_open", url=server.url(host=SITE))).content
        assert browsers() > before
        await asyncio.to_thread(until, lambda: not browsers() - before)
        assert "it was idle for" in (await browsing.call("browser_read")).content
    finally:
        await browsing.thread.close()


WITH_DRIVER = pytest.param(True, id="and driver", marks=pytest.mark.deep)


@needs_proc
@pytest.mark.parametrize("driver_too", [pytest.param(False, id="browser"), WITH_DRIVER])
async def test_a_browser_that_crashes_is_started_anew(chromium: str, server: LocalServer, driver_too: bool) -> None:
    server.serve("/", "<p>here</p>")
    before = browsers() | browsers(driver_too=True)
    browsing = Browsing(chromium)
    try:
        assert "here" in (await browsing.call("browser_open", url=server.url(host=SITE))).content
        for pid in browsers(driver_too) - before:
            os.kill(pid, signal.SIGKILL)
        lost = await browsing.call("browser_read")
        assert lost.failed
        assert "call browser_open" in lost.content
        assert "here" in (await browsing.call("browser_open", url=server.url(host=SITE))).content
    finally:
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
@pytest.mark.parametrize("how", [pytest.param("end", marks=pytest.mark.deep), "wait"])
def test_a_program_that_ends_or_is_killed_leaves_no_browser(
    chromium: str, server: LocalServer, tmp_path: Path, how: str
) -> None:
    """A page outlives `asyncio.run`; nothing outlives the program, nor do its temporary files.

    Their folder has a long name: too long for a socket in it, without which Chromium does not start.
    """
    server.serve("/", "<p>here</p>")
    temporary = tmp_path / ("long-" * 20)
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, chromium, server.url(), how],
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(sys.path)},
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
    until(lambda: not any(b"chrom" in cmdline(pid) for pid in started))
    until(lambda: not list(temporary.iterdir()))
