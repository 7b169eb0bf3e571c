"""The help texts quoted in docs/ are the real ones, and the commands of the operations page work."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUOTED = re.compile(r"```text\n\$ ((?:narrator|tyler)(?: [\w-]+)* --help)\n(.*?)```", re.DOTALL)
COMMANDS = ["init", "status", "purge", "gc", "docker-setup", "docker-start", "docker-stop"]


def narrator(arguments: list[str], cwd: Path = ROOT, program: str = "narrator", **variables: str) -> str:
    """What the command prints on a terminal 100 columns wide, without colour."""
    environment = {"COLUMNS": "100", "NO_COLOR": "1", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-c", f"from {program}.cli import main; main()", *arguments]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def real_help(command: str) -> str:
    program, *arguments = shlex.split(command)
    return "\n".join(line.rstrip() for line in narrator(arguments, program=program).strip().splitlines())


def quotations() -> dict[str, str]:
    """Every quoted help by its command line."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md")))
    return {command: text.strip() for command, text in QUOTED.findall(pages)}


@pytest.mark.parametrize("command", sorted(quotations()))
def test_quoted_help_is_the_real_help(command: str) -> None:
    assert quotations()[command] == real_help(command)


def test_every_command_is_quoted_in_the_docs() -> None:
    expected = {"narrator --help", *(f"narrator {name} --help" for name in COMMANDS), "tyler chat --help"}
    assert set(quotations()) == expected
    overview = real_help("narrator --help")
    listed = re.findall(r"^  ([a-z][\w-]*)  ", overview.partition("Commands:")[2], re.MULTILINE)
    assert listed == COMMANDS


def test_commands_of_the_operations_page_work_in_order(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    lines = "".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL)).splitlines()
    shown = json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0])
    (tmp_path / "conversation_files").mkdir()
    url = f"sqlite+aiosqlite:///{tmp_path}/conversations.db"
    narrator(["init"], NARRATOR_DATABASE_URL=url)
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "narrator"
        if not arguments[0].startswith("docker-"):  # those are test_docker.py's
            printed = narrator(arguments, cwd=tmp_path, NARRATOR_DATABASE_URL=url)
            if "--json" in arguments:
                assert json.loads(printed).keys() == shown.keys()
    assert len(lines) >= 4
