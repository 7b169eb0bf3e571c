"""A question answered in a process of its own, with limits on its memory and time, and no way to the files.

A thread cannot be stopped, and what strangers wrote (HTML, a PDF, a regular expression's work) can hold a library
for minutes or take all memory, so it is read where it can be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import sysconfig
from collections.abc import Mapping
from types import ModuleType
from typing import Any

MAX_MEMORY_BYTES = 1 << 30
_NOT_DONE = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system", "ctypes.")
_MAX_CPU_S = 60  # for a process whose parent was killed; a living parent kills it at its own time-out


async def ask_process(
    module: str, question: Mapping[str, Any], body: bytes = b"", max_memory_bytes: int = MAX_MEMORY_BYTES
) -> dict[str, Any] | None:
    """The JSON object that `module.serve()` answers; None when it ended without an answer. Cancelled, it leaves no
    process behind.
    """
    code = f"from {module} import serve; serve()"
    # -P: the working folder must not come before the installed packages.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", code, str(max_memory_bytes)),
        env=_environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        output, _ = await process.communicate(json.dumps(question).encode() + b"\n" + body)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode != 0:
        return None
    answer: dict[str, Any] = json.loads(output)
    return answer


def take_question() -> tuple[dict[str, Any], bytes]:
    """In the process: the question and the body, once its limits are set."""
    _limit_self(int(sys.argv[1]))
    return json.loads(sys.stdin.buffer.readline()), sys.stdin.buffer.read()


def give_answer(answer: Mapping[str, Any]) -> None:
    """In the process: the answer, in ASCII."""
    sys.stdout.write(json.dumps(answer))


def open_modules_only(library: ModuleType) -> None:
    """In the process: from now on Python opens no file but modules of the installation and beside `library`, and
    neither connects nor starts anything, whatever a document refers to.
    """
    installed = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    beside = os.path.dirname(os.path.dirname(library.__file__ or ""))
    folders = tuple(folder + os.sep for folder in [*installed, beside] if folder)

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else ""
            is_module = path.endswith((".py", ".pyc")) and path.startswith(folders) and ".." not in path
            if arguments[1] not in ("r", "rb") or not is_module:
                raise PermissionError(f"{path!r} is not opened for a document")
        elif event.startswith(_NOT_DONE):
            raise PermissionError(f"{event} is not done for a document")

    sys.addaudithook(refuse)


def _environment() -> dict[str, str]:
    """No secrets for the parser; the import path, since the parent's may be set from code."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    few_threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # each would reserve memory
    return kept | few_threads | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}


def _limit_self(max_memory_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the time-out holds there as well
        return
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_S, _MAX_CPU_S))
    with contextlib.suppress(ValueError, OSError):  # macOS refuses a limit on the address space
        resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))
