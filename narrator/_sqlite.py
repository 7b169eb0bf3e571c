"""What SQLite needs and a server does not: a private file, its settings, and an eye on the file.

SQLite goes on writing into a file that was removed or replaced, and says that it is stored. Then every
transaction is refused here instead.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from narrator.errors import StoreUnavailable

_making = threading.Lock()


def make_private(path: Path, location: str) -> int:
    """Make the file readable by its owner alone, before SQLite would make it readable by all; its inode's number."""
    try:
        with _making:  # or its new descriptor could be closed here while SQLite has the file open already
            _create(Path(os.path.realpath(path)))
        return path.stat().st_ino
    except OSError as error:
        raise StoreUnavailable(
            f"{location} cannot be opened: {error.strerror}. "
            f"The folder {str(path.parent)!r} must exist and be writable, and the path must be a file"
        ) from error


class SqliteConnections:
    """Prepares the connections of one engine, and looks at their files before each transaction.

    SQLite writes to three: the database, and `-wal` and `-shm` beside it, which stay the same ones as long as any
    connection is open.
    """

    def __init__(self, path: Path, location: str, inode: int | None) -> None:
        self._path = path
        self._location = location
        self._made: dict[str, int | None] = {"": inode}
        self._opened: dict[str, int | None] = {}
        self._open: set[int] = set()

    def listen(self, engine: Engine) -> None:
        """Do so from now on."""
        event.listen(engine, "do_connect", self._before_connect)
        event.listen(engine, "connect", self._prepare)
        event.listen(engine, "close", self._before_close)
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "handle_error", _forget_read_only)

    def _before_connect(self, *_: object) -> None:
        self._check()  # or SQLite would make empty files in their places

    def _prepare(self, connection: Any, _record: object) -> None:
        """WAL and FULL: readers never wait, and a commit survives a power cut (promise P1)."""
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA journal_mode")
        if cursor.fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA user_version")  # a read, after which the files beside are open
        cursor.close()
        if not self._open:
            self._opened = {suffix: self._inode_of(suffix) for suffix in ("", "-wal", "-shm")}
        self._open.add(id(connection))

    def _before_close(self, connection: object, _record: object) -> None:
        self._open.discard(id(connection))  # not in it if it could not be prepared

    def _begin(self, connection: Any) -> None:
        """The driver starts no transactions itself (isolation_level None): a writer takes the lock at once."""
        self._check()
        connection.exec_driver_sql(connection.get_execution_options().get("narrator_begin", "BEGIN"))

    def _check(self) -> None:
        for suffix, inode in (self._opened if self._open else self._made).items():
            if inode is not None and self._inode_of(suffix) != inode:
                raise StoreUnavailable(
                    f"{self._location}: the file {self._path.name + suffix!r} was removed or replaced while it was "
                    "open, and what is written now would be lost. Move it back; or close this store and make a new "
                    "one, which opens what is there now"
                )

    def _inode_of(self, suffix: str) -> int | None:
        """SQLite's own test for a file's identity. Microseconds on a local disk, so not worth a thread."""
        try:
            return os.stat(f"{self._path}{suffix}").st_ino
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreUnavailable(
                f"{self._location}: its file cannot be looked at: {error.strerror}; check its disk and permissions"
            ) from error


def _forget_read_only(context: Any) -> None:
    """SQLite opens a file that may not be written for reading alone; such a connection stays so when it may again."""
    if "readonly database" in str(context.original_exception):
        context.is_disconnect = True  # closes the pool's connections


def _create(path: Path) -> None:
    """An empty file; one that is there already is never opened here.

    Closing any descriptor of a file drops the locks that this process has on it (POSIX), SQLite's too; another
    program then takes the -wal file away under the connections that are open, and their writes are lost.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
        # Asked for the user who opens the file: a program that was started by root may have become another.
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
