"""What the tests of the browser share: a pool of pages with names of the test's own, and places nobody may reach."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterable, Sequence
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
LIMITS = Limits(timeout_s=40, max_bytes=5_000_000, max_memory_bytes=1 << 30, max_pages=2, idle_s=600)


class Browsing:
    """Tools over a pool of the test's own. `shop.example` and `turning.example` are this machine, and opened."""

    def __init__(self, executable: str, limits: Limits = LIMITS) -> None:
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
    """Ports of this machine that no page may reach, by TCP or UDP; `touched` names those that one did reach."""

    def __init__(self, names: Iterable[str]) -> None:
        self.ports: dict[str, int] = {}
        self._sockets: dict[str, socket.socket] = {}
        for name in names:
            tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
            self._sockets |= {f"{name}, TCP": tcp, f"{name}, UDP": udp}
            tcp.bind(("127.0.0.1", 0))
            self.ports[name] = tcp.getsockname()[1]
            udp.bind(("127.0.0.1", self.ports[name]))
            tcp.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._sockets.values():
            each.close()

    @property
    def touched(self) -> list[str]:
        ready, _, _ = select.select(self._sockets.values(), [], [], 0)
        return [name for name, each in self._sockets.items() if each in ready]
