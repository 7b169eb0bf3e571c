"""The memory that Chromium's pages take: looked at now and then, and the largest one killed when it is too much."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.async_api import Browser

_LOOK_S = 0.25  # a page can take some hundred megabytes in this time
_PROC = Path("/proc")


async def watch_memory(browser: Browser, max_bytes: int) -> None:
    """Kill a renderer that takes more; its page is then lost. Where there is no /proc, only V8's own limit holds.

    All renderers together may take twice as much: a page can spread itself over many processes.
    """
    from playwright.async_api import Error

    with contextlib.suppress(Error):  # the browser is gone
        session = await browser.new_browser_cdp_session()
        while True:
            answer = await session.send("SystemInfo.getProcessInfo")
            sizes = _renderers([int(process["id"]) for process in answer["processInfo"]])
            largest = max(sizes, key=lambda pid: sizes[pid], default=0)
            if sizes and (sizes[largest] > max_bytes or sum(sizes.values()) > 2 * max_bytes):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(largest, signal.SIGKILL)
            await asyncio.sleep(_LOOK_S)


def _renderers(pids: list[int]) -> dict[int, int]:
    """The resident bytes of those that are renderers, by process id, without the program text that all share."""
    sizes = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            # A Chromium in a PID namespace of its own gives ids that are other people's processes here.
            if b"--type=renderer" in (_PROC / str(pid) / "cmdline").read_bytes():
                _, resident, shared = (int(n) for n in (_PROC / str(pid) / "statm").read_bytes().split()[:3])
                sizes[pid] = (resident - shared) * os.sysconf("SC_PAGE_SIZE")
    return sizes
