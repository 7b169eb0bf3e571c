"""Where what was written over a connection to PostgreSQL becomes durable: for proxies that cut it right there."""

from __future__ import annotations

_READY = b"Z\x00\x00\x00\x05"  # the end of an answer; behind it "I" outside a transaction
_WRITES = (b"INSERT", b"UPDATE", b"DELETE", b"WITH")


class CommitPoints:
    """Looks at both directions of one connection of asyncpg's, which sends a message at a time."""

    def __init__(self) -> None:
        self._in_transaction = False
        self._writing = set[bytes]()  # names of prepared statements

    def answered(self, data: bytes) -> None:
        """What the server said."""
        if data[-6:-1] == _READY:
            self._in_transaction = data[-1:] != b"I"

    def commits(self, data: bytes) -> bool:
        """Whether the server will commit when it gets this: a COMMIT, or a write outside a transaction."""
        kind, words = data[:1], data[5:].split(b"\x00", 2)
        if kind == b"P" and words[1].startswith(_WRITES):
            self._writing.add(words[0])
        written = kind == b"B" and words[1] in self._writing
        return b"COMMIT;" in data or (written and not self._in_transaction)
