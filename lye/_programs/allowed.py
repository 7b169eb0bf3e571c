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
    abduco apk apt apt-get aptitude at awk bat batch brew busybox bwrap c++ capsh cc cgexec chpst chronic chroot
    chrt clang cmake command cpio cpulimit crontab ctest daemonize dbus-run-session dc direnv dnf doas docker dotenv
    dpkg dtach dumb-init eatmydata ed emacs emacsclient entr env envdir eval ex exec expect fakechroot fakeroot
    faketime fd fdfind find firejail flatpak flock ftp fzf g++ gawk gcc gdb gdbserver gnuplot gosu hg hyperfine ifne
    ionice ip journalctl kubectl ld less linux32 linux64 lldb ltrace m4 make man mawk meson more mosh mysql nano
    nawk nc ncat nice ninja nix nix-shell nmap nohup nsenter numactl nvim pacman parallel perf pkexec podman prlimit
    proot proxychains proxychains4 psql rg rlwrap rpm rr rsh rsync run-parts run0 runcon runuser rvim scp screen
    script sed setarch setlock setpriv setsid sftp snap socat softlimit sort split sqlite3 ssh start-stop-daemon
    stdbuf strace su sudo svn systemctl systemd-run tar taskset time timeout tini tmux torify torsocks toybox
    unbuffer unshare valgrind vi view vim vimdiff watch wget xargs xvfb-run yum zip zypper
"""
# Programs whose first argument chooses what runs: where that is a fixed word and no option, the rest may be open.
_INTERPRETERS = """
    ash bash bun bundle cargo conda coverage csh dash deno dotnet elixir erl fish git go gradle hatch ipython java
    julia jupyter ksh lua luajit mvn node npm npx octave osascript pdm perl php pip pipx pixi pnpm poetry powershell
    pwsh pypy python raku rscript ruby scala sh swift tclsh tcsh ts-node tsx uv uvx yarn zsh
"""
# These take code, or have an option, anywhere behind, that names a program.
_SUB_LAUNCHERS = """
    deno:eval git:archive git:bisect git:clone git:config git:difftool git:fetch git:filter-branch git:grep
    git:ls-remote git:mergetool git:pull git:push git:rebase git:submodule
"""
# Behind these stands another command, which is looked at in its turn.
_RUNNERS = """
    bun:x bundle:exec conda:run coverage:run deno:run hatch:run npm:exec npm:x pdm:run pipx:run pixi:run pnpm:dlx
    pnpm:exec poetry:run uv:run yarn:dlx yarn:exec
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
    subcommand = f"{program}:{rest[0]}"
    if subcommand in _SUB_LAUNCHERS.split() or names & set(_LAUNCHERS.split()):
        raise ValueError(
            f"allow entry {text!r} allows every command, for an argument of {program!r} can be one;"
            " write the whole command without wildcards"
        )
    chooser, *others = rest[1:] if subcommand in _RUNNERS.split() else rest
    if names & set(_INTERPRETERS.split()) and (chooser.startswith("-") or _WILD.search(chooser)):
        raise ValueError(
            f"allow entry {text!r} allows every command, for the first arguments of {program!r} choose what runs;"
            f" fix the first one, and let it be no option, as in '{name} name *'"
        )
    if subcommand in _RUNNERS.split() and any(map(_WILD.search, others)):
        _check_open(text, chooser, others)
