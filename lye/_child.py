"""Work that could take minutes or all memory, in a process of its own: what a thread cannot stop, this can.

The child gets its question on stdin and answers on stdout, in JSON. It sees no secret of the environment, and no proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import sysconfig
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

MAX_MEMORY_BYTES = 1 << 30
_NOT_DONE = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system", "ctypes.")
_MAX_CPU_S = 60  # for a process whose parent was killed, where the system does not end it then (not on Linux)
_SET_DEATH_SIGNAL = 1  # man 2 prctl: PR_SET_PDEATHSIG


async def ask_child(
    serve: str, question: Mapping[str, Any], body: bytes = b"", max_memory_bytes: int = MAX_MEMORY_BYTES
) -> dict[str, Any] | None:
    """What the function `serve` ("module:function") gave `answer`; None if it needed more memory or failed.

    Cancelled, it leaves no process behind. OSError when it could not be started.
    """
    module, _, function = serve.partition(":")
    code = f"import sys; sys.path += sys.argv[3:]; from {module} import {function}; {function}()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", code, str(max_memory_bytes), str(os.getpid()), *_import_path()),
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
    try:
        answered: dict[str, Any] | None = json.loads(output) if process.returncode == 0 else None
    except ValueError:  # it ended before its answer did
        return None
    return answered


def answer(work: Callable[[dict[str, Any], bytes], Mapping[str, Any]]) -> None:
    """The child's whole life: the question and its body to `work`, what that returns to the parent as JSON."""
    _limit_self()
    with os.fdopen(os.dup(1), "wb") as parent:
        os.dup2(2, 1)  # what a library prints is no part of the answer
        question = json.loads(sys.stdin.buffer.readline())
        parent.write(json.dumps(work(question, sys.stdin.buffer.read())).encode())


def open_modules_only(library: ModuleType) -> None:
    """In the child: from now on Python opens no file but modules of the installation and beside `library`, and
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


def _limit_self() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)  # a regular expression looks at nothing else
        if os.getppid() != int(sys.argv[2]):
            os._exit(1)
    try:
        import resource
    except ImportError:  # Windows has no such limits; the time-out holds there as well
        return
    max_memory_bytes = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_S, _MAX_CPU_S))
    with contextlib.suppress(ValueError, OSError):  # macOS refuses a limit on the address space
        resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))


def _import_path() -> list[str]:
    """The parent's import path, to come after the standard library, without the working folder: a model may write
    there, and "json.py" must not be run.
    """
    here = os.path.realpath(os.curdir)
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [own, *(path for path in sys.path if path and os.path.realpath(path) != here)]


def _environment() -> dict[str, str]:
    """No secrets and no proxies."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    few_threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # each would reserve memory
    return kept | few_threads
