"""Approver: asks the person at the terminal about a tool call, and shows exactly what would run."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from tyler._chat.printable import escaped
from tyler._chat.screen import Screen
from tyler.approval import ApprovalRequest, Verdict


class Approver:
    """For `Agent(approve=...)`. Without a terminal nobody is asked: the call waits for who decides later."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._always: set[str] = set()

    async def __call__(self, request: ApprovalRequest) -> Verdict:
        """True for y, and for a tool that was allowed for the session; the reason for any other words than n."""
        if request.tool_name in self._always:
            return True
        if not sys.stdin.isatty():
            return None
        self._screen.end()
        self._screen.note(f"{request.tool_name} ({request.risk}) wants to run with\n{exactly(request.arguments)}")
        if request.reason:
            self._screen.note(f"It is asked about, for {request.reason}.")
        answer = await _answer(f"Run {request.tool_name}? [y]es, [n]o, [a]lways in this session, or why not: ")
        self._screen.begin()
        if answer.lower() in ("a", "always"):
            self._always.add(request.tool_name)
            return True
        if answer.lower() in ("y", "yes"):
            return True
        return False if answer.lower() in ("", "n", "no") else answer


def exactly(arguments: object) -> str:
    """The arguments as JSON, whole; what could not be seen as itself is written as its escape."""
    return "\n".join(map(escaped, json.dumps(arguments, indent=2, ensure_ascii=False).split("\n")))


async def _answer(question: str) -> str:
    """The line that is typed. Read by the loop: a thread that waits for it would keep the next line after Ctrl-C."""
    loop, line = asyncio.get_running_loop(), asyncio.Event()
    descriptor = sys.stdin.fileno()
    _forget_typed_ahead(descriptor)
    print(question, end="", flush=True, file=sys.stdout if sys.stdout.isatty() else sys.stderr)
    loop.add_reader(descriptor, line.set)
    try:
        await line.wait()
    finally:
        loop.remove_reader(descriptor)
    return os.read(descriptor, 4096).decode(errors="replace").strip()


def _forget_typed_ahead(descriptor: int) -> None:
    """What was typed before the question was read is no answer to it."""
    import termios

    termios.tcflush(descriptor, termios.TCIFLUSH)
