"""A command's words, folder and program, checked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lye._programs.argv import check_argv, check_path_folders, check_visible, find_folder, find_program
from lye.errors import CommandFailed, CommandRefused

PATH = "/usr/bin:/bin"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "has to name a program"),
        ([""], "has to name a program"),
        (["ls"] * 1_001, "at most 1,000"),
        (["ls", "x" * 100_000], "at most 1,000 and 100,000"),
        (["ls\0"], r"argv\[0\] has the character '\\x00'"),
        (["ls", "a\x1b[31m"], r"argv\[1\] has the character '\\x1b' at position 1"),
    ],
)
def test_what_is_no_command_is_refused(argv: list[str], words: str) -> None:
    with pytest.raises(CommandRefused, match=words):
        check_argv(argv)


HIDDEN = """
    0000 0007 0008 000b 000c 000d 001b 007f 0085 009b 00a0 00ad 034f 061c 115f 1680 17b4 180e 2000 2007 200b 200c 200d
    200e 200f 2028 2029 202a 202d 202e 202f 205f 2060 2063 2066 2069 206a 2800 3000 3164 d800 dfff e000 fe00 fe0f feff
    ffa0 fff9 ffff 13430 1d173 e0001 e0041 e0100 10ffff
"""


@pytest.mark.parametrize("code", HIDDEN.split())
def test_a_character_that_a_reader_cannot_see_is_refused(code: str) -> None:
    with pytest.raises(CommandRefused, match="cannot see"):
        check_visible(f"rm{chr(int(code, 16))}x", "argv[0]")


@pytest.mark.parametrize("text", ["", "a\n\tb", "é ñ 日本語 ü", "⚠️ ✅ 👩‍💻 ❤️‍🔥", "$(x); `y` | * ? ~ -- \\ '\""])
def test_what_a_reader_sees_is_passed(text: str) -> None:
    check_visible(text, "argv[1]")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a program and a link in it, beside one that is not opened."""
    (tmp_path / "outside").mkdir()
    opened = tmp_path / "opened"
    (opened / "sub").mkdir(parents=True)
    (opened / "file").write_text("x")
    (opened / "out").symlink_to(tmp_path / "outside")
    (opened / "in").symlink_to("sub")
    (opened / "loop").symlink_to("loop")
    for place in (opened, opened / "sub", tmp_path / "outside"):
        (place / "run").write_text("#!/bin/sh\necho hi\n")
        (place / "run").chmod(0o755)
    return opened


@pytest.mark.parametrize(
    "cwd",
    [
        *("..", "../outside", "sub/../..", "out", "out/", "out/../outside", "../opened2"),
        *("/", "/etc", "//etc", "/proc/self/root"),
        *("file", "nothing", "loop", "~", "$HOME", "sub\0", "x" * 5_000, "\u202e."),
    ],
)
def test_a_folder_outside_is_refused(root: Path, cwd: str) -> None:
    (root.parent / "opened2").mkdir()
    with pytest.raises(CommandRefused):
        find_folder(str(root), cwd)


def test_a_refusal_does_not_repeat_a_long_name(root: Path) -> None:
    with pytest.raises(CommandRefused, match="cwd is 1,000,000 characters long") as refusal:
        find_folder(str(root), "x" * 1_000_000)
    assert len(str(refusal.value)) < 200


def test_a_folder_inside_is_found(root: Path) -> None:
    for cwd, found in ((".", root), ("", root), ("sub", root / "sub"), ("in", root / "sub"), ("sub/..", root)):
        assert find_folder(str(root), cwd) == str(found)
    assert find_folder(str(root), str(root / "sub")) == str(root / "sub")


def test_a_program_is_found_by_name_by_path_and_inside_the_root(root: Path) -> None:
    assert find_program("env", str(root), str(root), PATH) == "/usr/bin/env"
    assert find_program("/bin/sh", str(root), str(root), PATH) == "/bin/sh"
    assert find_program("./run", str(root / "sub"), str(root), PATH) == f"{root}/sub/./run"
    assert find_program("sub/run", str(root), str(root), PATH) == str(root / "sub/run")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("run", CommandFailed),  # in the working folder, which is on no PATH
        ("nothing", CommandFailed),
        ("..", CommandFailed),
        (".", CommandFailed),
        ("./file", CommandFailed),
        ("./sub", CommandFailed),
        ("/", CommandFailed),
        ("/nothing", CommandFailed),
        ("../outside/run", CommandRefused),
        ("out/run", CommandRefused),
        ("./sub/../../outside/run", CommandRefused),
        ("~/run", CommandFailed),
        ("$HOME/run", CommandFailed),
    ],
)
def test_other_programs_are_not_found(root: Path, name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        find_program(name, str(root), str(root), PATH)


@pytest.mark.parametrize("path", ["", ".", "bin", "/usr/bin:", ":/bin", "/bin:../x"])
def test_a_path_that_depends_on_the_folder_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="absolute"):
        check_path_folders(path)


def test_the_parents_path_is_not_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{root}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(CommandFailed, match="no program is named 'run'"):
        find_program("run", str(root), str(root), PATH)
