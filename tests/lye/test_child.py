"""What the process for documents may still do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "statement",
    [
        "open('{file}').read()",
        "open('{file}.py').read()",
        "open('{file}', 'w')",
        "open('{file}.py', 'w')",
        "__import__('os').open('{file}', 0)",
        "__import__('urllib.request').request.urlopen('http://127.0.0.1:9')",
        "__import__('socket').socket()",
        "__import__('subprocess').run(['true'])",
        "__import__('os').system('true')",
        "__import__('os').execv('/bin/true', ['true'])",
    ],
)
def test_a_document_cannot_have_files_opened_or_things_started(tmp_path: Path, statement: str) -> None:
    (tmp_path / "file").write_text("hunter2")
    (tmp_path / "file.py").write_text("hunter2")
    code = f"""
import sys, urllib.request, socket, subprocess
sys.path.insert(0, {str(ROOT)!r})
from lye._child import open_modules_only
open_modules_only(subprocess)
import colorsys  # modules are still found
try:
    print({statement.format(file=tmp_path / "file")})
except OSError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "PermissionError" in done.stdout or "is not done for a document" in done.stdout
    assert (tmp_path / "file").read_text() == "hunter2"
