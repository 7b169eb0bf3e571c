"""Every code block of the README and of docs/ works, page by page, from top to bottom; nothing public is left out.

The blocks of one page share a session: a name made in one is there in the next. `await` stands alone, as in a
notebook. Models are a local server's; each page has an empty folder of its own.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from tests.model_server import ModelServer
from tyler import LitellmModel

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")] if path.exists())
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

# Blocks that are not run: (page, first line of the block) and why. Each must still be there.
NOT_RUN: dict[tuple[str, str], str] = {}

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning")


@dataclass(frozen=True)
class Block:
    """A fenced block: what follows the fence, its text, and the line of its first line."""

    page: Path
    info: str
    text: str
    line: int

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]

    def compiled(self) -> CodeType:
        """The code, its lines numbered as in the page."""
        padded = "\n" * (self.line - 1) + self.text
        return compile(padded, str(self.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        yield Block(page, match[1].strip(), match[2], text.count("\n", 0, match.start()) + 2)


def all_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks(page)]


def page_name(page: Path) -> str:
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_python_blocks_run_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_server: ModelServer
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NARRATOR_DATABASE_URL", raising=False)
    namespace: dict[str, Any] = {"__name__": "__docs__"}
    with asyncio.Runner() as runner:  # idle between blocks, so that a script's asyncio.run() works too
        for block in blocks(page):
            if block.info == "python":
                code = block.compiled()
                if code.co_flags & inspect.CO_COROUTINE:
                    runner.run(eval(code, namespace))
                else:
                    exec(code, namespace)
        runner.run(LitellmModel("any").close())  # its connections belong to this loop
    assert not model_server.refused, [recorded.violations for recorded in model_server.refused]


def test_every_fence_names_a_known_language() -> None:
    known = {"python", "python no-run", "sh", "text", "json", "yaml", "toml", "sql", "mermaid"}
    unknown = [(block.page.name, block.line, block.info) for block in all_blocks() if block.info not in known]
    assert unknown == []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * len(list(blocks(page))), page.name


def test_blocks_that_are_not_run_have_a_reason() -> None:
    marked = {(block.page.name, block.first_line) for block in all_blocks() if block.info == "python no-run"}
    assert marked == set(NOT_RUN)


def command_lines() -> list[tuple[str, str]]:
    """(page, line) of each make, narrator or tyler command that a page tells to run."""
    found = []
    for block in all_blocks():
        if block.info == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # VARIABLE=value command
                    words.pop(0)
                if words[:2] == ["uv", "run"]:
                    words = words[2:]
                if words and words[0] in ("make", "narrator", "tyler"):
                    found.append((block.page.name, shlex.join(words)))
    return found


def test_make_targets_in_the_docs_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) *[?:]?=", makefile, re.MULTILINE))
    for page, line in command_lines():
        program, *arguments = shlex.split(line)
        if program == "make":
            named = {word.partition("=")[0] for word in arguments if "=" in word}
            asked = {word for word in arguments if "=" not in word and not word.startswith("-")}
            assert asked <= targets, f"{page}: {line}"
            assert named <= variables, f"{page}: {line}"


def test_commands_in_the_docs_exist_with_their_options() -> None:
    helps: dict[tuple[str, ...], str] = {}
    for page, line in command_lines():
        program, *arguments = shlex.split(line)
        if program == "make":
            continue
        command = (program, *(word for word in arguments[:1] if not word.startswith("-")))
        if command not in helps:
            helps[command] = help_of(command)
        options = {word.partition("=")[0] for word in arguments if word.startswith("-")}
        missing = {option for option in options if not re.search(rf"{re.escape(option)}\b", helps[command])}
        assert not missing, f"{page}: {line}"


def help_of(command: tuple[str, ...]) -> str:
    program, *rest = command
    done = subprocess.run(
        [sys.executable, "-m", f"{program}.cli", *rest, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
    return done.stdout


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        prose = re.sub(r"```.*?```|`[^`\n]+`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            if target.startswith(("http://", "https://", "mailto:")):
                continue
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                assert anchor in anchors(file), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("package", ["narrator", "tyler", "lye"])
def test_every_public_name_is_documented(package: str) -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    documented = set(re.findall(r"\w+", " ".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))))
    public: list[str] = importlib.import_module(package).__all__
    assert sorted(set(public) - documented) == []
