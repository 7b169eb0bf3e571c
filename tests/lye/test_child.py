"""What the process for documents may still do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STATEMENTS = [
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
]
PROGRAM = """
import json, sys, urllib.request, socket, subprocess
sys.path.insert(0, {root!r})
from lye._child import open_modules_only
open_modules_only(subprocess)
import colorsys  # modules are still found
told = dict()
for statement in {statements!r}:
    try:
        told[statement] = repr(eval(statement))
    except OSError as error:
        told[statement] = f"{{type(error).__name__}} {{error}}"
print(json.dumps(told))
"""


def test_a_document_cannot_have_files_opened_or_things_started(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("hunter2")
    (tmp_path / "file.py").write_text("hunter2")
    statements = [statement.format(file=file) for statement in STATEMENTS]
    code = PROGRAM.format(root=str(ROOT), statements=statements)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert list(told) == statements
    refused = ("PermissionError", "is not done for a document")
    assert [told[statement] for statement in statements if not any(word in told[statement] for word in refused)] == []
    assert (file.read_text(), (tmp_path / "file.py").read_text()) == ("hunter2", "hunter2")
