"""One program, run to its end within limits, and nothing left of it, whatever it tries."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from lye._programs.process import PATH, Command, Ended, Limits, new_folder, run, scrubbed_environment
from lye.errors import CommandFailed
from tests.lye.marked_processes import Marked

ROOT = Path(__file__).parents[3]
PYTHON = os.path.realpath(sys.executable)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="daemons can be followed on Linux only")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the commands' own folders are made; empty at the end of each test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert os.listdir(folder) == []


def is_there(path: str) -> bool:
    return os.path.exists(path)


async def run_argv(argv: list[str], cwd: Path, mark: Marked, stdin: str | None = None, **limits: float) -> Ended:
    folder = new_folder()
    env = scrubbed_environment(folder, mark.env)
    try:
        return await run(Command(argv[0], argv, str(cwd), folder, env, stdin), Limits(**limits))  # type: ignore[arg-type]
    finally:
        assert not is_there(folder)
        assert mark.alive() == []


async def run_shell(script: str, cwd: Path, mark: Marked, **limits: float) -> Ended:
    """A shell script, in which SECONDS stands for a long time that marks its process."""
    return await run_argv(["/bin/sh", "-c", script.replace("SECONDS", mark.seconds)], cwd, mark, **limits)


async def run_python(code: str, cwd: Path, mark: Marked, **limits: float) -> Ended:
    return await run_argv([PYTHON, "-I", "-S", "-c", "import os, sys, time, signal\n" + code], cwd, mark, **limits)


async def test_a_program_ends_with_its_code_and_both_outputs(tmp_path: Path, marked: Marked) -> None:
    ended = await run_shell("echo out; echo err >&2; exit 3", tmp_path, marked)
    assert (ended.exit_code, ended.reason, ended.stdout, ended.stderr) == (3, None, "out\n", "err\n")


async def test_a_signal_is_told(tmp_path: Path, marked: Marked) -> None:
    assert (await run_shell("kill -TERM $$", tmp_path, marked)).exit_code == -15


async def test_a_time_out_keeps_what_was_said(tmp_path: Path, marked: Marked) -> None:
    ended = await run_shell("echo begun; sleep SECONDS", tmp_path, marked, timeout_s=0.3)
    assert (ended.exit_code, ended.reason, ended.stdout) == (None, "time", "begun\n")
    assert ended.seconds < 2


async def test_stdin_is_the_text_or_nothing(tmp_path: Path, marked: Marked) -> None:
    text = "é\n" * 300_000
    assert (await run_argv(["/usr/bin/wc", "-c"], tmp_path, marked, stdin=text)).stdout == "900000\n"
    assert (await run_argv(["/bin/cat"], tmp_path, marked)).stdout == ""


async def test_a_program_that_cannot_start_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "no-program").write_text("hello")
    (tmp_path / "no-program").chmod(0o755)
    for name, words in (("nothing", "No such file"), ("no-program", "Exec format error")):
        command = Command(str(tmp_path / name), [name], str(tmp_path), new_folder())
        with pytest.raises(CommandFailed, match=f"{name}' could not be started: {words}"):
            await run(command, Limits())


async def test_an_argument_that_the_system_refuses_is_a_failure(tmp_path: Path, marked: Marked) -> None:
    with pytest.raises(CommandFailed, match="Argument list too long"):
        await run_argv(["/bin/echo", "x" * 200_000], tmp_path, marked)


# -- what stays behind -----------------------------------------------------------------------------

DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        {extra}
        time.sleep(100)
    os._exit(0)
os.wait()
"""
LEFT_BEHIND = {
    "background": "sleep SECONDS & echo done",
    "nohup": "nohup sleep SECONDS >/dev/null 2>&1 & echo done",
    "setsid": "setsid sleep SECONDS & echo done",
    "setsid-fork": "setsid --fork sleep SECONDS; echo done",
    "double-fork": "(setsid sh -c 'sleep SECONDS & sleep SECONDS &' &) ; echo done",
    "holds-the-pipe": "(setsid sleep SECONDS &) ; echo done",
    "no-environment": "env -i setsid sleep SECONDS & echo done",
    "ignores-signals": "(trap '' TERM HUP INT QUIT PIPE; setsid sh -c 'while :; do sleep SECONDS; done') & echo done",
    "stopped": "setsid sleep SECONDS & kill -STOP $!; echo done",
    "own-group": "set -m; sleep SECONDS & echo done",
    "disowned-reader": "(cat >/dev/null; sleep SECONDS) </dev/null & echo done",
    "renamed": "cp /bin/sleep $TMPDIR/init; setsid $TMPDIR/init SECONDS & echo done",
    "own-folder-shut": "cd $TMPDIR; mkdir -p a/b; touch a/b/c; chmod 0 a/b a; sleep SECONDS & echo done",
}


@linux_only
@pytest.mark.parametrize("script", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
async def test_nothing_outlives_its_call(tmp_path: Path, marked: Marked, script: str) -> None:
    began = time.monotonic()
    ended = await run_shell(script, tmp_path, marked)
    assert (ended.exit_code, ended.stdout) == (0, "done\n")
    assert time.monotonic() - began < 5


DAEMONS = {
    "double-fork": "",
    "descriptors-closed": "os.closerange(0, 100)",
    "all-signals-blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    "many-generations": "[os.fork() and os._exit(0) for _ in range(30)]",
    "a-subreaper-of-its-own": "import ctypes; ctypes.CDLL(None).prctl(36, 1); os.fork() or os.fork()",
}


@linux_only
@pytest.mark.parametrize("extra", DAEMONS.values(), ids=DAEMONS)
async def test_no_daemon_outlives_its_call(tmp_path: Path, marked: Marked, extra: str) -> None:
    ended = await run_python(DAEMON.format(extra=extra), tmp_path, marked)
    assert ended.exit_code == 0


ENDLESS = {
    "ignores-every-signal": "[n in (9, 19) or signal.signal(n, signal.SIG_IGN) for n in range(1, 32)]; time.sleep(100)",
    "stops-itself": "os.kill(os.getpid(), signal.SIGSTOP)",
    "spins": "while True: pass",
    "closes-its-outputs": "os.closerange(0, 100); time.sleep(100)",
    "leaves-zombies": "[os.fork() or os._exit(0) for _ in range(20)]; time.sleep(100)",
    "is-restarted": "while True:\n  if os.fork() == 0: time.sleep(100)\n  os.wait()",
}


@pytest.mark.parametrize("code", ENDLESS.values(), ids=ENDLESS)
async def test_what_does_not_end_is_killed_in_time(tmp_path: Path, marked: Marked, code: str) -> None:
    began = time.monotonic()
    ended = await run_python(code, tmp_path, marked, timeout_s=0.4)
    assert ended.reason == "time"
    assert time.monotonic() - began < 5


AGAINST_THE_SUPERVISOR = {
    "killed": ("os.kill(os.getppid(), 9); time.sleep(100)", "supervisor"),
    "killed-by-a-daemon": (
        "parent = os.getppid()\nif os.fork() == 0:\n  os.setsid(); os.kill(parent, 9)\ntime.sleep(100)",
        "supervisor",
    ),
    "terminated": ("os.kill(os.getppid(), 15); time.sleep(100)", "supervisor"),
    "stopped": ("os.kill(os.getppid(), 19); time.sleep(100)", "supervisor"),
    "reaper-killed": (
        "reaper = int(open(f'/proc/{os.getppid()}/stat').read().split()[3]); os.kill(reaper, 9); time.sleep(100)",
        "told",
    ),
    "reaper-stopped": (
        "reaper = int(open(f'/proc/{os.getppid()}/stat').read().split()[3]); os.kill(reaper, 19); time.sleep(100)",
        "time",
    ),
    "both-stopped": (
        "reaper = int(open(f'/proc/{os.getppid()}/stat').read().split()[3])\n"
        "os.kill(reaper, 19); os.kill(os.getppid(), 19); time.sleep(100)",
        "supervisor",
    ),
}


@linux_only
@pytest.mark.parametrize(("code", "reason"), AGAINST_THE_SUPERVISOR.values(), ids=AGAINST_THE_SUPERVISOR)
async def test_a_command_that_turns_on_its_supervisor_is_ended(
    tmp_path: Path, marked: Marked, code: str, reason: str
) -> None:
    began = time.monotonic()
    ended = await run_python(code, tmp_path, marked, timeout_s=0.5)
    assert ended.reason == reason
    assert time.monotonic() - began < 15  # the supervisor's own patience is longer


FORGED = """
for fd in os.listdir(f'/proc/{os.getppid()}/fd'):
    path = f'/proc/{os.getppid()}/fd/{fd}'
    if int(fd) > 2 and os.readlink(path).startswith('pipe'):
        try:
            pipe = os.open(path, os.O_WRONLY)
        except OSError:
            continue
        for _ in range(REPEAT): os.write(pipe, WORDS)
time.sleep(100)
"""


@linux_only
@pytest.mark.parametrize(
    ("words", "repeat"),
    [
        pytest.param(b"no json\n", 1, id="no-json"),
        pytest.param(b'{"reason": []}\n', 1, id="reason"),
        pytest.param(b"x" * 65_536, 1_000, id="flood"),
        pytest.param(b"[1]\n", 1, id="no-object", marks=pytest.mark.deep),
        pytest.param(b"[" * 4_000 + b"\n", 1, id="nested", marks=pytest.mark.deep),
        pytest.param(b'{"status": "x"}\n', 1, id="status", marks=pytest.mark.deep),
        pytest.param(b'{"seconds": "x"}\n', 1, id="seconds", marks=pytest.mark.deep),
        pytest.param(b'{"more": 1}\n', 1, id="more", marks=pytest.mark.deep),
    ],
)
async def test_a_forged_report_is_no_answer(tmp_path: Path, marked: Marked, words: bytes, repeat: int) -> None:
    code = FORGED.replace("REPEAT", str(repeat)).replace("WORDS", repr(words))
    tracemalloc.start()
    try:
        with pytest.raises(CommandFailed, match="wrote its report"):
            await run_python(code, tmp_path, marked, timeout_s=20)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@linux_only
async def test_a_forged_report_cannot_steer_a_terminal(tmp_path: Path, marked: Marked) -> None:
    code = FORGED.replace("REPEAT", "1").replace("WORDS", repr(b'{"error": "\\u001b[31mred"}\n'))
    with pytest.raises(CommandFailed, match="could not be started: red;"):
        await run_python(code, tmp_path, marked, timeout_s=20)


@linux_only
async def test_a_large_process_is_ended_by_its_supervisor(tmp_path: Path, marked: Marked) -> None:
    """Freeing the memory takes the processor: who waits for its end must leave it some."""
    ended = await run_python("os.write(1, b'x' * 300_000_000)", tmp_path, marked, max_output_bytes=1_000_000)
    assert ended.reason == "output"


@linux_only
async def test_an_output_that_a_stranger_holds_open_is_not_waited_for(tmp_path: Path, marked: Marked) -> None:
    code = "print('said', flush=True); os.symlink(str(os.getpid()), 'pid')\nwhile 'held' not in os.listdir(): pass"

    def hold() -> int:
        while "pid" not in os.listdir(tmp_path):
            time.sleep(0.01)
        fd = os.open(f"/proc/{os.readlink(tmp_path / 'pid')}/fd/1", os.O_WRONLY)
        (tmp_path / "held").touch()
        return fd

    holding = asyncio.ensure_future(asyncio.to_thread(hold))
    try:
        async with asyncio.timeout(10):
            ended = await run_python(code, tmp_path, marked)
    finally:
        os.close(await holding)
    assert (ended.exit_code, ended.stdout) == (0, "said\n")


# -- limits ----------------------------------------------------------------------------------------

BOMB = """
end = time.monotonic() + 30
while time.monotonic() < end:
    try:
        if os.fork() == 0: {child}
    except OSError: pass
"""


@linux_only
@pytest.mark.parametrize(
    "child",
    [
        pytest.param("pass", id="plain"),
        pytest.param("os.setsid()", id="setsid"),
        pytest.param("os.fork() and os._exit(0)", id="orphans", marks=pytest.mark.deep),
    ],
)
async def test_a_fork_bomb_is_ended(tmp_path: Path, marked: Marked, child: str) -> None:
    began = time.monotonic()
    ended = await run_python(BOMB.format(child=child), tmp_path, marked, timeout_s=10)
    assert ended.reason == "processes"
    assert time.monotonic() - began < 25


@linux_only
async def test_more_processes_than_the_limit_are_ended(tmp_path: Path, marked: Marked) -> None:
    code = "[os.fork() for _ in range(3)]; time.sleep(100)"
    ended = await run_python(code, tmp_path, marked, max_processes=7, timeout_s=10)
    assert ended.reason == "processes"


@linux_only
async def test_one_process_cannot_take_more_memory_than_the_limit(tmp_path: Path, marked: Marked) -> None:
    ended = await run_python("x = bytearray(300_000_000)", tmp_path, marked, max_memory_bytes=200_000_000)
    assert ended.exit_code == 1
    assert "MemoryError" in ended.stderr


@linux_only
async def test_processes_together_cannot_take_more_memory_than_the_limit(tmp_path: Path, marked: Marked) -> None:
    code = "[os.fork() for _ in range(3)]; x = bytearray(b'x' * 60_000_000); time.sleep(100)"
    ended = await run_python(code, tmp_path, marked, max_memory_bytes=200_000_000, timeout_s=30)
    assert ended.reason == "memory"


async def test_one_file_cannot_grow_over_the_limit(tmp_path: Path, marked: Marked) -> None:
    ended = await run_shell("cat /dev/zero > big; echo $?", tmp_path, marked, max_file_bytes=1_000_000)
    assert "File size limit exceeded" in ended.stderr or ended.stdout != "0\n"
    assert (tmp_path / "big").stat().st_size <= 1_000_000


@linux_only
@pytest.mark.parametrize("path", ["{tmp}/{{n}}", "/dev/shm/lye-{seconds}"], ids=["many-files", "memory-files"])
async def test_all_files_together_cannot_grow_over_the_limit(tmp_path: Path, marked: Marked, path: str) -> None:
    files = tmp_path / "files"
    files.mkdir()
    path = path.format(tmp=files, seconds=marked.seconds)
    code = f"n = 0\nwhile True:\n  n += 1\n  open(f'{path}', 'wb').write(bytes(1_000_000)); time.sleep(0.001)"
    try:
        ended = await run_python(code, tmp_path, marked, max_written_bytes=20_000_000, timeout_s=20)
    finally:
        await asyncio.to_thread(Path(path).unlink, missing_ok=True)
    assert ended.reason == "written"
    assert len(os.listdir(files)) < 200


async def test_what_short_lived_children_write_counts_too(tmp_path: Path, marked: Marked) -> None:
    script = "i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero > $((i % 5)); done"
    assert (await run_shell(script, tmp_path, marked, max_written_bytes=20_000_000, timeout_s=20)).reason == "written"


@linux_only
async def test_what_short_lived_orphans_write_counts_too(tmp_path: Path, marked: Marked) -> None:
    script = "i=0; while :; do i=$((i+1)); (head -c 1000000 /dev/zero > $((i % 5)) &); sleep 0.02; done"
    assert (await run_shell(script, tmp_path, marked, max_written_bytes=20_000_000, timeout_s=20)).reason == "written"


FLOODS = {
    "stdout": "yes",
    "stderr": "yes >&2",
    "both": "yes >&2 & yes",
    "no-newline": "tr '\\\\0' x < /dev/zero",
    "binary": "cat /dev/urandom",
    "nul": "cat /dev/zero",
    "escapes": "yes '\x1b]0;'",
}


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(script, id=kind, marks=[] if kind in ("both", "no-newline") else [pytest.mark.deep])
        for kind, script in FLOODS.items()
    ],
)
async def test_a_flood_is_ended_in_bounded_memory(tmp_path: Path, marked: Marked, script: str) -> None:
    tracemalloc.start()
    try:
        ended = await run_shell(script, tmp_path, marked, max_output_bytes=5_000_000, timeout_s=20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ended.reason == "output"
    assert "left out ...]" in ended.stdout + ended.stderr
    assert len(ended.stdout) <= 40_100
    assert len(ended.stderr) <= 40_100
    assert peak < 5_000_000


async def test_a_long_output_below_the_limit_is_not_a_flood(tmp_path: Path, marked: Marked) -> None:
    ended = await run_shell("head -c 20000000 /dev/zero | tr '\\0' x", tmp_path, marked, max_output_bytes=10**9)
    assert (ended.exit_code, ended.reason) == (0, None)
    assert "\n[... 19,960,000 bytes left out ...]\n" in ended.stdout


@linux_only
async def test_limits_are_set(tmp_path: Path, marked: Marked) -> None:
    ended = await run_shell("ulimit -c; ulimit -n; ulimit -t; nice", tmp_path, marked, timeout_s=5)
    core, files, cpu_s, niceness = ended.stdout.split()
    assert (core, niceness) == ("0", "10")
    assert int(files) <= 1024
    assert int(cpu_s) <= 25 * (os.cpu_count() or 1)


@linux_only
async def test_no_core_is_written_though_the_program_itself_may(tmp_path: Path, marked: Marked) -> None:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if before[1] == 0:
        pytest.skip("no process here may write a core")
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        ended = await run_shell("ulimit -c", tmp_path, marked)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    assert ended.stdout == "0\n"


LIMITED = """
import os, resource, sys
sys.path.insert(0, {root!r})
from lye._programs import supervisor
if os.geteuid() == 0:  # whom the system does not limit so: another user stands in
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
before = supervisor._tasks_of_user()
supervisor._limit(dict(timeout_s=1, max_file_bytes=10**6, max_memory_bytes=10**9, max_processes=64))
print(before, *resource.getrlimit(resource.RLIMIT_NPROC))
"""


@linux_only
def test_a_users_processes_are_limited_by_the_system_as_well() -> None:
    code = LIMITED.format(root=str(ROOT))
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True)
    running, soft, hard = map(int, done.stdout.split())
    assert running + 64 <= soft <= running + 64 + 600
    assert soft == hard


@linux_only
async def test_a_lower_limit_of_the_program_itself_stands(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(200, before[0]), before[1]))
    try:
        ended = await run_shell("true", tmp_path, Marked())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert ended.exit_code == 0


@linux_only
async def test_no_signal_is_ignored(tmp_path: Path, marked: Marked) -> None:
    ended = await run_shell("grep SigIgn /proc/self/status", tmp_path, marked)
    ignored = int(ended.stdout.removeprefix("SigIgn:"), 16)
    assert ignored & ~(0b11 << 31) == 0  # 32 and 33 are the C library's own, which no program can set


@linux_only
async def test_no_setuid_program_gains_rights(tmp_path: Path, marked: Marked) -> None:
    ended = await run_shell("grep NoNewPrivs /proc/self/status", tmp_path, marked)
    assert ended.stdout == "NoNewPrivs:\t1\n"


@linux_only
async def test_a_signal_to_its_own_group_ends_the_command_alone(tmp_path: Path, marked: Marked) -> None:
    ended = await run_shell("kill -9 0", tmp_path, marked)
    assert (ended.exit_code, ended.reason) == (-9, None)


# -- what a command inherits -----------------------------------------------------------------------


@linux_only
async def test_no_variable_and_no_open_file_is_inherited(
    tmp_path: Path, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD_X", "PYTHONPATH", "BASH_ENV", "ENV"):
        monkeypatch.setenv(name, "hunter2")
    secret = os.open(tmp_path / "secret", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(secret, True)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        code = "print(sorted(os.environ)); print(os.listdir('/proc/self/fd')); print(open('/proc/self/status').read())"
        ended = await run_python(code, tmp_path, marked)
    finally:
        os.close(secret)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    names, descriptors, status = ended.stdout.split("\n", 2)
    assert names == str(sorted(["PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TERM", "TEST_MARK"]))
    assert descriptors == "['0', '1', '2', '3']"  # the last one lists them
    assert "SigBlk:\t0000000000000000" in status
    assert "hunter2" not in ended.stdout


async def test_the_mode_of_new_files_is_not_the_programs_own(tmp_path: Path, marked: Marked) -> None:
    before = os.umask(0)
    try:
        await run_shell("touch file", tmp_path, marked)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


@linux_only
async def test_the_supervisor_holds_no_secret(tmp_path: Path, marked: Marked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "hunter2")
    ended = await run_shell("cat /proc/$PPID/environ /proc/$PPID/cmdline", tmp_path, marked)
    assert "PATH=" in ended.stdout
    assert "hunter2" not in ended.stdout


async def test_a_deep_temporary_folder_is_removed(tmp_path: Path, marked: Marked) -> None:
    code = "os.chdir(os.environ['TMPDIR'])\nfor _ in range(1000): os.mkdir('deep'); open('f', 'w'); os.chdir('deep')"
    assert (await run_python(code, tmp_path, marked)).exit_code == 0


async def test_a_link_in_the_temporary_folder_is_not_followed(tmp_path: Path, marked: Marked) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    await run_shell(f"ln -s {tmp_path}/kept $TMPDIR/a; ln -s {tmp_path}/kept/file $HOME/b", tmp_path, marked)
    assert os.listdir(tmp_path / "kept") == ["file"]


async def test_a_temporary_folder_that_was_replaced_by_a_link_is_left_alone(tmp_path: Path, marked: Marked) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    folder = new_folder()
    script = f"rm -r {folder}; ln -s {tmp_path}/kept {folder}"
    ended = await run(Command("/bin/sh", ["sh", "-c", script], str(tmp_path), folder, marked.env), Limits())
    os.unlink(folder)
    assert (ended.exit_code, os.listdir(tmp_path / "kept")) == (0, ["file"])


@linux_only
def test_what_was_mounted_in_the_temporary_folder_is_kept(tmp_path: Path, marked: Marked) -> None:
    """Where the user may mount; for others there is nothing to lose."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    folder = new_folder()
    script = f"mount --bind {tmp_path}/kept {folder}/tmp"
    try:
        asyncio.run(run(Command("/bin/sh", ["sh", "-c", script], str(tmp_path), folder, {"PATH": PATH}), Limits()))
        assert os.listdir(tmp_path / "kept") == ["file"]
    finally:
        subprocess.run(["umount", f"{folder}/tmp"], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


async def test_no_other_user_may_look_into_a_commands_own_folder(tmp_path: Path, marked: Marked) -> None:
    ended = await run_shell("ls -ld $TMPDIR/.. $TMPDIR $HOME", tmp_path, marked)
    assert [line[:10] for line in ended.stdout.splitlines()] == ["drwx------"] * 3


async def test_home_and_temporary_folder_are_fresh_and_removed(tmp_path: Path, marked: Marked) -> None:
    ended = await run_shell("ls -A $HOME $TMPDIR; echo x > $HOME/.profile; mktemp", tmp_path, marked)
    assert "lye-" in ended.stdout.splitlines()[-1]


# -- cancellation, crowds, the end of lye's own process --------------------------------------------


@linux_only
@pytest.mark.parametrize(
    "delay_ms",
    [0, 8, 25, 50, 100, *(pytest.param(ms, marks=pytest.mark.deep) for ms in (1, 2, 4, 12, 16, *range(20, 160, 7)))],
)
async def test_cancelled_at_any_instant_it_leaves_nothing(tmp_path: Path, marked: Marked, delay_ms: int) -> None:
    task = asyncio.create_task(run_shell("setsid sleep SECONDS & sleep SECONDS", tmp_path, marked))
    await asyncio.sleep(delay_ms / 1000)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # an impatient caller
    with pytest.raises(asyncio.CancelledError):
        await task
    assert marked.alive() == []


async def test_twenty_at_once(tmp_path: Path, marked: Marked) -> None:
    began = time.monotonic()
    marks = [Marked() for _ in range(20)]
    runs = [run_shell(f"echo {number}; sleep 1", tmp_path, mark) for number, mark in enumerate(marks)]
    ended = await asyncio.gather(*runs)
    assert [found.stdout for found in ended] == [f"{number}\n" for number in range(20)]
    assert time.monotonic() - began < 10


PROGRAM = """
import asyncio, sys
from lye._programs.process import *
folder = new_folder()
env = scrubbed_environment(folder, {{"TEST_MARK": "{mark}"}})
script = "(setsid sleep {mark} &) ; trap '' TERM HUP; echo begun; sleep {mark}"
asyncio.run(run(Command("/bin/sh", ["sh", "-c", script], "/", folder, env), Limits()))
"""


@linux_only
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_when_the_program_is_killed_nothing_is_left_running(
    temporary: Path, marked: Marked, number: signal.Signals
) -> None:
    code, env = PROGRAM.format(mark=marked.seconds), {**os.environ, "TMPDIR": str(temporary)}
    program = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL, env=env)
    try:
        marked.wait_for(4)  # the program, the shell, two sleeps
        program.send_signal(number)
        program.wait(10)
        marked.wait_for(0)
    finally:
        program.kill()
        program.wait()
    until = time.monotonic() + 5
    while os.listdir(temporary) and time.monotonic() < until:
        time.sleep(0.01)


FORKED = """
import os, time
def fork():
    if os.fork() == 0: time.sleep({mark}), os._exit(0)  # as multiprocessing does, with all that is open
async def later():
    while not os.path.exists("{begun}"): await asyncio.sleep(0.01)
    fork()
async def main(command): await asyncio.gather(run(command, Limits()), later())
"""


@linux_only
def test_a_forked_child_that_outlives_the_program_does_not_keep_a_command_alive(
    tmp_path: Path, temporary: Path, marked: Marked
) -> None:
    """The child has a copy of the pipe whose end would tell the supervisor."""
    begun = tmp_path / "begun"
    script = f"touch {begun}; sleep {marked.seconds}"
    code = (
        "import asyncio\nfrom lye._programs.process import *\n"
        + FORKED.format(mark=int(marked.seconds) // 10, begun=begun)
        + f"asyncio.run(main(Command('/bin/sh', ['sh', '-c', {script!r}], '/', new_folder(), {{}})))"
    )
    program = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "TMPDIR": str(temporary)})
    try:
        marked.wait_for(4)
        program.kill()
        program.wait(10)
        marked.wait_for(1)
    finally:
        program.kill()
        program.wait()
        for found in marked.alive():
            os.kill(int(found.split()[0]), signal.SIGKILL)
    marked.wait_for(0)
    until = time.monotonic() + 5
    while os.listdir(temporary) and time.monotonic() < until:
        time.sleep(0.01)


async def test_without_descriptors_nothing_is_started(tmp_path: Path, marked: Marked) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 3, before[1]))
    command = Command("/bin/true", ["true"], str(tmp_path), new_folder())
    try:
        with pytest.raises(CommandFailed, match="'true' was not started"):
            await run(command, Limits())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(os.listdir("/proc/self/fd")) == used


@pytest.mark.parametrize("name", ["timeout_s", "max_memory_bytes", "max_processes", "max_output_chars"])
def test_a_limit_has_to_be_above_zero(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0"):
        Limits(**{name: 0})
