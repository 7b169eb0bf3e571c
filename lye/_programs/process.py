"""One program, run to its end within limits: no shell, no inherited secrets, nothing left running.

What happens in the process between is `supervisor.py`'s; what may run is `argv.py`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

from lye._programs.kept_output import KeptOutput, readable
from lye.errors import CommandFailed

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))
_READ_BYTES = 1 << 16
_GRACE_S = 45.0  # what the supervisor may take to end everything, and more
_LATE_S = 1.0
_DRAIN_S = 2.0
_MAX_REPORT_BYTES = 4_096
_MOST = 10**15  # more, the system's calls would not take

Reason = Literal["time", "processes", "memory", "written", "output", "supervisor", "told"]


@dataclass(frozen=True)
class Limits:
    """What one call may use; memory, written bytes and processes are all its processes' together."""

    timeout_s: float = 60.0
    max_memory_bytes: int = 1 << 30
    max_file_bytes: int = 100_000_000
    max_written_bytes: int = 1_000_000_000
    max_processes: int = 64
    max_output_bytes: int = 50_000_000
    max_output_chars: int = 40_000  # of stdout, and of stderr

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 < value <= _MOST:
                raise ValueError(f"{name} is {value!r}; pass a number above 0, up to {_MOST:g}")
            if name != "timeout_s" and value != int(value):
                raise ValueError(f"{name} is {value!r}; pass a whole number")


@dataclass(frozen=True)
class Command:
    """A program (its path) with its whole argv, and where and with what it runs."""

    program: str
    argv: Sequence[str]
    cwd: str
    folder: str  # its own, made for the call and removed after it; `new_folder()`
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str | None = None


@dataclass(frozen=True)
class Ended:
    """How it went. `exit_code` is below 0 for a signal, None where a limit ended it (`reason`)."""

    exit_code: int | None
    reason: Reason | None
    seconds: float
    stdout: str
    stderr: str


def new_folder() -> str:
    """A name for a command's own folder, with "home", "tmp" and "work" in it; the supervisor makes and removes it."""
    return os.path.join(os.path.realpath(tempfile.gettempdir()), f"lye-{os.urandom(8).hex()}")


def scrubbed_environment(folder: str, extra: Mapping[str, str]) -> dict[str, str]:
    """All that a command finds in its environment: nothing of the parent's, what the developer gives on top."""
    own = {
        "PATH": PATH,
        "HOME": os.path.join(folder, "home"),
        "TMPDIR": os.path.join(folder, "tmp"),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
    }
    return own | dict(extra)


async def run(command: Command, limits: Limits) -> Ended:
    """Run it; when this returns or raises, cancelled too, nothing of it is running any more.

    Raises CommandFailed when it could not be started, or could not be ended.
    """
    if sys.platform == "win32":
        raise CommandFailed(f"{command.argv[0]!r} was not started: commands cannot be run on Windows")
    supervisor = _Supervisor(command, limits)
    try:
        return await supervisor.follow()
    finally:
        await _settled(supervisor.end())


@dataclass(frozen=True)
class _Report:
    """The supervisor's last word. A command of the same user can open the pipe and write there as well."""

    status: int | None = None
    reason: Reason | None = None
    seconds: float = 0.0
    left: int = 0
    error: str = ""

    @classmethod
    def of(cls, text: bytes) -> Self | None:
        """The report; None for what the supervisor does not write."""
        try:
            report = cls(**json.loads(text.partition(b"\n")[0]))
        except (ValueError, TypeError, RecursionError):
            return None
        is_sound = (
            isinstance(report.status, int | None)
            and (report.reason is None or report.reason in get_args(Reason))
            and isinstance(report.seconds, int | float)
            and isinstance(report.left, int)
            and isinstance(report.error, str)
        )
        return replace(report, error=readable(report.error)) if is_sound else None


class _Supervisor:
    """The supervisor's process and the pipes to it, made in one step that cannot be cancelled half-way."""

    def __init__(self, command: Command, limits: Limits) -> None:
        self._command, self._limits = command, limits
        self._told_reason: Reason | None = None
        self._kept = [KeptOutput(limits.max_output_chars) for _ in range(2)]
        self._report = bytearray()
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            try:
                control, self._control = _pipe(theirs, ours)
                pipes = [_pipe(ours, theirs) for _ in range(3)]
                passed = (*self._files(theirs), pipes[2][1])
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", _SUPERVISOR, *map(str, (os.getpid(), *passed))],
                    stdin=control,
                    stdout=pipes[0][1],
                    stderr=pipes[1][1],
                    pass_fds=passed,
                    env={"PATH": PATH},
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as error:
                raise CommandFailed(
                    f"{command.argv[0]!r} was not started ({error}); try again later, with fewer commands at once"
                ) from error
            self._open = ours.pop_all()
        takers = [functools.partial(self._keep, kept) for kept in self._kept]
        self._output = [_Reading(pipe[0], take) for pipe, take in zip(pipes, takers, strict=False)]
        self._reporting = _Reading(pipes[2][0], self._take_report)

    async def follow(self) -> Ended:
        """Wait for the supervisor's report, then for the rest of the output."""
        name = self._command.argv[0]
        for patience_s in (self._limits.timeout_s + _LATE_S, _GRACE_S):
            await asyncio.wait([self._reporting.ended], timeout=patience_s)
            self._process.send_signal(signal.SIGCONT)  # a command can stop both supervisors
        report = _Report.of(bytes(self._report))
        if report is None:
            raise CommandFailed(
                f"{name!r} killed its supervisor, or wrote its report; processes of it may be running;"
                " tell the developer"
            )
        if report.error:
            raise CommandFailed(f"{name!r} could not be started: {report.error}; check the program, or run another one")
        if report.left:
            raise CommandFailed(
                f"{name!r} was killed, but {report.left} of its processes did not end; tell the developer"
            )
        await asyncio.wait([reading.ended for reading in self._output], timeout=_DRAIN_S)
        stdout, stderr = (kept.text() for kept in self._kept)
        return Ended(
            exit_code=report.status,
            reason=self._told_reason or report.reason if report.reason == "told" else report.reason,
            seconds=report.seconds,
            stdout=stdout,
            stderr=stderr,
        )

    async def end(self) -> None:
        """Have everything ended, and wait until it is."""
        loop = asyncio.get_running_loop()
        try:
            self._tell()
            until = loop.time() + _GRACE_S
            while self._process.poll() is None:
                self._process.send_signal(signal.SIGKILL if loop.time() > until else signal.SIGCONT)  # may be stopped
                await asyncio.sleep(0.002)
        finally:
            for reading in (*self._output, self._reporting):
                reading.stop()
            self._open.close()

    def _files(self, theirs: contextlib.ExitStack) -> tuple[int, int]:
        """The job and the command's stdin, as descriptors of nameless files."""
        job = asdict(self._command) | asdict(self._limits)
        text = job.pop("stdin")
        job_fd = _nameless_file(json.dumps(job), theirs)
        if text is not None:
            return job_fd, _nameless_file(text, theirs)
        nothing = os.open(os.devnull, os.O_RDONLY)
        theirs.callback(os.close, nothing)
        return job_fd, nothing

    def _keep(self, kept: KeptOutput, piece: bytes) -> None:
        kept.add(piece)
        if self._told_reason is None and sum(k.size_bytes for k in self._kept) > self._limits.max_output_bytes:
            self._told_reason = "output"
            self._tell()

    def _take_report(self, piece: bytes) -> None:
        self._report += piece
        if b"\n" in self._report or len(self._report) > _MAX_REPORT_BYTES:
            self._reporting.stop()  # not at its end: a supervisor that the command has stopped keeps it open

    def _tell(self) -> None:
        """Tell the supervisor to end everything."""
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(self._control, b"x")


class _Reading:
    """A pipe that is read as its bytes come; `ended` is done at its end."""

    def __init__(self, fd: int, take: Callable[[bytes], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd, self._take = fd, take
        self.ended: asyncio.Future[None] = self._loop.create_future()
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            piece = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        self._take(piece) if piece else self.stop()

    def stop(self) -> None:
        """Read no more."""
        if not self.ended.done():
            self._loop.remove_reader(self._fd)
            self.ended.set_result(None)


async def _settled(work: Coroutine[Any, Any, None]) -> None:
    """Do the work to its end, however often the waiting task is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        raise cancelled
    task.result()


def _pipe(readers: contextlib.ExitStack, writers: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe whose ends are closed with these stacks."""
    reader, writer = os.pipe()
    readers.callback(os.close, reader)
    writers.callback(os.close, writer)
    return reader, writer


def _nameless_file(text: str, theirs: contextlib.ExitStack) -> int:
    """The descriptor of a file with this text, in memory where the system can."""
    data = text.encode(errors="surrogatepass")
    if sys.platform == "linux":
        fd = os.memfd_create("lye")
        theirs.callback(os.close, fd)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
        theirs.callback(os.close, fd)
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
