"""bubblewrap around a command, where it is present and works: read-only system, one writable folder, no network."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from typing import Literal, get_args

from lye.errors import CommandRefused

Isolation = Literal["auto", "bubblewrap", "none"]
InForce = Literal["bubblewrap", "none"]

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# Not all of /etc: for root it would hold the machine's secrets.
_ETC = """
    alternatives ca-certificates ca-certificates.conf group gitconfig host.conf hosts ld.so.cache ld.so.conf
    ld.so.conf.d localtime mime.types nsswitch.conf passwd pki protocols resolv.conf services ssl/certs
    ssl/openssl.cnf terminfo timezone
"""
_PROBE_TIMEOUT_S = 10.0


def isolation_in_force(isolation: Isolation = "auto") -> InForce:
    """Which isolation tools made with this option have on this machine: "bubblewrap" or "none".

    The first call tries bubblewrap out, which takes some milliseconds. Raises CommandRefused for "bubblewrap" where it
    is absent or does not work (user namespaces are often forbidden in containers).
    """
    return "bubblewrap" if find_bubblewrap(isolation) else "none"


def check_isolation(isolation: Isolation) -> None:
    """ValueError for a word that is none of the choices."""
    if isolation not in get_args(Isolation):
        raise ValueError(f"isolation is {isolation!r}; use one of {get_args(Isolation)}")


def find_bubblewrap(isolation: Isolation) -> str | None:
    """The path of a bubblewrap that works; None where there need be none."""
    check_isolation(isolation)
    if isolation == "none":
        return None
    path = shutil.which("bwrap")
    problem = "bwrap is not installed" if path is None else _try_out(os.path.abspath(path))
    if path is not None and not problem:
        return os.path.abspath(path)
    if isolation == "auto":
        return None
    raise CommandRefused(
        f"nothing was run, for isolation='bubblewrap' cannot be had here: {problem}; the developer can install"
        " bubblewrap, allow user namespaces, or choose isolation='none'"
    )


def wrapped(
    bubblewrap: str, argv: Iterable[str], cwd: str, writable: Iterable[str], folder: str, path: str, network: bool
) -> list[str]:
    """The command that runs `argv` (its program by absolute path) with only these folders to write to."""
    binds = [word for place in writable for word in ("--bind", place, place)]
    return [
        *_boundaries(bubblewrap, path.split(":"), network),
        *("--bind", os.path.join(folder, "tmp"), "/tmp"),
        *("--bind", folder, folder),
        *binds,
        *("--remount-ro", "/"),  # what holds the folders together is memory, without a limit
        *("--chdir", cwd, "--"),
        *argv,
    ]


def _boundaries(bubblewrap: str, program_folders: Iterable[str], network: bool) -> list[str]:
    readable = dict.fromkeys((*_SYSTEM, *(f"/etc/{name}" for name in _ETC.split()), sys.base_prefix, sys.prefix))
    readable |= dict.fromkeys(program_folders)
    readable |= {os.path.dirname(os.path.abspath(__file__)): None}
    return [
        bubblewrap,
        *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *(() if network else ("--unshare-net",)),
        *("--die-with-parent", "--cap-drop", "ALL"),
        *(word for place in readable for word in ("--ro-bind-try", place, place)),
        *("--proc", "/proc", "--dev", "/dev"),
    ]


@functools.cache
def _try_out(bubblewrap: str) -> str:
    """Why it does not work; "" where it does."""
    command = [*_boundaries(bubblewrap, (), network=False), "--", shutil.which("true") or "/bin/true"]
    try:
        done = subprocess.run(
            command, env={}, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        # Not an answer to remember: a machine that was busy for once must not lose its isolation for good.
        raise CommandRefused(
            f"nothing was run, for bubblewrap could not be tried out ({error}); try again, or choose isolation='none'"
        ) from error
    return "" if done.returncode == 0 else f"bwrap failed ({done.stderr.decode(errors='replace').strip()[:300]!r})"
