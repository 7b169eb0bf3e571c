"""What a command is made of, checked: its words, its program, its folder. What is shown is what runs."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Sequence

from lye.errors import CommandFailed, CommandRefused

MAX_WORDS = 1_000
MAX_CHARS = 100_000
# Letters and marks by their category, but nothing to see.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_VARIATION_SELECTORS = frozenset([*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), 0x180B, 0x180C, 0x180D, 0x180F])


def check_argv(argv: Sequence[str]) -> None:
    """CommandRefused for what is no command, or could not be judged by looking at it."""
    if not argv or not argv[0]:
        raise CommandRefused(f"argv is {list(argv)[:3]!r}; its first word has to name a program, as in ['ls', '-l']")
    if len(argv) > MAX_WORDS or sum(map(len, argv)) > MAX_CHARS:
        raise CommandRefused(
            f"argv has {len(argv):,} words of {sum(map(len, argv)):,} characters;"
            f" at most {MAX_WORDS:,} and {MAX_CHARS:,} may run; write long input to a file, or pass it as stdin"
        )
    for number, word in enumerate(argv):
        check_visible(word, f"argv[{number}]")


def check_visible(text: str, where: str) -> None:
    """CommandRefused for characters that a reader does not see, or sees elsewhere: who approves must see what runs.

    Newline and tab are fine, and so are the joiners within an emoji.
    """
    if text.isascii() and text.isprintable():
        return
    before = ""
    for position, char in enumerate(text):
        if _is_hidden(char) and not _joins_emoji(before, char):
            raise CommandRefused(
                f"{where} has the character {char!a} at position {position}, which a reader cannot see;"
                " leave it out, or have the program make it"
            )
        before = char


def find_folder(root: str, cwd: str) -> str:
    """The real path of a working folder inside the root; CommandRefused for one that leads out of it."""
    check_visible(cwd, "cwd")
    real_root = os.path.realpath(root)
    if len(cwd) > 4096:
        raise CommandRefused(f"cwd is {len(cwd):,} characters long; name a folder, as in '.'")
    folder = os.path.realpath(os.path.join(real_root, cwd))
    if not _is_inside(folder, real_root):
        raise CommandRefused(f"cwd {cwd!r} leads out of the opened folder; name one inside it, as in '.'")
    if not os.path.isdir(folder):
        raise CommandRefused(f"cwd {cwd!r} is not a folder; name one, as in '.'")
    return folder


def find_program(name: str, cwd: str, root: str, path: str) -> str:
    """The absolute path of a program: by name on `path`, by an absolute path, or by one inside the root.

    A relative path starts at `cwd`. The program itself may be a link, as in a virtual environment.
    """
    if "/" not in name:
        for folder in path.split(":"):
            if _is_program(found := os.path.join(folder, name)):
                return found
        raise CommandFailed(f"no program is named {name!r} in {path}; use another one, or a path to it")
    found = os.path.normpath(name) if os.path.isabs(name) else os.path.join(cwd, name)
    if not os.path.isabs(name) and not _is_inside(os.path.realpath(os.path.dirname(found)), os.path.realpath(root)):
        raise CommandRefused(f"the program {name!r} leads out of the opened folder; use an absolute path, or a name")
    if not _is_program(found):
        raise CommandFailed(f"{name!r} is not a file that can be run; check the path, or run another program")
    return found


def check_path_folders(path: str) -> None:
    """ValueError unless each folder is absolute: others would depend on where the command runs."""
    for folder in path.split(":"):
        if not os.path.isabs(folder):
            raise ValueError(f"env['PATH'] has the folder {folder!r}; name absolute folders only")


def _is_inside(path: str, root: str) -> bool:
    return os.path.commonpath([path, root]) == root


def _is_program(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode) and os.access(path, os.X_OK)
    except (OSError, ValueError):
        return False


def _is_hidden(char: str) -> bool:
    category = unicodedata.category(char)
    if category.startswith("C"):  # control, format (bidi and zero width), surrogate, private, unassigned
        return char not in "\n\t"
    if category.startswith("Z"):  # spaces that look like a space and are none, line and paragraph separators
        return char != " "
    return char in _INVISIBLE or ord(char) in _VARIATION_SELECTORS


def _joins_emoji(before: str, char: str) -> bool:
    is_emoji = bool(before) and ord(before) > 0x2000 and unicodedata.category(before) in ("So", "Sk")
    return (char == "\ufe0f" and is_emoji) or (char == "\u200d" and (is_emoji or before == "\ufe0f"))
