"""The shell tool: run one program, without a shell. It asks a human first, and is no sandbox.

How a program is kept within limits is `_programs/process.py`'s; which may run without asking `_programs/allowed.py`'s.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lye._programs.allowed import AllowedCommands
from lye._programs.argv import check_argv, check_path_folders, check_visible, find_folder, find_program
from lye._programs.isolation import Isolation, check_isolation, find_bubblewrap, wrapped
from lye._programs.process import PATH, Command, Limits, new_folder, run, scrubbed_environment
from lye._programs.result import show
from lye.errors import CommandRefused
from tyler.tools import Tool, ToolResult, tool

MAX_STDIN_CHARS = 1_000_000


def shell_tools(
    root: str | os.PathLike[str] | None = None,
    *,
    allow: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    timeout_s: float = 60,
    max_timeout_s: float = 600,
    max_memory_bytes: int = 1 << 30,
    max_processes: int = 64,
    max_file_bytes: int = 100_000_000,
    max_written_bytes: int = 1_000_000_000,
    max_output_bytes: int = 50_000_000,
    max_output_chars: int = 40_000,
    isolation: Isolation = "auto",
    network: bool = False,
) -> list[Tool]:
    """`run_command`, for programs that work in `root` (the program's working folder unless given).

    Each call waits for a human, but those that fit a pattern of `allow`: "git status" exactly, "git log *" with any
    further arguments. `env` is added to the few variables that a command gets. The limits are those of one call, all
    its processes together. `isolation`: bubblewrap where it works ("auto"), or else no call ("bubblewrap"), or never
    ("none"); `network` opens the network under bubblewrap, without it nothing can shut it.

    Raises ValueError for a pattern that would allow everything, for variables that are none, and for a limit that is
    not above 0.
    """
    limits = Limits(
        timeout_s=timeout_s,
        max_memory_bytes=max_memory_bytes,
        max_processes=max_processes,
        max_file_bytes=max_file_bytes,
        max_written_bytes=max_written_bytes,
        max_output_bytes=max_output_bytes,
        max_output_chars=max_output_chars,
    )
    place = Place(
        None if root is None else os.fspath(root), checked_env(env or {}), limits, max_timeout_s, isolation, network
    )
    allowed = AllowedCommands.of(allow)

    @tool(risk="exec", effect="once", touches={"private"}, needs_approval=lambda call: _asks(call, allowed))
    async def run_command(
        argv: list[str], cwd: str = ".", stdin: str | None = None, timeout_s: int | None = None
    ) -> ToolResult:
        """Run one program and return its exit code, stdout and stderr. There is no shell: no pipes, no globs, no $VAR.

        Args:
            argv: The program and its arguments, one word each, as in ["git", "log", "-5"]
            cwd: The folder to run it in, relative to the working folder
            stdin: Text that the program reads; nothing if left out
            timeout_s: Seconds after which it is killed; leave out for the usual limit
        """
        return await place.run_command(argv, cwd, stdin, timeout_s)

    return [run_command]


@dataclass(frozen=True)
class Place:
    """Where and within what limits commands run."""

    root: str | None
    env: Mapping[str, str]
    limits: Limits
    max_timeout_s: float
    isolation: Isolation
    network: bool

    def __post_init__(self) -> None:
        check_isolation(self.isolation)
        if not self.max_timeout_s >= self.limits.timeout_s:
            raise ValueError(
                f"max_timeout_s is {self.max_timeout_s!r}; pass at least timeout_s, {self.limits.timeout_s!r}"
            )

    async def run_command(self, argv: Sequence[str], cwd: str, stdin: str | None, timeout_s: int | None) -> ToolResult:
        """Run a command of the model's; CommandRefused before anything is started."""
        _check(argv, stdin)
        limits = self.limits_for(timeout_s)
        program, folder, root = await asyncio.to_thread(self._find, argv[0], cwd)
        return await self.run(program, argv, folder, stdin, limits, new_folder(), [root])

    def _find(self, name: str, cwd: str) -> tuple[str, str, str]:
        """The paths of program, working folder and root."""
        root = os.path.realpath(os.getcwd() if self.root is None else self.root)
        folder = find_folder(root, cwd)
        return find_program(name, folder, root, self.env.get("PATH", PATH)), folder, root

    def limits_for(self, timeout_s: int | None) -> Limits:
        """The limits of a call for which the model wants this time."""
        if timeout_s is None:
            return self.limits
        if not 0 < timeout_s <= self.max_timeout_s:
            raise CommandRefused(f"timeout_s is {timeout_s!r}; use 1 to {self.max_timeout_s:g}, or leave it out")
        return replace(self.limits, timeout_s=timeout_s)

    async def run(
        self,
        program: str,
        argv: Sequence[str],
        cwd: str,
        stdin: str | None,
        limits: Limits,
        folder: str,
        writable: Sequence[str],
    ) -> ToolResult:
        """Run a program, isolated if that can be had, and show how it went."""
        bubblewrap = await asyncio.to_thread(find_bubblewrap, self.isolation)
        if bubblewrap and "/" in writable:
            raise CommandRefused(
                "nothing was run: the opened folder is '/', which bubblewrap cannot keep a command from changing;"
                " the developer can pass another root, or isolation='none'"
            )
        env = scrubbed_environment(folder, self.env)
        if bubblewrap:
            words = [program, *argv[1:]]
            argv = wrapped(bubblewrap, words, cwd, writable, folder, env["PATH"], self.network)
        command = Command(bubblewrap or program, argv, "/" if bubblewrap else cwd, folder, env, stdin)
        return show(await run(command, limits), limits, "bubblewrap" if bubblewrap else "none")


def checked_env(env: Mapping[str, str]) -> dict[str, str]:
    """The developer's variables; ValueError names one that cannot be one, but never its value."""
    for name, value in env.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise ValueError(f"env has the name {name!r}; use a text without '='")
        if not isinstance(value, str) or "\0" in value:
            raise ValueError(f"env[{name!r}] is not text that a variable can hold; pass a str without NUL")
    if "PATH" in env:
        check_path_folders(env["PATH"])
    return dict(env)


def _check(argv: Sequence[str], stdin: str | None) -> None:
    check_argv(argv)
    if stdin is not None:
        if len(stdin) > MAX_STDIN_CHARS:
            raise CommandRefused(f"stdin has {len(stdin):,} characters, over {MAX_STDIN_CHARS:,}; use a file")
        check_visible(stdin, "stdin")


def _asks(call: dict[str, Any], allowed: AllowedCommands) -> bool:
    """Whether a human has to look: not at what is refused in any case, nor at what the developer allowed.

    What a program reads from stdin can be its orders, and "./build.sh" is another file in each folder, so that a
    pattern does not speak for them.
    """
    argv, stdin = call.get("argv"), call.get("stdin")
    if not (isinstance(argv, list) and all(isinstance(word, str) for word in argv)):
        return True
    if not isinstance(stdin, str | None):
        return True
    try:
        _check(argv, stdin)
    except CommandRefused:
        return False  # the call is refused at once: nobody is shown what cannot be judged by looking
    is_elsewhere = "/" in argv[0] and not os.path.isabs(argv[0]) and call.get("cwd", ".") != "."
    return stdin is not None or is_elsewhere or not allowed.covers(argv)


SHELL_TOOLS = shell_tools()
