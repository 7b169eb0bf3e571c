"""The process between lye and a command: starts it within limits, and ends whatever it left behind.

A program of its own (`python -I -S _supervisor.py ...`), standard library only. It is two processes, both "child
subreapers" (man 2 prctl): what a command daemonises, by setsid or a double fork, becomes their child and is killed
with the rest. The keeper watches the command; the reaper ends everything if the command kills the keeper. Both end
everything when lye says so, and when lye's process is gone, however it went. Without Linux only the command's
process group is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

TICK_S = 0.02
_LOOK_S = 0.002  # between two looks at processes that have been killed
KILL_S = 20.0
_KEEPER_LATE_S = 3.0
_NICE = 10  # the command's: a fork bomb must not starve those who end it
_SPARE_PROCESSES = 500
_SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVS = 36, 38
_CONTROL = 0  # lye's end: a byte, or its closing, means "end everything"


def main(lye_pid: int, job_fd: int, stdin_fd: int, report_fd: int) -> None:
    """The reaper: forks the keeper, and leaves no process and no temporary folder behind."""
    for fd in (job_fd, stdin_fd, report_fd):
        os.set_inheritable(fd, False)
    os.set_blocking(report_fd, False)  # a command that fills this pipe must not hold us up
    with os.fdopen(job_fd) as file:
        job = json.load(file)
    news = News()
    _become_subreaper()
    try:
        _make_folders(job)
    except OSError as error:
        _report(report_fd, error=f"no temporary folder: {error}")
        return
    reaper = os.getpid()
    keeper = os.fork()
    if keeper == 0:
        _become_subreaper()
        try:
            keep(job, stdin_fd, report_fd, reaper, News())
        finally:
            os._exit(0)
    _let_go(stdin_fd)
    late, is_told = time.monotonic() + job["timeout_s"] + KILL_S + _KEEPER_LATE_S, False
    while (status := reap().get(keeper)) is None:
        if is_told:  # the word stays in the pipe, for the keeper as well: polling would take a whole processor
            time.sleep(_LOOK_S)
        elif news.wait(TICK_S) or os.getppid() != lye_pid:
            is_told, late = True, min(late, time.monotonic() + _KEEPER_LATE_S)
        if time.monotonic() > late or _is_stopped(keeper):  # the command's doing
            os.kill(keeper, signal.SIGKILL)
    left = end_all()
    if status != 0:
        _report(report_fd, reason="supervisor", left=left)
    _remove(job["folder"])


def keep(job: dict[str, Any], stdin_fd: int, report_fd: int, reaper: int, news: News) -> None:
    """The keeper: starts the command, watches it, ends it and all that came of it, reports."""
    began = time.monotonic()
    try:
        command = _start(job, stdin_fd)
    except OSError as error:
        _report(report_fd, error=os.strerror(error.errno or 0))
        return
    _let_go(stdin_fd)
    deadline, status, reason = began + job["timeout_s"], None, None
    while True:
        told = news.wait(min(TICK_S, max(deadline - time.monotonic(), 0)))
        status = reap().get(command)
        if status is not None:
            break
        if told or os.getppid() != reaper:
            reason = "told"
        elif time.monotonic() >= deadline:
            reason = "time"
        else:
            reason = _passed_limit(job)
        if reason:
            with contextlib.suppress(OSError):
                os.killpg(command, signal.SIGKILL)  # at one stroke, so that a fork bomb in it cannot outrun it
            break
    seconds = time.monotonic() - began
    left = end_all()
    if os.getppid() != reaper:
        _remove(job["folder"])
    _report(report_fd, status=status, reason=reason, seconds=seconds, left=left)


class News:
    """What wakes the supervisor early: a child that ended, or lye's word."""

    def __init__(self) -> None:
        self._woken, woke = os.pipe()
        for fd in (self._woken, woke):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(woke, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._poll = select.poll()
        self._poll.register(self._woken, select.POLLIN)
        self._poll.register(_CONTROL, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """At most so long; whether lye has said "end everything", or is gone."""
        found = dict(self._poll.poll(seconds * 1000))
        if self._woken in found:
            os.read(self._woken, 65536)
        return _CONTROL in found


def reap() -> dict[int, int]:
    """The children that have ended, with their exit codes (below 0: the signal)."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = os.waitstatus_to_exitcode(found[1])
    return ended


def descendants() -> Iterator[int]:
    """All processes below this one; those that come and go meanwhile may be missing."""
    found, children = [os.getpid()], _children()
    for pid in found:  # it grows
        below = children(pid)
        yield from below
        found += below


def end_all() -> int:
    """Kill until nothing is left below this process; the number that outlived even that."""
    until = time.monotonic() + KILL_S
    killed: set[int] = set()
    while True:
        seen = []
        for pid in descendants():
            _send(pid, signal.SIGSTOP)  # before its children are read: then it has no more of them
            seen.append(pid)
        for pid in seen:
            _send(pid, signal.SIGKILL)
        reap()
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return 0  # no child, so nothing below: orphans would be children
        if time.monotonic() > until:
            return len(seen)
        if killed.issuperset(seen):  # nothing new to outrun: let them have the processor, to free their memory
            time.sleep(_LOOK_S)
        killed.update(seen)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _is_stopped(pid: int) -> bool:
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].startswith((" T", " t"))


def _children() -> Any:
    """A function from a process id to the ids of its children."""
    if os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        return _listed_children
    below: dict[int, list[int]] = {}
    if os.path.isdir("/proc/self"):
        for name in os.listdir("/proc"):
            if name.isdigit() and (stat := _read(f"/proc/{name}/stat")):
                below.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(name))
    return lambda pid: below.get(pid, [])


def _listed_children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # it has ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def _passed_limit(job: dict[str, Any]) -> str | None:
    """The limit on all of the command's processes together that is passed, if any."""
    alive = list(itertools.islice(descendants(), job["max_processes"] + 1))
    if len(alive) > job["max_processes"]:
        return "processes"
    pages = sum(int((_read(f"/proc/{pid}/statm").split() or "00")[1]) for pid in alive)
    if pages * os.sysconf("SC_PAGE_SIZE") > job["max_memory_bytes"]:
        return "memory"
    # Linux adds what a process wrote to its parent's count when it has ended, hence this one's own.
    if sum(_written(str(pid)) for pid in ("self", *alive)) > job["max_written_bytes"]:
        return "written"
    return None


def _written(pid: str) -> int:
    """Bytes that a process gave to write(), or made the disk write, whichever is more."""
    counts = dict(line.split(": ") for line in _read(f"/proc/{pid}/io").splitlines())
    return max(int(counts.get("wchar", 0)), int(counts.get("write_bytes", 0)))


def _read(path: str) -> str:
    """The text of a file of /proc, "" where its process has ended or is not ours to see."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _start(job: dict[str, Any], stdin_fd: int) -> int:
    """The id of the process that has become the command; OSError if it could not."""
    failed, failing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _become(job, stdin_fd)
        except (OSError, ValueError) as error:  # ValueError: a variable that the system's charset does not have
            os.write(failing, str(getattr(error, "errno", errno.EINVAL)).encode())
        finally:
            os._exit(127)
    os.close(failing)
    with os.fdopen(failed) as file:
        if error_number := file.read():  # closed by the exec if all went well
            raise OSError(int(error_number), "")
    return pid


def _become(job: dict[str, Any], stdin_fd: int) -> None:
    """Turn this process into the command: own session, limits, nothing inherited but its stdin, stdout and stderr."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)  # Python ignores SIGPIPE and SIGXFSZ, and lye's caller may others
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.umask(0o022)
    os.dup2(stdin_fd, 0)
    os.chdir(job["cwd"])
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    _limit(job)
    os.execve(job["program"], job["argv"], job["env"])


def _limit(job: dict[str, Any]) -> None:
    import resource

    limits = {
        resource.RLIMIT_CORE: 0,
        # Only for a command whose supervisor is gone: all processors busy until the time-out are within it.
        resource.RLIMIT_CPU: int(job["timeout_s"] + KILL_S) * (os.cpu_count() or 1),
        resource.RLIMIT_FSIZE: job["max_file_bytes"],
        resource.RLIMIT_NOFILE: 1024,
        resource.RLIMIT_AS: job["max_memory_bytes"],
    }
    if os.geteuid() != 0 and (running := _tasks_of_user()):
        # It counts all that the user runs, also where we cannot look (other containers): a wide last resort.
        limits[resource.RLIMIT_NPROC] = running + job["max_processes"] + _SPARE_PROCESSES
    for kind, wanted in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS refuses a limit on the address space
            resource.setrlimit(kind, (value, value))


def _tasks_of_user() -> int:
    """Threads of all processes of this user that can be seen; 0 where none can."""
    found = 0
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == os.geteuid():
                found += len(os.listdir(f"/proc/{name}/task"))
    return found


def _become_subreaper() -> None:
    if sys.platform != "linux":
        return
    prctl = ctypes.CDLL(None).prctl
    prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # no setuid program: none that could not be killed
    # A fork bomb whose processes call setsid gets a share of the processors for each (sched_autogroup) and would
    # outrun who kills it. Only root may do this, and only root needs to: for others RLIMIT_NPROC ends the bomb.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def _make_folders(job: dict[str, Any]) -> None:
    os.mkdir(job["folder"], 0o700)
    for name in ("home", "tmp", "work"):
        os.mkdir(os.path.join(job["folder"], name), 0o700)


def _remove(folder: str) -> None:
    """Remove the folder with all in it, whatever its depth and permissions: what lies two deep is moved up first."""
    name, number = os.urandom(8).hex(), 0
    with contextlib.suppress(OSError):
        if os.path.islink(folder) or f" {folder}/" in _read("/proc/self/mountinfo"):
            return  # the command's doing, and what lies behind it is not ours to remove
        while below := _remove_files(folder):
            for path in below:
                for inner in _remove_files(path):
                    number += 1
                    os.chmod(inner, 0o700)  # a folder that is moved has to be writable itself
                    os.rename(inner, os.path.join(folder, f"{name}-{number}"))
                os.rmdir(path)
        os.rmdir(folder)


def _remove_files(folder: str) -> list[str]:
    """Remove all in the folder but folders: these are returned."""
    os.chmod(folder, 0o700)
    with os.scandir(folder) as entries:
        found = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for path, is_folder in found:
        if not is_folder:
            os.unlink(path)
    return [path for path, is_folder in found if is_folder]


def _let_go(stdin_fd: int) -> None:
    """Of the command's stdin, stdout and stderr, so that they end with it."""
    os.dup2(stdin_fd, 1)
    os.dup2(stdin_fd, 2)
    os.close(stdin_fd)


def _report(fd: int, **found: Any) -> None:
    with contextlib.suppress(BrokenPipeError, BlockingIOError):
        os.write(fd, json.dumps(found).encode() + b"\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
