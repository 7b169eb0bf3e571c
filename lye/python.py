"""The Python tool: run a snippet in a process of its own. It asks a human first, and is no sandbox.

How the process is kept within limits is `_programs/process.py`'s, what the snippet sees `_programs/snippet.py`'s.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lye._programs.argv import MAX_CHARS, check_visible, find_folder
from lye._programs.isolation import Isolation
from lye._programs.process import Limits, new_folder
from lye.errors import CommandRefused
from lye.shell import Place, checked_env
from tyler.tools import Tool, ToolResult, tool

_SNIPPET = str(Path(__file__).with_name("_programs") / "snippet.py")


def python_tools(
    root: str | os.PathLike[str] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 60,
    max_timeout_s: float = 600,
    max_memory_bytes: int = 1 << 30,
    max_processes: int = 64,
    max_file_bytes: int = 100_000_000,
    max_written_bytes: int = 1_000_000_000,
    max_output_bytes: int = 50_000_000,
    max_output_chars: int = 40_000,
    isolation: Isolation = "auto",
    network: bool = False,
) -> list[Tool]:
    """`run_python`, for snippets that work in `root`: unless given, a fresh folder for each call, removed after it.

    Each call waits for a human. The snippet has this Python's installed packages, and the few variables that `env`
    adds to; nothing stays in memory from call to call. Limits, `isolation` and `network` are as in `shell_tools`.
    Raises ValueError for variables that are none, and for a limit that is not above 0.
    """
    limits = Limits(
        timeout_s=timeout_s,
        max_memory_bytes=max_memory_bytes,
        max_processes=max_processes,
        max_file_bytes=max_file_bytes,
        max_written_bytes=max_written_bytes,
        max_output_bytes=max_output_bytes,
        max_output_chars=max_output_chars,
    )
    place = Place(
        None if root is None else os.fspath(root), checked_env(env or {}), limits, max_timeout_s, isolation, network
    )

    @tool(risk="exec", effect="once", touches={"private"}, needs_approval=_asks)
    async def run_python(code: str, timeout_s: int | None = None) -> ToolResult:
        """Run Python code in a fresh process. Returns what it prints, and the value of a last expression.

        Args:
            code: The code, as in a file; variables of earlier calls are gone
            timeout_s: Seconds after which it is killed; leave out for the usual limit
        """
        return await _run(place, code, timeout_s)

    return [run_python]


async def _run(place: Place, code: str, timeout_s: int | None) -> ToolResult:
    _check(code)
    limits, folder = place.limits_for(timeout_s), new_folder()
    cwd = os.path.join(folder, "work") if place.root is None else await asyncio.to_thread(find_folder, place.root, ".")
    argv = [sys.executable, "-I", "-u", _SNIPPET]
    writable = [] if place.root is None else [cwd]
    return await place.run(sys.executable, argv, cwd, code, limits, folder, writable)


def _check(code: str) -> None:
    if len(code) > MAX_CHARS:
        raise CommandRefused(f"the code has {len(code):,} characters, over {MAX_CHARS:,}; send less")
    check_visible(code, "code")


def _asks(call: dict[str, Any]) -> bool:
    """Whether a human has to look: at all but what is refused in any case."""
    code = call.get("code")
    try:
        _check(code if isinstance(code, str) else "")
    except CommandRefused:
        return False
    return True


PYTHON_TOOLS = python_tools()
