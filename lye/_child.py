"""Work that could take minutes or all memory, in a process of its own: what a thread cannot stop, this can.

The child gets its question on stdin and answers on stdout, in JSON. It sees no secret of the environment, and no proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

_MAX_CPU_S = 60  # for a process whose parent was killed; a living parent kills it at its own time-out


async def ask_child(serve: str, question: bytes, max_memory_bytes: int) -> Any:
    """What the function `serve` ("module:function") gave `answer`; None if it needed more memory or failed.

    Cancelled, it leaves no process behind.
    """
    module, _, function = serve.partition(":")
    code = f"from {module} import {function}; {function}()"
    # -P: the working folder must not come before the installed packages.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", code, str(max_memory_bytes)),
        env=_environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        output, _ = await process.communicate(question)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    try:
        return json.loads(output) if process.returncode == 0 else None
    except ValueError:  # it ended before its answer did
        return None


def answer(work: Callable[[bytes], object]) -> None:
    """The child's whole life: the question's bytes to `work`, what that returns to the parent as JSON."""
    _limit_self()
    with os.fdopen(os.dup(1), "wb") as parent:
        os.dup2(2, 1)  # what a library prints is no part of the answer
        parent.write(json.dumps(work(sys.stdin.buffer.read())).encode())


def _limit_self() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the time-out holds there as well
        return
    max_memory_bytes = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_S, _MAX_CPU_S))
    with contextlib.suppress(ValueError, OSError):  # macOS refuses a limit on the address space
        resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))


def _environment() -> dict[str, str]:
    """No secrets and no proxies; the import path, since the parent's may be set from code."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
