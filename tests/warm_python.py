"""A Python that has imported the heavy libraries already, and forks for each program it is to run.

The imports take 8 s of a processor. A child starts where that is done and is a program like any other from there to
the end of its interpreter. Run as a script, this file is the server: one order a line on stdin, one exit code back.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TIMEOUT_S = 100
LIBRARIES = (
    "aiosqlite",
    "alembic.command",
    "asyncpg",
    "litellm",
    "openai.resources.chat",
    "pydantic",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlalchemy.ext.asyncio",
)


class WarmPython:
    """`with WarmPython() as python: exit_code, out, err = python.run(["examples/x.py"], env)`."""

    def __init__(self) -> None:
        # Without the variable the import would go to the network.
        env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        command = [sys.executable, "-P", __file__]
        self._server = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, argv: list[str], env: dict[str, str]) -> tuple[int, str, str]:
        """Exit code (below 0: the signal, SIGALRM after TIMEOUT_S), stdout, stderr of a Python program."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            order = {"argv": argv, "env": env, "cwd": str(Path.cwd()), "out": str(out), "err": str(err)}
            self._server.stdin.write(json.dumps(order) + "\n")
            self._server.stdin.flush()
            code = int(self._server.stdout.readline())
            return code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.communicate()  # the end of its orders is its own end


def _serve() -> None:
    for library in LIBRARIES:
        importlib.import_module(library)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _become(json.loads(line))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _become(order: dict[str, Any]) -> None:
    signal.alarm(TIMEOUT_S)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for path, descriptor in ((order["out"], 1), (order["err"], 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    program = order["argv"][0]
    sys.argv[:] = order["argv"]
    sys.path[:0] = [str(Path(program).parent), order["env"]["PYTHONPATH"]]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    _serve()
    sys.exit()
