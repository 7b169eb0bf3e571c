"""bubblewrap around commands: what it shuts, and what is said where it cannot be had."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from pathlib import Path

import pytest

from lye import isolation_in_force, python_tools, shell_tools
from lye._programs.isolation import find_bubblewrap
from lye.errors import CommandFailed, CommandRefused
from tests.lye.marked_processes import Marked
from tyler.tools import Tool

ROOT = Path(__file__).parents[3]
needs_bubblewrap = pytest.mark.skipif(
    isolation_in_force() == "none", reason="bubblewrap (bwrap) is not installed, or cannot work here"
)


def real(path: Path) -> str:
    return os.path.realpath(path)


def isolated(root: Path, network: bool = False) -> Tool:
    (tool,) = shell_tools(root, isolation="bubblewrap", network=network)
    return tool


async def said(tool: Tool, script: str, **arguments: object) -> str:
    result = await tool(["sh", "-c", script], **arguments)
    return str(result.content)


async def test_where_it_cannot_be_had_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert isolation_in_force() == "none"
    with pytest.raises(CommandRefused, match="bwrap is not installed"):
        isolation_in_force("bubblewrap")
    for tool, argument in ((isolated(tmp_path), ["true"]), (python_tools(isolation="bubblewrap")[0], "1")):
        with pytest.raises(CommandRefused, match="nothing was run"):
            await tool(argument)


def test_one_that_does_not_work_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert find_bubblewrap("auto") is None
    with pytest.raises(CommandRefused, match="No permissions to create new namespace"):
        find_bubblewrap("bubblewrap")


@needs_bubblewrap
async def test_a_command_works_in_its_folder(tmp_path: Path) -> None:
    content = await said(isolated(tmp_path), "echo x > made; cat made; pwd")
    assert content.splitlines()[0].endswith("isolation: bubblewrap)")
    assert content.splitlines()[2:] == ["x", real(tmp_path)]
    assert (tmp_path / "made").read_text() == "x\n"


SHUT = {
    "write-to-the-system": "touch /usr/x",
    "write-beside": "touch ../x; exit 1",
    "write-to-etc": "touch /etc/x",
    "remount": "mount -o remount,rw /usr",
    "unmount-proc": "umount /proc",
    "shadow": "cat /etc/shadow",
    "elsewhere": "cat ROOT/pyproject.toml",
    "beside": "cat ../secret",
    "new-namespace": "unshare -m true",
    "device": "mknod x b 8 0",
    "write-to-the-root": "touch /x",
}


@needs_bubblewrap
@pytest.mark.parametrize("script", SHUT.values(), ids=SHUT)
async def test_what_is_outside_is_shut(tmp_path: Path, script: str) -> None:
    root = tmp_path / "opened"
    root.mkdir()
    (tmp_path / "secret").write_text("hunter2")
    content = await said(isolated(root), script.replace("ROOT", str(ROOT)))
    assert not content.startswith("exit code 0 (")
    assert "hunter2" not in content
    assert sorted(os.listdir(tmp_path)) == ["opened", "secret"]


@needs_bubblewrap
async def test_a_command_has_namespaces_of_its_own_and_no_capability(tmp_path: Path) -> None:
    names = ("user", "pid", "ipc", "uts", "net", "mnt")
    script = f"cd /proc/self/ns; for name in {' '.join(names)}; do readlink $name; done; grep ^Cap /proc/self/status"
    said_lines = (await said(isolated(tmp_path), script)).splitlines()
    shared = [os.readlink(f"/proc/self/ns/{name}") for name in names]
    assert len([line for line in said_lines if line.startswith(names)]) == len(names)
    assert set(said_lines).isdisjoint(shared)
    capabilities = dict(line.split(":") for line in said_lines if line.startswith("Cap"))
    assert len(capabilities) == 5
    assert {int(found, 16) for found in capabilities.values()} == {0}


@needs_bubblewrap
async def test_devices_and_shared_memory_are_its_own(tmp_path: Path, marked: Marked) -> None:
    shared = Path("/dev/shm", f"lye-{marked.seconds}")
    await asyncio.to_thread(shared.write_text, "hunter2")
    try:
        content = await said(isolated(tmp_path), f"ls /dev; cat {shared}; echo x > {shared}; cat {shared}")
        assert await asyncio.to_thread(shared.read_text) == "hunter2"
    finally:
        os.unlink(shared)
    assert "hunter2" not in content
    assert "\nx\n" in content
    assert "null" in content.split()
    assert set(content.split()).isdisjoint(("fuse", "kmsg", "kvm", "loop-control", "mapper", "mem", "net", "sda"))


@needs_bubblewrap
async def test_no_other_process_is_seen(tmp_path: Path) -> None:
    """Looked for in /proc: a `kill -9 -1` to see whether one is reached would end all of the user's, where one is."""
    other = await asyncio.create_subprocess_exec("sleep", "600", env={"OPENAI_API_KEY": "hunter2"})
    try:
        content = await said(isolated(tmp_path), "cat /proc/*/environ; ls -d /proc/[0-9]*")
    finally:
        other.kill()
        await other.wait()
    assert "hunter2" not in content
    assert 1 < content.count("/proc/") < 9


@needs_bubblewrap
@pytest.mark.parametrize("network", [False, True])
async def test_the_network_is_shut_unless_opened(tmp_path: Path, network: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (tool,) = python_tools(isolation="bubblewrap", network=network)
        content = (await tool(f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)")).content
    assert content.startswith("exit code 0 (") is network


@needs_bubblewrap
async def test_a_time_out_ends_the_whole_of_it(tmp_path: Path, marked: Marked) -> None:
    content = await said(isolated(tmp_path), f"setsid sleep {marked.seconds} & sleep {marked.seconds}", timeout_s=1)
    assert content.startswith("killed: it did not end within 1 s")


@needs_bubblewrap
async def test_where_both_supervisors_are_killed_the_system_ends_it(
    tmp_path: Path, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # the command's own folder stays
    running = asyncio.create_task(said(isolated(tmp_path), f"sleep {marked.seconds}"))
    await asyncio.to_thread(marked.wait_for, 4)  # two of bubblewrap, the shell, the sleep
    (reaper,) = (pid for pid in children(os.getpid()) if "supervisor.py" in command_line(pid))
    (keeper,) = children(reaper)
    os.kill(reaper, signal.SIGSTOP)  # it would end the command itself
    os.kill(keeper, signal.SIGKILL)
    os.kill(reaper, signal.SIGKILL)
    with pytest.raises(CommandFailed, match="killed its supervisor"):
        await running
    await asyncio.to_thread(marked.wait_for, 0)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@needs_bubblewrap
async def test_a_snippet_has_its_packages_and_a_fresh_folder() -> None:
    (tool,) = python_tools(isolation="bubblewrap")
    result = await tool("import pydantic, os\nopen('a', 'w').close()\nos.listdir('.'), os.listdir('/tmp') != []")
    assert "['a']" in result.content


@needs_bubblewrap
async def test_the_whole_system_is_never_opened_for_writing() -> None:
    (tool,) = shell_tools("/", isolation="bubblewrap")
    with pytest.raises(CommandRefused, match="the opened folder is '/'"):
        await tool(["true"])
