"""One Chromium, driven by Playwright: found, started so that it can reach nothing by itself, watched, ended.

What it may reach comes from the proxy that each context is given. The rest of the flags shut what goes around proxies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lye._browser.memory import watch_memory
from lye._clean import clean
from lye._extras import load
from lye.errors import BrowserFailed

if TYPE_CHECKING:
    from playwright.async_api import Browser as PlaywrightBrowser
    from playwright.async_api import BrowserContext, Playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PLACES = ("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",)
_INSTALL = "the developer can install one with: playwright install chromium (on Debian also: apt install chromium)"
_ENGINE = Path(__file__).with_name("page.js")
_START_S = 30.0
_CLOSE_S = 5.0
_FLAGS = (
    # The browser's own requests, and those of a context without a proxy: to a name that is not looked up.
    "--proxy-server=http://closed.invalid:9",
    "--proxy-bypass-list=<-loopback>",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # no look-ups, no prefetched ones either
    "--disable-quic",  # UDP passes by a proxy of TCP
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--dns-prefetch-disable",
    "--no-pings",
    # It asks Google about each form by the page's own proxy; port 9 is one that Chromium itself never dials.
    "--autofill-server-url=http://closed.invalid:9/",
    "--disable-gpu",
    "--disable-notifications",
    "--js-flags=--max-old-space-size=512",
)
# No keys and no proxies of the program's for a process that runs strangers' code.
_ENVIRONMENT = (
    *("PATH", "HOME", "LANG", "TMPDIR", "TZ", "SYSTEMROOT"),
    *("LD_LIBRARY_PATH", "FONTCONFIG_PATH", "XDG_CACHE_HOME"),
)
# Chromium binds TMPDIR/org.chromium.Chromium.XXXXXX/SingletonSocket, and a socket's path has 103 bytes at most.
_MAX_TMPDIR_BYTES = 55
# Of the program itself, of its helper for where there are no user namespaces, of both in a container, of Playwright.
_NO_SANDBOX = re.compile(
    "No usable sandbox|SUID sandbox|Failed to move to new namespace|sandboxing failed", re.IGNORECASE
)


@dataclass
class Chromium:
    """A running browser; `closed` as soon as it is not usable any more."""

    playwright: Playwright
    browser: PlaywrightBrowser
    closed: bool = False
    _watcher: asyncio.Task[None] | None = field(default=None, repr=False)

    @classmethod
    async def start(cls, executable: str | None, max_memory_bytes: int) -> Chromium:
        """A new one. ExtraNeeded without Playwright; BrowserFailed where there is no Chromium or it can't start."""
        api = await asyncio.to_thread(load, "playwright.async_api", "browser")
        playwright: Playwright = await api.async_playwright().start()
        try:
            engine = await asyncio.to_thread(_ENGINE.read_text, "utf-8")
            await playwright.selectors.register("lye", engine, content_script=True)
            found = await asyncio.to_thread(_find, executable, playwright.chromium.executable_path)
            try:
                browser = await playwright.chromium.launch(
                    executable_path=found,
                    args=list(_FLAGS),
                    # The sandbox needs an account that is not root's; the one thing that root goes without.
                    chromium_sandbox=not _is_root(),
                    env=_environment(),
                    handle_sigint=False,  # ending the program is the program's affair
                    handle_sigterm=False,
                    handle_sighup=False,
                    timeout=_START_S * 1000,
                )
            except api.Error as error:
                raise BrowserFailed(_why_not_started(str(error), found)) from error
        except BaseException:
            with contextlib.suppress(api.Error, TimeoutError):
                await asyncio.wait_for(playwright.stop(), _CLOSE_S)
            raise
        chromium = cls(playwright, browser)
        browser.on("disconnected", chromium._mark_closed)
        chromium._watcher = asyncio.create_task(watch_memory(browser, max_memory_bytes))
        return chromium

    async def new_context(self, proxy_port: int) -> BrowserContext:
        """An empty context, without cookies, permissions or downloads, whose requests all go to the proxy."""
        context = await self.browser.new_context(
            proxy={"server": f"http://127.0.0.1:{proxy_port}", "bypass": "<-loopback>"},
            accept_downloads=False,
            service_workers="block",
            viewport={"width": 1280, "height": 900},
        )
        await context.grant_permissions([])  # none: all others are denied without a question
        return context

    async def close(self) -> None:
        """End the browser and Playwright's driver."""
        from playwright.async_api import Error

        self.closed = True
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        for end in (self.browser.close, self.playwright.stop):
            with contextlib.suppress(Error, TimeoutError):
                await asyncio.wait_for(end(), _CLOSE_S)

    def _mark_closed(self, browser: PlaywrightBrowser) -> None:
        self.closed = True


def _find(executable: str | None, playwrights_own: str) -> str:
    if executable is not None:
        found = shutil.which(executable)
        if found is None:
            raise BrowserFailed(f"executable={executable!r} is no program that can be run; {_INSTALL}")
        return found
    if os.path.exists(playwrights_own):
        return playwrights_own
    for name in (*_NAMES, *_PLACES):
        if found := shutil.which(name):
            return found
    raise BrowserFailed(f"no Chromium was found, neither Playwright's nor one of {_NAMES!r}; {_INSTALL}")


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _environment() -> dict[str, str | float | bool]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    if len(os.fsencode(kept.get("TMPDIR", ""))) > _MAX_TMPDIR_BYTES:
        del kept["TMPDIR"]  # it takes /tmp then, rather than not to start
    return {**kept}


def _why_not_started(log: str, executable: str) -> str:
    if _NO_SANDBOX.search(log):
        return (
            f"{executable!r} has no sandbox here; the developer can allow user namespaces to this account,"
            " or install Debian's chromium-sandbox"
        )
    said = re.findall(r"\[pid=\d+\]\[err\] (.*)", log)
    fatal = [line for line in said if ":FATAL:" in line]
    reason = clean((fatal or said[-1:] or [log.partition("\n")[0]])[0])[:300]
    return f"{executable!r} did not start ({reason}); the developer can run it once by hand to see why. Or: {_INSTALL}"
