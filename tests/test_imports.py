"""What an import costs: nothing heavy is loaded before it is used, and nothing happens."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = [
    "litellm",
    "sqlalchemy",
    "alembic",
    "trafilatura",
    "httpx",
    "aiosqlite",
    "asyncpg",
    "openai",
    "pypdf",
    "lxml",
    "yaml",
]
LIMIT_S = 0.5
# The limit is for an idle machine; another test process beside this one must not fail it.
BUSY_FACTOR = 6

PROBE = """
import json, os, sys, threading, time
files, environment = set(os.listdir(".")), dict(os.environ)
started, cpu = time.perf_counter(), time.process_time()
import {package}
print(json.dumps({{
    "seconds": time.perf_counter() - started,
    "cpu_s": time.process_time() - cpu,
    "heavy": [name for name in {heavy} if name in sys.modules],
    "threads": threading.active_count(),
    "changed": dict(os.environ) != environment or set(os.listdir(".")) != files,
    "loggers": [h.__class__.__name__ for h in __import__("logging").getLogger().handlers],
}}))
"""


def probe(package: str, folder: Path) -> dict[str, object]:
    code = PROBE.format(package=package, heavy=HEAVY)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("package", ["narrator", "tyler", "lye"])
def test_an_import_is_quick_and_does_nothing(package: str, tmp_path: Path) -> None:
    runs = [probe(package, tmp_path) for _ in range(3)]
    for run in runs:
        assert run["heavy"] == []
        assert run["threads"] == 1
        assert run["changed"] is False
        assert run["loggers"] == []
    cpu_s = statistics.median(float(str(run["cpu_s"])) for run in runs)
    seconds = statistics.median(float(str(run["seconds"])) for run in runs)
    print(f"import {package}: {seconds:.2f} s, {cpu_s:.2f} s of CPU")
    assert cpu_s < LIMIT_S * 1.5
    assert seconds < LIMIT_S * BUSY_FACTOR
