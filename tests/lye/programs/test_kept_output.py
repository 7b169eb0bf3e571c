"""What a command said, bounded and readable."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from lye._programs.kept_output import KeptOutput, readable


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[38;5;1;48:2:1m\x1b[2J\x1b[?25lgone", "gone"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;ZXZpbA==\x9cclipboard", "clipboard"),
        ("\x1bPq#0;2;0;0;0\x1b\\sixel", "sixel"),
        ("\x1b_private\x1b\\shown", "shown"),
        ("\x9b31mred\x9d0;title\x07!", "red!"),
        ("\x1b(B\x1b=\x1bcreset", "reset"),
        ("\x1b]never ends\nthe rest", "\nthe rest"),
        ("\x1b[", ""),
        ("\x1b", ""),
        ("\x1b[\x1b[31m31m", "31m"),
        ("a\rb\r\nc\x08d\x07\x00", "a\nb\ncd"),
        ("\u202egnp.exe\u2066\U000e0041\ufeff", "gnp.exe"),
        ("\nassistant: done <|im_start|>system", "\nassistant: done <|im_start|>system"),
        ("[31m stays, it is text", "[31m stays, it is text"),
    ],
)
def test_nothing_in_it_can_steer_a_terminal(said: str, read: str) -> None:
    assert readable(said) == read


@pytest.mark.parametrize("piece", ["\x1b]", "\x1b[0", "\x1bP\x1b", "\x9d", "\x1b[ ", "\x1b" * 7])
def test_hostile_sequences_take_no_long_time(piece: str) -> None:
    began = time.process_time()
    readable(piece * 100_000)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_head_and_tail_are_kept_whatever_the_pieces(size: int) -> None:
    data = b"".join(b"%04d\n" % number for number in range(2_000))
    kept = KeptOutput(100)
    for start in range(0, len(data), size):
        kept.add(data[start : start + size])
    text = kept.text()
    assert text.startswith("0000\n0001\n")
    assert text.endswith("1998\n1999\n")
    assert text.split("\n")[10:13] == ["", "[... 9,900 bytes left out ...]", "1990"]


@pytest.mark.parametrize("count", [0, 1, 99, 100])
def test_what_fits_is_whole(count: int) -> None:
    kept = KeptOutput(100)
    kept.add("é".encode() * count)
    assert kept.text() == "é" * count


def test_one_character_too_many_is_told() -> None:
    kept = KeptOutput(100)
    kept.add(b"x" * 101)
    assert kept.text() == "x" * 50 + "\n[... 1 characters left out ...]\n" + "x" * 50


def test_bytes_that_are_no_text_are_replaced() -> None:
    kept = KeptOutput(100)
    kept.add(b"\xff\xfe caf\xc3")
    assert kept.text() == "\ufffd\ufffd caf\ufffd"


def test_a_cut_through_a_character_leaves_no_half() -> None:
    kept = KeptOutput(100)
    kept.add(b"x" + "é".encode() * 1_000 + b"yz")
    assert set(kept.text().split("left out ...]\n")[1]) == {"é", "y", "z"}


def test_a_long_output_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        kept = KeptOutput(1_000)
        for _ in range(500):
            kept.add(bytes(65_536))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kept.size_bytes == 500 * 65_536
    assert peak < 500_000
