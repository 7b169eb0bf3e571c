"""A Chromium for the tests: an installed one, else one from npm in the virtual environment (`make clean` ends it)."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

PACKAGE = "@sparticuz/chromium"
VERSION = "153.0.0"
INSTALL_S = 30
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
UNPACK = """
const zlib = require('zlib'), fs = require('fs'), [from, to] = process.argv.slice(1);
const parts = { 'chromium.br': 'chromium', 'al2023.tar.br': 'libraries.tar', 'fonts.tar.br': 'fonts.tar' };
for (const [name, out] of Object.entries(parts))
  fs.createReadStream(from + '/' + name).pipe(zlib.createBrotliDecompress())
    .pipe(fs.createWriteStream(to + '/' + out, { mode: 0o755 }));
"""
FONTS = "<fontconfig><dir>{home}/fonts</dir><cachedir>{home}/cache</cachedir></fontconfig>"
TRIAL = """
import os, sys
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    playwright.chromium.launch(executable_path=sys.argv[1], chromium_sandbox=os.geteuid() != 0).close()
"""


def find(run: Path) -> str:
    """The program's path. The test is skipped, with the reason, where there is none that runs.

    `run` is a folder of this test run's: the first of its processes finds out for all, while the others wait.
    """
    with (run / "chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = run / "chromium.json"
        if not known.exists():
            known.write_text(json.dumps(look()), encoding="utf-8")
        program, reason = json.loads(known.read_text(encoding="utf-8"))
    if reason:
        pytest.skip(reason)
    return str(program)


def look() -> tuple[str, str]:
    """A program, or else why there is none. One from npm is only brought where none is installed."""
    for name in NAMES:
        if found := shutil.which(name):
            reason = why_not(found)
            return found, reason and f"{found} does not run here: {reason}"
    home = Path(sys.prefix) / "npm-chromium"
    if not home.exists() and (reason := install(home)):
        return "", f"no Chromium is installed, and {reason}"
    reason = why_not(str(home / "run"))
    return str(home / "run"), reason and f"no Chromium is installed, and the one from npm does not run here: {reason}"


def why_not(program: str) -> str:
    """What a first start says; "" if it is well."""
    try:
        command = [sys.executable, "-c", TRIAL, program]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return "it did not start within 60 s"
    return "" if done.returncode == 0 else done.stderr.strip()[-300:]


def install(home: Path) -> str:
    """Bring one from npm into the folder; why it could not be had, or ""."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "no node and npm to get one"
    try:
        with tempfile.TemporaryDirectory(dir=home.parent) as temporary:
            folder = Path(temporary, "chromium")
            folder.mkdir()
            fill(folder)
            fonts = FONTS.format(home=home)
            (folder / "fonts.conf").write_text(fonts, encoding="utf-8")  # without a font no text has any place
            with suppress(OSError):  # another test run was faster
                folder.rename(home)
    except subprocess.TimeoutExpired:
        return f"npm did not bring {PACKAGE} within {INSTALL_S} s"
    except subprocess.CalledProcessError as error:
        return f"npm cannot bring {PACKAGE}: {error.stderr.strip()[-200:]}"
    except OSError as error:
        return f"one from npm cannot be put into {home}: {error}"
    return ""


def fill(folder: Path) -> None:
    """Download and unpack it. TimeoutExpired after INSTALL_S in all, CalledProcessError where npm or node fail."""
    end = time.monotonic() + INSTALL_S
    npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
    parts = folder / "node_modules" / PACKAGE / "bin"
    for command in ([*npm, f"{PACKAGE}@{VERSION}"], ["node", "-e", UNPACK, str(parts), str(folder)]):
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=max(end - time.monotonic(), 0.1))
    for archive in ("libraries.tar", "fonts.tar"):
        shutil.unpack_archive(folder / archive, folder, filter="data")
        (folder / archive).unlink()
    shutil.rmtree(folder / "node_modules")
    run = folder / "run"
    run.write_text(
        '#!/bin/sh\nhere=$(dirname "$0")\n'
        'LD_LIBRARY_PATH="$here/lib" FONTCONFIG_PATH="$here" exec "$here/chromium" "$@"\n',
        encoding="utf-8",
    )
    run.chmod(0o755)
