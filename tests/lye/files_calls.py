"""Calls of the file tools as an agent makes them, and what stands in the way of a hostile file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tyler.tools import Tool, ToolContext, ToolResult, run_tool


async def call(tools: list[Tool], name: str, **arguments: object) -> ToolResult:
    context = ToolContext(thread_id="t", owner=None, call_id="c", idempotency_key="k")
    return await run_tool({tool.name: tool for tool in tools}, name, json.dumps(arguments), context)


def everything_in(folder: Path) -> dict[str, bytes | str]:
    """Each path below the folder, with a file's bytes, or what else it is."""
    found: dict[str, bytes | str] = {}
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(place) / name
            relative = str(path.relative_to(folder))
            is_plain = path.is_file() and not path.is_symlink()
            found[relative] = path.read_bytes() if is_plain else "link" if path.is_symlink() else "other"
    return found


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Root may write everywhere, so it is somebody else for a while."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
