"""What the operating system, or SQLite, refuses to give to this process from now on. Holds for root too."""

from __future__ import annotations

import ctypes
import os
import resource
from typing import Any

from sqlalchemy import Pool, event

_RESOURCES = {"bytes in a file": resource.RLIMIT_FSIZE, "descriptors": resource.RLIMIT_NOFILE}


def give_up_root_rights() -> None:
    """From now on the permissions of files hold for this thread and those that it starts, although it may be root's."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    nothing = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing) != 0:
        raise OSError(ctypes.get_errno(), "capset")


class Limit:
    """A limit that can be lifted again. Made before the store opens its connections."""

    def __init__(self) -> None:
        self._more_pages: int | None = None
        self._most_pages: int | None = None
        event.listen(Pool, "checkout", self._limit_pages)

    def set(self, name: str, amount: int) -> None:
        """So many "bytes in a file", new "descriptors", or new "pages" of the database (a full disk, for SQLite)."""
        if name == "pages":
            self._more_pages = amount
            return
        if name == "descriptors":
            lowest_free = os.dup(0)
            os.close(lowest_free)
            amount += lowest_free
        kind = _RESOURCES[name]
        resource.setrlimit(kind, (amount, resource.getrlimit(kind)[1]))

    def lift(self) -> None:
        """As it was."""
        self._more_pages = 1_000_000
        for kind in _RESOURCES.values():
            most = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (most, most))

    def _limit_pages(self, connection: Any, _record: object, _proxy: object) -> None:
        if self._more_pages is None:
            return
        cursor = connection.cursor()
        cursor.execute("PRAGMA page_count")
        if self._most_pages is None:
            self._most_pages = cursor.fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count = {self._most_pages + self._more_pages}")
        cursor.close()
