"""A Python that has imported the heavy libraries already, and forks for each program it is to run.

The imports take 8 s of a processor. A child starts where that is done and is a program like any other from there to
the end of its interpreter. Run as a script, this file is the server, which all processes of a test run share.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

TIMEOUT_S = 100
LIBRARIES = (
    "aiosqlite",
    "alembic.command",
    "asyncpg",
    "litellm",
    "openai.resources.chat",
    "pydantic",
    "rich.live",
    "rich.markdown",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlalchemy.ext.asyncio",
)


class WarmPython:
    """`with WarmPython(folder) as python: exit_code, out, err = python.run(["examples/x.py"], env)`.

    Those with the same folder share the server: it starts with the first of them and ends with the last. A program is
    a script, or a module (["-m", "narrator.cli", "status"]), or code (["-c", "print(1)"]).
    """

    def __init__(self, folder: Path) -> None:
        self._address = folder / "warm-python"
        self._lock = folder / "warm-python.lock"

    def run(self, argv: list[str], env: dict[str, str]) -> tuple[int, str, str]:
        """Exit code (below 0: the signal, SIGALRM after TIMEOUT_S), stdout, stderr of a program."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, open(os.devnull) as nothing:
            code = self.start(argv, env, nothing, out, err).wait()
            out.seek(0)
            err.seek(0)
            return code, out.read(), err.read()

    def start(self, argv: list[str], env: dict[str, str], *files: TextIO | int) -> Program:
        """The running program, with these files as its stdin, stdout and stderr."""
        connection = self._connect()
        with tempfile.TemporaryFile("w+") as order:
            json.dump({"argv": argv, "env": env, "cwd": str(Path.cwd())}, order)
            order.seek(0)
            descriptors = [file if isinstance(file, int) else file.fileno() for file in (order, *files)]
            socket.send_fds(connection, [b"run"], descriptors)
            return Program(connection)

    def start_piped(self, argv: list[str], env: dict[str, str], stderr: TextIO | None = None) -> PipedProgram:
        """The running program, its stdin and stdout in our hands; what it says on stderr goes to stdout or a file."""
        its_stdin, stdin = os.pipe()
        stdout, its_stdout = os.pipe()
        try:
            program = self.start(argv, env, its_stdin, its_stdout, its_stdout if stderr is None else stderr)
        finally:
            os.close(its_stdin)
            os.close(its_stdout)
        return PipedProgram(program, open(stdin, "w"), open(stdout))

    def __enter__(self) -> Self:
        with open(self._lock, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                self._stay = self._connect()
            except (FileNotFoundError, ConnectionRefusedError):  # none yet, or it ended with the last who stayed
                self._start_server()
                self._stay = self._connect()
            self._stay.send(b"stay")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stay.close()

    def _connect(self) -> socket.socket:
        address = self._address.read_text()
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection

    def _start_server(self) -> None:
        path = os.path.join(tempfile.mkdtemp(prefix="warm-"), "socket")  # the path of a socket has to be short
        env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # without it the import would go to the network
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(64)
            number = listener.fileno()
            # In a session of its own: Ctrl-C ends the test run, and the server ends with it by itself.
            subprocess.Popen(
                [sys.executable, "-P", __file__, str(number)],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[number],
                start_new_session=True,
            ).returncode = 0  # nobody waits for it
        self._address.write_text(path)


class Program:
    """A program that the server has forked."""

    def __init__(self, connection: socket.socket) -> None:
        with connection:
            self._answers = connection.makefile()
        self.pid = int(self._answers.readline())
        self.exit_code: int | None = None

    def wait(self) -> int:
        """Its exit code; below 0: the signal that ended it."""
        if self.exit_code is None:
            with self._answers:
                self.exit_code = int(self._answers.readline())
        return self.exit_code

    def send_signal(self, number: int) -> None:
        """To the program, if it has not been waited for."""
        if self.exit_code is None:
            os.kill(self.pid, number)


class PipedProgram:
    """A program with its stdin and stdout; `with` kills it at the end."""

    def __init__(self, program: Program, stdin: TextIO, stdout: TextIO) -> None:
        self.pid = program.pid
        self.send_signal = program.send_signal
        self.wait = program.wait
        self.stdin = stdin
        self.stdout = stdout

    def finish(self, text: str = "") -> tuple[int, str]:
        """Give it the last of its input; its exit code and what else it said."""
        with self.stdin:
            self.stdin.write(text)
        with self.stdout:
            said = self.stdout.read()
        return self.wait(), said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.send_signal(signal.SIGKILL)
        self.wait()
        self.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()


def _serve(listener: socket.socket) -> None:
    """Until the last user has gone; returns in each program too, which then is at its end."""
    for library in LIBRARIES:
        importlib.import_module(library)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()  # else each program would copy all of it to collect it
    users: set[socket.socket] = set()
    while ready := select.select([listener, *users], [], [], None if users else TIMEOUT_S)[0]:
        for connection in ready:
            if connection is not listener:
                users.discard(connection)
                connection.close()
                if not users:
                    return
                continue
            asking, _ = listener.accept()
            _, descriptors, _, _ = socket.recv_fds(asking, 16, 4)
            if not descriptors:
                users.add(asking)
            elif os.fork() == 0:
                _watch(asking, descriptors)
                return
            else:
                asking.close()
                for descriptor in descriptors:
                    os.close(descriptor)


def _watch(asking: socket.socket, descriptors: list[int]) -> None:
    """Fork the program and tell its process id and its exit code; returns in the program, at its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        asking.close()
        _become(*descriptors)
        return
    for descriptor in descriptors:
        os.close(descriptor)
    with contextlib.suppress(BrokenPipeError):
        asking.sendall(b"%d\n" % pid)
        asking.sendall(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _become(order_file: int, *files: int) -> None:
    signal.alarm(TIMEOUT_S)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(order_file) as file:
        order: dict[str, Any] = json.load(file)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    for number, descriptor in enumerate(files):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # Streams of its own: the server's have learnt what its files can do, and that they may be sought in.
    encoding = order["env"].get("PYTHONIOENCODING", "utf-8")
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding)
    out, err = (io.BufferedWriter(io.FileIO(number, "w", closefd=False)) for number in (1, 2))
    sys.stdout = io.TextIOWrapper(out, encoding, line_buffering=os.isatty(1))
    sys.stderr = io.TextIOWrapper(err, encoding, "backslashreplace", line_buffering=True)
    program, *arguments = order["argv"]
    sys.path.insert(0, order["env"]["PYTHONPATH"])
    if program == "-m":
        sys.argv[:] = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif program == "-c":
        sys.argv[:] = ["-c", *arguments[1:]]
        exec(arguments[0], {"__name__": "__main__"})
    else:
        sys.argv[:] = order["argv"]
        sys.path.insert(0, str(Path(program).parent))
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
    sys.exit()
