"""Commands that may run without asking."""

from __future__ import annotations

import pytest

from lye._programs.allowed import AllowedCommands


@pytest.mark.parametrize(
    ("pattern", "argv", "fits"),
    [
        ("git status", ["git", "status"], True),
        ("git status", ["git", "status", "-s"], False),
        ("git status", ["git"], False),
        ("git status", ["/usr/bin/git", "status"], False),
        ("git status", ["./git", "status"], False),
        ("git status", ["git ", "status"], False),
        ("git status", ["GIT", "status"], False),
        ("git status", ["git", "Status"], False),
        ("git status", ["git", "status\n"], False),
        ("git status", ["git status"], False),
        ("/usr/bin/git status", ["/usr/bin/git", "status"], True),
        ("/usr/bin/git status", ["git", "status"], False),
        ("git log *", ["git", "log"], True),
        ("git log *", ["git", "log", "-5", "--", "a b"], True),
        ("git log *", ["git", "-c", "core.pager=evil", "log"], False),
        ("git log *", ["git", "logs"], False),
        ("git log *", ["git", "log *"], False),
        ("git log -?", ["git", "log", "-5"], True),
        ("git log -?", ["git", "log", "-55"], False),
        ("wc -l *.txt", ["wc", "-l", "a.txt"], True),
        ("wc -l *.txt", ["wc", "-l", "a.txt", "b.txt"], False),
        ("wc -l *.txt", ["wc", "-l", "a.txt\n"], False),
        ("wc -l *.txt", ["wc", "a.txt"], False),
        ("echo 'a b' c", ["echo", "a b", "c"], True),
        ("echo 'a b' c", ["echo", "a", "b", "c"], False),
        ("ls", ["ls"], True),
        ("ls", ["ls", ""], False),
        ("ls", [], False),
        ("pytest * -q", ["pytest", "x", "-q"], True),
        ("pytest * -q", ["pytest", "x", "y", "-q"], False),
        ("ls [ab]", ["ls", "b"], True),
        ("ls [ab]", ["ls", "[ab]"], False),
    ],
)
def test_a_pattern_fits_whole_commands_word_by_word(pattern: str, argv: list[str], fits: bool) -> None:
    assert AllowedCommands.of([pattern]).covers(argv) is fits


def test_without_patterns_nothing_is_allowed() -> None:
    assert not AllowedCommands.of([]).covers(["ls"])


OPEN = """
    *; * -l; gi*; [g]it status; find *; find . -name *; xargs *; env *; env X=1 *; sudo *; sudo ls *; nice *; watch *;
    timeout 5 *; tar *; awk *; sed -i *; ssh host *; make *; docker run *; sh *; bash -c *; /bin/bash *; BASH *; uv *;
    python *; python3 *; python3.11 *; python3.11-dbg *; python -c *; python -m *; node *; perl -e *; git *; vim *;
    git -C * status; npm *; npx *; pip3 *; vim.tiny *; gcc-12 *; sort *; rg *; split *; bwrap *; taskset *; tmux *;
    cmake *; apt-get *; runuser *; flock *; /lib64/ld-linux-x86-64.so.2 *; ssh-keygen *; docker-compose *; wget *;
    git grep *; git grep -n *; git fetch *; git clone *; git rebase *; git config *; git ls-remote origin *; uv run *;
    poetry run *; npm exec *; pnpm dlx *; yarn dlx *; pipx run *; deno eval *; bun x *; uv run python *;
    bundle exec *; uv run -m *; npm exec env *; poetry run uv run *;
    conda run *; coverage run *; hatch run *; ipython *; julia *; tsx *; ts-node *; nvim *;
    emacsclient *; numactl *; torsocks *; tini *; chronic *; ip netns *
"""


@pytest.mark.parametrize("pattern", [pattern.strip() for pattern in OPEN.split(";")])
def test_a_pattern_that_allows_everything_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="allows every"):
        AllowedCommands.of([pattern])


@pytest.mark.parametrize(
    "pattern",
    [
        "python -m pytest",
        "python manage.py *",
        "git diff *",
        "npm test *",
        "git grep -n TODO",
        "uv pip list *",
        "uv run pytest *",
        "poetry run python manage.py *",
        "go run . *",
        "bash build.sh *",
        "find . -name x",
        "sort a.txt",
        "ls *",
        "wc -l *",
        "grep *",
    ],
)
def test_a_pattern_that_fixes_what_runs_is_taken(pattern: str) -> None:
    assert AllowedCommands.of([pattern]).patterns


@pytest.mark.parametrize("pattern", ["", "   ", "echo 'a", "''", 5, None])
def test_what_is_no_command_is_refused_by_name(pattern: object) -> None:
    with pytest.raises(ValueError, match=r"allow entry .* (names no program|is no command)"):
        AllowedCommands.of([pattern])  # type: ignore[list-item]


def test_a_text_for_a_list_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pass a list: allow=\['git status'\]"):
        AllowedCommands.of("git status")
