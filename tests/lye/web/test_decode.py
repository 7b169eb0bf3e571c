"""Content-encodings, within bounds."""

from __future__ import annotations

import gzip
import random
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import pytest

from lye._web.decode import decode
from lye.errors import FetchFailed

TEXT = random.Random(1).randbytes(100_000) + b"words " * 50_000


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def decoded(data: bytes, encoding: str, *, size: int = 65_536, max_bytes: int = 1_000_000) -> bytes:
    return b"".join([piece async for piece in decode(pieces(data, size), encoding, max_bytes, "the page")])


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15)


@pytest.mark.parametrize("size", [1, 7, 65_536])
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT)),
        (" X-GZIP ", gzip.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:1000]) + gzip.compress(b"") + gzip.compress(TEXT[1000:])),
        ("gzip", gzip.compress(TEXT) + bytes(1000)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
    ],
)
async def test_what_was_encoded_comes_back(encoding: str, body: bytes, size: int) -> None:
    assert await decoded(body, encoding, size=size) == TEXT


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate"])
async def test_an_empty_body_is_empty(encoding: str) -> None:
    assert await decoded(b"", encoding) == b""


@pytest.mark.parametrize(
    "encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip,br", "identity, gzip", "aes128gcm", "\u00e9"]
)
async def test_unknown_and_stacked_encodings_are_refused_by_name(encoding: str) -> None:
    with pytest.raises(FetchFailed, match="content-encoding"):
        await decoded(b"x", encoding)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(TEXT)[:-1]),
        ("gzip", gzip.compress(TEXT)[:5000]),
        ("gzip", b"\x1f"),
        ("gzip", gzip.compress(TEXT)[:-8] + bytes(8)),
        ("gzip", gzip.compress(TEXT) + b"garbage"),
        ("gzip", TEXT),
        ("deflate", zlib.compress(TEXT)[:-1]),
        ("deflate", zlib.compress(TEXT) + b"garbage garbage" * 1000),
        ("deflate", b"x"),
        ("deflate", b"\xff" * 100),
    ],
)
async def test_a_damaged_or_cut_body_is_an_error_not_a_short_page(encoding: str, body: bytes) -> None:
    with pytest.raises(FetchFailed, match="damaged"):
        await decoded(body, encoding)


@pytest.mark.parametrize("encode", [gzip.compress, raw_deflate])
async def test_a_bomb_stops_at_the_limit_with_little_memory(encode: object) -> None:
    bomb = encode(bytes(30_000_000))  # type: ignore[operator]
    tracemalloc.start()
    try:
        with pytest.raises(FetchFailed, match="limit of 1,000,000 bytes"):
            await decoded(bomb, "gzip" if encode is gzip.compress else "deflate")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


async def test_a_piece_is_small_whatever_it_was_packed_in() -> None:
    packed = pieces(gzip.compress(bytes(5_000_000)), 65_536)
    assert max([len(piece) async for piece in decode(packed, "gzip", 10_000_000, "the page")]) <= 65_536


async def test_a_bomb_of_many_small_members_stops_too() -> None:
    with pytest.raises(FetchFailed, match="limit"):
        await decoded(gzip.compress(bytes(1000)) * 20_000, "gzip")


async def test_endless_empty_members_stop_at_the_limit_of_what_was_received() -> None:
    start = time.monotonic()
    with pytest.raises(FetchFailed, match="limit"):
        await decoded(gzip.compress(b"") * 60_000, "gzip")
    assert time.monotonic() - start < 5


async def test_the_limit_itself_is_allowed() -> None:
    assert len(await decoded(bytes(1000), "", max_bytes=1000)) == 1000
    assert len(await decoded(gzip.compress(bytes(1000)), "gzip", max_bytes=1000)) == 1000
    with pytest.raises(FetchFailed):
        await decoded(gzip.compress(bytes(1001)), "gzip", max_bytes=1000)
