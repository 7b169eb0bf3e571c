"""The processes that this one has started to answer for a module (`lye/_child.py`). Read from /proc, which leaves no
file open where a process ends in that moment.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

WAIT_S = 20.0


async def child_of(module: str) -> int:
    """One of them, as soon as there is one."""
    until = time.monotonic() + WAIT_S
    while not (found := children_of(module)):
        assert time.monotonic() < until, f"no process serves {module}"
        await asyncio.sleep(0.01)
    return found[0]


def children_of(module: str) -> list[int]:
    """Those that live and serve this module."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for pid in _text(task / "children").split():
            if f"from {module} import serve" in _text(Path("/proc") / pid / "cmdline"):
                found.append(int(pid))
    return found


def environment_of(pid: int) -> dict[str, str]:
    """Its variables; none once it has ended."""
    pairs = _text(Path("/proc") / str(pid) / "environ").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def _text(path: Path) -> str:
    try:
        return os.fsdecode(path.read_bytes())
    except OSError:
        return ""
