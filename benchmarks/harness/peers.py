"""Other frameworks, measured by a script each that runs in an environment of its own and prints our JSON.

A peer is `benchmarks/peers/NAME.py`; its first lines say what it needs, as PEP 723 writes it, and uv makes the
environment. It is called as `NAME.py CASE` with a setting as JSON in standard input; of a case that it doesn't do it
prints `[]`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.harness.case import Setting
from benchmarks.harness.figure import Figure
from benchmarks.harness.results import ROOT
from scripts.setup import uv_environment

FOLDER = ROOT / "benchmarks" / "peers"
TIMEOUT_S = 900


class PeerFailed(Exception):
    """A peer is not there, could not be installed, or failed; the message says which."""


def known() -> list[str]:
    """The peers that there are."""
    return sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))


def measured_by(peer: str, case: str, setting: Setting) -> list[Figure]:
    """The peer's figures of this case, its values as OURS; raises PeerFailed."""
    if peer not in known():
        raise PeerFailed(f"there is no peer {peer!r}: use one of {known()!r}, or write benchmarks/peers/{peer}.py")
    command = [str(Path(sys.executable).with_name("uv")), "run", "--quiet", "--python", sys.executable, "--script"]
    done = subprocess.run(
        [*command, str(FOLDER / f"{peer}.py"), case],
        input=setting.as_json(),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env={**os.environ, **uv_environment(), "PYTHONPATH": str(ROOT)},
    )
    if done.returncode != 0:
        raise PeerFailed(f"peer {peer!r} failed at {case!r}:\n{done.stderr.strip()[-2000:]}")
    return [Figure.from_json(row) for row in json.loads(done.stdout)]
