"""Which process has a turn, so that one that died on this machine need not be waited for (promise P5)."""

from __future__ import annotations

import functools
import json
import os
import socket
from pathlib import Path

from narrator.message import new_id

_UNKNOWN = "unknown"
_ended: set[str] = set()


def this_process() -> str:
    """A new holder for the lease as text: machine, process id, when the process started, and which turn."""
    pid = os.getpid()
    host = socket.gethostname()
    return json.dumps({"host": host, "pid": pid, "started": _started(pid), "machine": _machine(), "turn": new_id()})


def note_ended(holder: str) -> None:
    """This turn of this process is over, and the database could not be told."""
    _ended.add(holder)


def is_gone(holder: str) -> bool:
    """True only if the holder ran on this machine and certainly ended."""
    if holder in _ended:
        return True
    parsed = json.loads(holder)
    if parsed["machine"] != _machine():
        return False
    started = _started(parsed["pid"])
    return started is None or (_UNKNOWN not in (started, parsed["started"]) and started != parsed["started"])


def describe(holder: str) -> str:
    """The holder for a message: "process 12 on host"."""
    if not holder:
        return "another run"
    parsed = json.loads(holder)
    return f"process {parsed['pid']} on {parsed['host']}"


def _started(pid: int) -> str | None:
    """When the process started, in the kernel's ticks since boot; None only where it certainly does not exist."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it ended, there is no /proc, another user's processes are hidden, no descriptor is free ...
        return _UNKNOWN if _exists(pid) else None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


@functools.lru_cache(maxsize=1)
def _machine() -> str:
    """This boot of this machine and this process namespace: process ids mean something only inside it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return f"{socket.gethostname()}/{os.getpid()}"
