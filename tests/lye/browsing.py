"""What the tests of the browser share: a pool of pages with names of the test's own, and a place nobody may reach."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from lye._browser.pool import Limits, Pool
from lye._browser.thread import LoopThread
from lye._web.rules import Rules
from lye.browser import tools_of
from narrator.file_store import FileStore
from tests.lye.fetching import Names
from tyler.tools import ToolContext, ToolResult, run_tool

SITE = "shop.example"


class Browsing:
    """Tools over a pool of the test's own. `shop.example` and `turning.example` are this machine, and opened."""

    def __init__(self, executable: str, limits: Limits) -> None:
        self.names = Names(
            shop_example=[["127.0.0.1"]],
            other_example=[["127.0.0.1"]],
            turning_example=[["127.0.0.1"], ["169.254.169.254"]],
            inner_example=[["10.0.0.1"]],
        )
        rules = Rules.of([SITE, "other.example", "turning.example"], factory="browser_tools")
        self.pool = Pool(rules, limits, executable, self._look_up)
        self.thread = LoopThread(self.pool.close)
        self.tools = {tool.name: tool for tool in tools_of(self.pool, self.thread)}

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        if host not in self.names.answers:
            self.names.lookups.append(host)
            raise OSError(f"no {host!r} in this test")
        return await self.names(host, port)

    async def call(
        self,
        name: str,
        thread: str = "t",
        owner: str | None = None,
        store: FileStore | None = None,
        **arguments: object,
    ) -> ToolResult:
        context = ToolContext(thread_id=thread, owner=owner, call_id="c", idempotency_key="k", file_store=store)
        return await run_tool(self.tools, name, json.dumps(arguments), context)

    def refused(self, thread: str = "t") -> Sequence[tuple[str, int]]:
        """Where the thread's page wanted to go in its last call and could not."""
        return list(self.pool._sessions[None, thread].proxy.refusals)


class Trap:
    """A port of this machine that no page may reach, by TCP or UDP; `touched` says whether one did."""

    def __init__(self) -> None:
        self._tcp = socket.socket()
        self._udp = socket.socket(type=socket.SOCK_DGRAM)

    def __enter__(self) -> Self:
        self._tcp.bind(("127.0.0.1", 0))
        self.port: int = self._tcp.getsockname()[1]
        self._udp.bind(("127.0.0.1", self.port))
        self._tcp.listen()
        self._tcp.setblocking(False)
        self._udp.setblocking(False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tcp.close()
        self._udp.close()

    @property
    def touched(self) -> list[str]:
        found = []
        try:
            self._tcp.accept()[0].close()
            found.append("tcp")
        except BlockingIOError:
            pass
        try:
            self._udp.recv(1_000)
            found.append("udp")
        except BlockingIOError:
            pass
        return found
