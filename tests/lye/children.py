"""The processes that this one has started to answer for a module (`lye/_child.py`). Read from /proc, which leaves no
file open where a process ends in that moment.
"""

from __future__ import annotations

import os
from pathlib import Path


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
