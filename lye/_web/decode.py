"""A response's body without its content-encoding, in pieces, within a limit of bytes.

Nothing is decoded further than the next 64 KiB, so a compressed bomb costs no more memory than a
plain body of the same limit.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

from lye.errors import FetchFailed

ACCEPTED_ENCODINGS = "gzip, deflate"
_PIECE_BYTES = 1 << 16
_BREATH_PIECES = 500  # a server may send 11,000 chunks of one byte in a packet: others get their turn between them
_FEED_BYTES = 1 << 12  # small, since each member of a gzip body copies what is left of what it was fed


class _Decoder(Protocol):
    def feed(self, piece: bytes) -> Iterator[bytes]: ...
    def finish(self) -> None: ...


async def decode(raw: AsyncIterator[bytes], encoding: str, max_bytes: int, what: str) -> AsyncIterator[bytes]:
    """The decoded pieces; `what` names the body in errors.

    Raises FetchFailed when the body is over `max_bytes`, compressed or decoded, when it is damaged or
    ends early, and for an encoding other than gzip and deflate or more than one.
    """
    decoder = _decoder(encoding, what)
    received = produced = count = 0
    try:
        async for piece in raw:
            count += 1
            if count % _BREATH_PIECES == 0:
                await asyncio.sleep(0)
            received += len(piece)
            check_size(received, max_bytes, what)
            for start in range(0, len(piece), _FEED_BYTES):
                for output in decoder.feed(piece[start : start + _FEED_BYTES]):
                    produced += len(output)
                    check_size(produced, max_bytes, what)
                    yield output
        decoder.finish()
    except (zlib.error, EOFError) as error:
        raise FetchFailed(f"{what} is damaged ({error}); try again later or use another URL") from error


def check_size(size_bytes: int, max_bytes: int, what: str) -> None:
    """FetchFailed when the body is over the limit."""
    if size_bytes > max_bytes:
        raise FetchFailed(f"{what} is larger than the limit of {max_bytes:,} bytes; use a smaller page or file")


def _decoder(encoding: str, what: str) -> _Decoder:
    name = encoding.strip().lower()
    makers: dict[str, Callable[[], _Decoder]] = {
        "": _Identity,
        "identity": _Identity,
        "gzip": _Gzip,
        "x-gzip": _Gzip,
        "deflate": _Deflate,
    }
    if name not in makers:
        raise FetchFailed(
            f"{what} came with the content-encoding {encoding[:100]!r}, which was not asked for and is not"
            " read; use another URL"
        )
    return makers[name]()


class _Identity:
    def feed(self, piece: bytes) -> Iterator[bytes]:
        yield piece

    def finish(self) -> None:
        pass


class _Gzip:
    """gzip, of any number of members; zeros after the last one are padding."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._started = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        while piece:
            if self._member.eof:
                piece = piece.lstrip(b"\x00")
                if not piece:
                    return
                self._member = zlib.decompressobj(wbits=31)
            self._started = True
            yield from _inflate(self._member, piece)
            piece = self._member.unused_data

    def finish(self) -> None:
        if self._started and not self._member.eof:
            raise EOFError("it ends early")


class _Deflate:
    """deflate with the zlib header that RFC 9110 asks for, or without, as some servers send it."""

    def __init__(self) -> None:
        self._head = b""
        self._stream: zlib._Decompress | None = None

    def feed(self, piece: bytes) -> Iterator[bytes]:
        if self._stream is None:
            self._head += piece
            if len(self._head) < 2:
                return
            piece, self._head = self._head, b""
            has_header = piece[0] & 0x0F == 8 and int.from_bytes(piece[:2], "big") % 31 == 0
            self._stream = zlib.decompressobj(wbits=15 if has_header else -15)
        if self._stream.eof:
            raise zlib.error("there is something behind its end")
        yield from _inflate(self._stream, piece)

    def finish(self) -> None:
        if self._head or (self._stream is not None and not self._stream.eof):
            raise EOFError("it ends early")


def _inflate(stream: zlib._Decompress, piece: bytes) -> Iterator[bytes]:
    """The output that `piece` gives, at most 64 KiB at a time."""
    while True:
        if output := stream.decompress(piece, _PIECE_BYTES):
            yield output
        piece = stream.unconsumed_tail
        if stream.eof or (not piece and len(output) < _PIECE_BYTES):
            return
