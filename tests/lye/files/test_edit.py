"""One exact replacement, or a failure that says where to look."""

from __future__ import annotations

import time

import pytest

from lye._files.edit import edit_text
from lye._files.path import FilePath
from lye.errors import FileFailed

PATH = FilePath(("a.txt",))


@pytest.mark.parametrize(
    ("text", "old", "new", "edited", "line"),
    [
        ("one\ntwo\nthree\n", "two", "2", "one\n2\nthree\n", 2),
        ("one\ntwo\n", "one\ntwo", "1", "1\n", 1),
        ("one", "one", "", "", 1),
        ("a\r\nb\r\n", "a\nb", "1\n2", "1\r\n2\r\n", 1),
        ("a\r\nb\r\n", "b", "x\ny", "a\r\nx\r\ny\r\n", 2),
        ("a\r\nb\nc\n", "b\nc", "x\ny", "a\r\nx\ny\n", 2),
        ("a\r\nb\nc\n", "a\nb", "x\ny", "x\r\ny\nc\n", 1),
        ("Zoé", "é", "e", "Zoe", 1),
        (r"a\1b", r"\1", r"\g<0>", r"a\g<0>b", 1),
    ],
)
def test_what_is_there_once_is_replaced(text: str, old: str, new: str, edited: str, line: int) -> None:
    done = edit_text(text, old, new, PATH)
    assert (done.text, done.line) == (edited, line)


@pytest.mark.parametrize(
    ("text", "old", "new", "words"),
    [
        ("abc", "x", "y", "is not in 'a.txt'"),
        ("abc", "", "y", "old has 0 characters"),
        ("abc", "b", "b", "the same"),
        ("abc", "B", "x", "is not in"),
        ("a b", "a  b", "x", "is not in"),
        ("x\ny\nx\n", "x", "z", "2 times, at lines 1, 3;"),
        ("aaa", "aa", "b", "2 times, at lines 1;"),
        ("x\n" * 2_000, "x", "z", "over 1,000 times, at lines 1, 2, 3,"),
        ("a", "a" * 20_001, "z", "old has 20,001 characters"),
    ],
)
def test_what_is_not_there_once_changes_nothing(text: str, old: str, new: str, words: str) -> None:
    with pytest.raises(FileFailed, match=words):
        edit_text(text, old, new, PATH)


def test_a_text_that_fits_everywhere_is_refused_soon() -> None:
    began = time.process_time()
    with pytest.raises(FileFailed, match=r"over 1,000 times"):
        edit_text("a" * 10_000_000, "a" * 20_000, "b", PATH)
    assert time.process_time() - began < 2
