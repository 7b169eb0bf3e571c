"""Reading a page without stopping the event loop: small pages in a thread, large ones in a process.

A thread cannot be stopped, and HTML of a few megabytes can hold any parser for minutes (distinct
attributes cost libxml2 n², elements trafilatura), so what could is read where it can be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys

from lye._page import Page, is_slow, read_page
from lye.errors import FetchFailed

MAX_MEMORY_BYTES = 1 << 30
_MAX_CPU_S = 60  # for a process whose parent was killed; a living parent kills it at its own time-out
_CODE = "from lye._page_process import serve; serve()"


async def read_page_aside(body: bytes, content_type: str, url: str, max_memory_bytes: int = MAX_MEMORY_BYTES) -> Page:
    """What `read_page` gives; FetchFailed also when a large page needs more memory. Cancelled, it leaves no
    process behind.
    """
    if not is_slow(body, content_type):
        return await asyncio.to_thread(read_page, body, content_type, url)
    # -P: the working folder must not come before the installed packages.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", _CODE, str(max_memory_bytes)),
        env=_environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    question = json.dumps({"content_type": content_type, "url": url}).encode() + b"\n" + body
    try:
        output, _ = await process.communicate(question)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode != 0:
        raise FetchFailed(f"{url!r} could not be read within {max_memory_bytes:,} bytes of memory; use another page")
    return Page(**json.loads(output))


def serve() -> None:
    """The process's work: a question on stdin, a Page as JSON on stdout."""
    _limit_self(int(sys.argv[1]))
    question = json.loads(sys.stdin.buffer.readline())
    page = read_page(sys.stdin.buffer.read(), **question)
    sys.stdout.write(json.dumps({"title": page.title, "url": page.url, "text": page.text}))


def _environment() -> dict[str, str]:
    """No secrets for the parser; the import path, since the parent's may be set from code."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}


def _limit_self(max_memory_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the time-out holds there as well
        return
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_S, _MAX_CPU_S))
    with contextlib.suppress(ValueError, OSError):  # macOS refuses a limit on the address space
        resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))
