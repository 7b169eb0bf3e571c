"""Where a process can be killed: the instants around each COMMIT and around each step of storing a file.

Inside the worker, without touching the product: SQLAlchemy's events tell of commits, Python's audit events of the
file system. At the n-th instant the process ends itself with SIGKILL, which nothing can catch.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Pool, event


class KillPoints:
    """Counts the instants, notes their names in a file, and kills this process at number `fatal` (0: never)."""

    def __init__(self, files: Path, log: Path, fatal: int) -> None:
        self._files = str(files)
        self._fatal = fatal
        self._count = 0
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._committed: set[int] = set()
        self._renamed_into = ""

    def install(self) -> None:
        """From now on; for the rest of this process's life."""
        event.listen(Engine, "commit", self._before_commit)
        event.listen(Pool, "checkin", self._after_commit)
        sys.addaudithook(self._audit)

    def _reach(self, name: str) -> None:
        self._count += 1
        os.write(self._log, f"{self._count} {name}\n".encode())
        if self._count == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def _before_commit(self, connection: Connection) -> None:
        self._committed.add(id(connection.connection.dbapi_connection))
        self._reach("before COMMIT")

    def _after_commit(self, connection: Any, _record: object) -> None:
        if id(connection) in self._committed:
            self._committed.discard(id(connection))
            self._reach("after COMMIT")

    def _audit(self, what: str, arguments: tuple[Any, ...]) -> None:
        if what not in ("open", "os.rename"):
            return
        path = str(arguments[0])
        if not path.startswith(self._files):
            return
        if what == "os.rename":
            self._renamed_into = str(Path(arguments[1]).parent)
            self._reach("bytes on disk, before the rename")
        elif "/.tmp-" in path:
            self._reach("before the bytes")
        elif path == self._renamed_into:
            self._renamed_into = ""
            self._reach("after the rename, before the row")
