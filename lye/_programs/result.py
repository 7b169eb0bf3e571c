"""How a command went, in words for the model."""

from __future__ import annotations

import signal

from lye._programs.isolation import InForce
from lye._programs.process import Ended, Limits
from tyler.tools import ToolResult


def show(ended: Ended, limits: Limits, isolation: InForce) -> ToolResult:
    """One text: how it ended, on the first line, which no output can forge; then what it said.

    Failed where a limit ended it; an exit code other than 0 is an answer like another.
    """
    lines = [f"{_fate(ended, limits)} ({ended.seconds:.2f} s, isolation: {isolation})"]
    for name, text in (("stdout", ended.stdout), ("stderr", ended.stderr)):
        if text:
            lines.append(f"--- {name} ---\n{text.rstrip()}")
    if len(lines) == 1:
        lines.append("(no output)")
    return ToolResult("\n".join(lines), failed=ended.reason is not None)


def _fate(ended: Ended, limits: Limits) -> str:
    if ended.reason is not None:
        return f"killed: {_limit(ended, limits)}"
    code = ended.exit_code or 0
    if code >= 0:
        return f"exit code {code}"
    names = {number.value: f" ({number.name})" for number in signal.Signals}
    return f"ended by signal {-code}{names.get(-code, '')}"


def _limit(ended: Ended, limits: Limits) -> str:
    words = {
        "time": f"it did not end within {limits.timeout_s:g} s",
        "processes": f"it had more than {limits.max_processes:,} processes",
        "memory": f"its processes used more than {limits.max_memory_bytes:,} bytes of memory",
        "written": f"its processes wrote more than {limits.max_written_bytes:,} bytes",
        "output": f"it printed more than {limits.max_output_bytes:,} bytes",
        "supervisor": "it killed the process that watches over it",
    }
    return words.get(ended.reason or "", "the call was ended")
