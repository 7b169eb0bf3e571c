"""Commands that a developer lets run without asking: patterns of whole commands, word by word."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

# Programs one of whose usual arguments is another command, or code: a wildcard would allow everything.
_LAUNCHERS = """
    apk apt apt-get aptitude at awk bat batch brew busybox bwrap c++ cc chroot chrt clang cmake command cpio
    cpulimit crontab ctest dbus-run-session dc direnv dnf doas docker dpkg ed emacs entr env eval ex exec expect
    fakeroot fd fdfind find firejail flatpak flock ftp fzf g++ gawk gcc gdb gdbserver gnuplot hg hyperfine ionice
    journalctl kubectl ld less linux32 linux64 lldb ltrace m4 make man mawk meson more mysql nano nawk nc ncat
    nice ninja nix nix-shell nmap nohup nsenter pacman parallel perf pkexec podman prlimit proot psql rg rlwrap
    rpm rsh rsync run0 runcon runuser rvim scp screen script sed setarch setpriv setsid sftp snap socat sort split
    sqlite3 ssh start-stop-daemon stdbuf strace su sudo svn systemctl systemd-run tar taskset time timeout tmux
    toybox unbuffer unshare valgrind vi view vim vimdiff watch wget xargs xvfb-run yum zip zypper
"""
# Programs whose first argument chooses what runs: where that is a fixed word and no option, the rest may be open.
_INTERPRETERS = """
    ash bash bun cargo csh dash deno fish git go gradle java ksh lua luajit mvn node npm npx osascript perl php pip
    pipx pnpm poetry powershell pwsh pypy python raku rscript ruby sh swift tclsh tcsh uv uvx yarn zsh
"""
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class AllowedCommands:
    """Patterns, each a list of words; made by `AllowedCommands.of`."""

    patterns: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Self:
        """The patterns from the developer's words; ValueError names one that is none, or that allows everything."""
        if isinstance(patterns, str):
            raise ValueError(f"allow is {patterns!r}; pass a list: allow=[{patterns!r}]")
        return cls(tuple(map(_parse, patterns)))

    def covers(self, argv: Sequence[str]) -> bool:
        """Whether one of the patterns fits the whole command."""
        return any(_fits(pattern, argv) for pattern in self.patterns)


def _fits(pattern: Sequence[str], argv: Sequence[str]) -> bool:
    name, *words = pattern
    if not argv or argv[0] != name:  # by name, never by a path that ends so: "/tmp/git" is not "git"
        return False
    is_open = bool(words) and words[-1] == "*"
    fixed, rest = (words[:-1], argv[1:]) if is_open else (words, argv[1:])
    if len(rest) < len(fixed) or (len(rest) > len(fixed) and not is_open):
        return False
    return all(fnmatchcase(word, wanted) for word, wanted in zip(rest, fixed, strict=False))


def _parse(text: str) -> tuple[str, ...]:
    if not isinstance(text, str):
        raise ValueError(f"allow entry {text!r} is no command; write it as in 'git log *'")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"allow entry {text!r} is no command ({error}); write it as in 'git log *'") from error
    if not words or not words[0]:
        raise ValueError(f"allow entry {text!r} names no program; write it as in 'git log *'")
    name, *rest = words
    if _WILD.search(name):
        raise ValueError(f"allow entry {text!r} leaves the program open, which allows everything; name it")
    if any(_WILD.search(word) for word in rest):
        _check_open(text, name, rest)
    return tuple(words)


def _check_open(text: str, name: str, rest: Sequence[str]) -> None:
    program = name.rpartition("/")[2].lower()
    names = {program, re.split(r"[\d.-]", program)[0]}  # "python3.11" is "python", "vim.tiny" "vim"
    if names & set(_LAUNCHERS.split()):
        raise ValueError(
            f"allow entry {text!r} allows every command, for an argument of {program!r} can be one;"
            " write the whole command without wildcards"
        )
    if names & set(_INTERPRETERS.split()) and (rest[0].startswith("-") or _WILD.search(rest[0])):
        raise ValueError(
            f"allow entry {text!r} allows every command, for the first arguments of {program!r} choose what runs;"
            f" fix the first one, and let it be no option, as in '{name} name *'"
        )
