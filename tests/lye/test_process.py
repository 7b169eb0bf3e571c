"""One program, run to its end within limits, and nothing left of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lye._process import Command, Ended, Limits, new_folder, run, scrubbed_environment
from lye.errors import CommandFailed
from tests.lye.marked_processes import Marked


def is_there(folder: str) -> bool:
    return os.path.exists(folder)


async def run_shell(script: str, cwd: Path, mark: Marked, **limits: float) -> Ended:
    folder = new_folder()
    env = scrubbed_environment(folder, mark.env)
    try:
        return await run(Command("/bin/sh", ["sh", "-c", script], str(cwd), folder, env), Limits(**limits))  # type: ignore[arg-type]
    finally:
        assert not is_there(folder)


async def test_a_program_ends_with_its_code_and_both_outputs(tmp_path: Path, marked: Marked) -> None:
    ended = await run_shell("echo out; echo err >&2; exit 3", tmp_path, marked)
    assert (ended.exit_code, ended.reason, ended.stdout, ended.stderr) == (3, None, "out\n", "err\n")


async def test_a_signal_is_told(tmp_path: Path, marked: Marked) -> None:
    assert (await run_shell("kill -TERM $$", tmp_path, marked)).exit_code == -15


async def test_a_time_out_keeps_what_was_said(tmp_path: Path, marked: Marked) -> None:
    ended = await run_shell("echo begun; sleep 60", tmp_path, marked, timeout_s=0.3)
    assert (ended.exit_code, ended.reason, ended.stdout) == (None, "time", "begun\n")
    assert ended.seconds < 2


async def test_a_program_that_cannot_start_is_a_failure(tmp_path: Path) -> None:
    folder = new_folder()
    command = Command(str(tmp_path / "nothing"), ["nothing"], str(tmp_path), folder)
    with pytest.raises(CommandFailed, match="could not be started: No such file"):
        await run(command, Limits())
    assert not is_there(folder)


@pytest.mark.parametrize("name", ["timeout_s", "max_memory_bytes", "max_processes", "max_output_chars"])
def test_a_limit_has_to_be_above_zero(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0"):
        Limits(**{name: 0})
