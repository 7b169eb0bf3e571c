"""A DNS server of a few lines: answers A, AAAA and CNAME from a table, each question with its next answer."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

A, CNAME, AAAA = 1, 5, 28
Answers = Sequence[Sequence[str]]


class FakeDns:
    """`names` maps a name to its answers in turn, again from the first after the last. An answer is addresses,
    of either family, or "=other.name" for an alias. `asked` counts the questions by name and type.
    """

    def __init__(self, names: Mapping[str, Answers], address: tuple[str, int] = ("127.0.0.1", 53)) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        outer = self

        class Question(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, sock = self.request
                sock.sendto(outer._answer(data, names), self.client_address)

        self._server = socketserver.UDPServer(address, Question)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, question: bytes, names: Mapping[str, Answers]) -> bytes:
        labels, end = [], 12
        while size := question[end]:
            labels.append(question[end + 1 : end + 1 + size].decode())
            end += 1 + size
        name = ".".join(labels).lower()
        (kind,) = struct.unpack_from("!H", question, end + 1)
        turn = self.asked[name, kind]
        self.asked[name, kind] += 1
        answers = names.get(name)
        records = b"".join(_records(names, answers[turn % len(answers)], kind)) if answers else b""
        count = records.count(b"\xc0\x0c\x00")
        flags = 0x8180 if answers else 0x8183  # found, or no such name
        return question[:2] + struct.pack("!HHHHH", flags, 1, count, 0, 0) + question[12 : end + 5] + records


def _records(names: Mapping[str, Answers], found: Sequence[str], kind: int) -> list[bytes]:
    """The answer's records of one type; an alias comes with the addresses of its target, under the same name."""
    records = []
    for text in found:
        if text.startswith("="):
            records += _records(names, names[text[1:]][0], kind)
        elif (":" in text) == (kind == AAAA) and kind in (A, AAAA):
            data = socket.inet_pton(socket.AF_INET6 if kind == AAAA else socket.AF_INET, text)
            records.append(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(data)) + data)
    return records
