"""Paths that a model writes: what they mean beneath the folder, and which are refused by their text alone."""

from __future__ import annotations

import pytest

from lye._files.path import is_plain, parse_path, shown_name
from lye.errors import PathRefused

PLACES = ("/srv/data", "/data")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (".", ()),
        ("./", ()),
        ("/srv/data", ()),
        ("/srv/data/", ()),
        ("a/b.txt", ("a", "b.txt")),
        ("./a//b.txt/", ("a", "b.txt")),
        ("/srv/data/a/b.txt", ("a", "b.txt")),
        ("/data/a", ("a",)),
        ("~/a", ("~", "a")),
        ("%2e%2e/etc", ("%2e%2e", "etc")),
        ("..\\..\\etc", ("..\\..\\etc",)),
        ("...", ("...",)),
        ("file:///etc/passwd", ("file:", "etc", "passwd")),
        ("C:\\Windows", ("C:\\Windows",)),
        ("．．/x", ("．．", "x")),
        ("naïve 日本語.txt", ("naïve 日本語.txt",)),
    ],
)
def test_a_path_is_names_beneath_the_folder(text: str, parts: tuple[str, ...]) -> None:
    assert parse_path(text, PLACES).parts == parts


REFUSED = {
    "parent": "..",
    "parents": "../../etc/passwd",
    "parent within": "a/../../etc/passwd",
    "parent behind a dot": "./../x",
    "parent with more slashes": "a//..//..//x",
    "parent at the end": "a/..",
    "parent that stays inside": "a/../b",
    "absolute": "/etc/passwd",
    "two slashes": "//etc/passwd",
    "absolute with the folder's beginning": "/srv/data-private/x",
    "absolute that climbs": "/srv/data/../../etc/passwd",
    "empty": "",
    "blank": "  ",
    "NUL": "a.txt\0.png",
    "newline": "a\nb",
    "escape": "a\x1b[2Jb",
    "direction override": "invoice\u202efdp.exe",
    "zero width space": "a\u200bb",
    "byte order mark": "\ufeffa",
    "line separator": "a\u2028b",
    "tag characters": "a\U000e0041",
    "half a character": "a\udcff",
    "very long": "a/" * 2_049,
    "very deep": "a/" * 101,
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_paths_that_are_refused_by_their_text(text: str) -> None:
    with pytest.raises(PathRefused) as caught:
        parse_path(text, PLACES)
    assert is_plain(str(caught.value))


def test_names_that_cannot_be_shown_are_escaped() -> None:
    assert shown_name("a\nb\x1b[31m") == "'a\\nb\\x1b[31m'"
    assert shown_name("\udcff\u202e") == "'\\udcff\\u202e'"
    assert shown_name("Zoé 👩‍💻.txt") == "Zoé 👩‍💻.txt"
