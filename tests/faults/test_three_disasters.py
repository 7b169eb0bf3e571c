"""examples/three_disasters.py shows what it says, and its exit code tells the truth."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_three_disasters_leave_one_correct_conversation_each() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "*", "NARRATOR_DATABASE_URL": "sqlite:///no/such"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "three_disasters.py")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "3 of 3 disasters left one correct conversation" in done.stdout
    assert "NO " not in done.stdout
    assert done.stdout.count("recorded before: the model was not asked") == 3
    assert len(re.findall(r"^ +[\d.]+ s  process \d+ +KILL -9$", done.stdout, re.MULTILINE)) == 1
    assert len(set(re.findall(r"process (\d+)", done.stdout))) == 8
