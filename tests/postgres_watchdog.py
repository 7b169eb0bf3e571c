"""A process that outlives the test run: when that ends, however it ends, the server and its data go.

Started by postgres_server.py with the server's folder as its argument and a pipe as stdin. The pipe closes
when the run ends, `kill -9` included. Standard library only; in its own session, so that Ctrl-C spares it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

PATIENCE_S = 10.0


def main(folder: Path) -> None:
    """Wait for stdin to close, then end what still runs in `folder` and remove it."""
    sys.stdin.buffer.read()
    pid_file = folder / "data" / "postmaster.pid"
    pid = _running_server(pid_file)
    if pid is not None:
        os.kill(pid, signal.SIGQUIT)  # PostgreSQL's "immediate" shutdown
        deadline = time.monotonic() + PATIENCE_S
        while pid_file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def _running_server(pid_file: Path) -> int | None:
    try:
        pid = int(pid_file.read_text().splitlines()[0])
        os.kill(pid, 0)
    except (FileNotFoundError, IndexError, ValueError, ProcessLookupError):
        return None
    try:  # the file stays behind after `kill -9`, and the number may be someone else's by now
        return pid if Path(f"/proc/{pid}/cwd").readlink() == pid_file.parent else None
    except OSError:
        return pid


if __name__ == "__main__":
    main(Path(sys.argv[1]))
