"""The Python tool, as an agent calls it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lye import PYTHON_TOOLS, python_tools
from tests.lye.marked_processes import Marked
from tyler import Agent, ThreadStore
from tyler.testing import ScriptedModel, calls
from tyler.tools import ToolContext, ToolResult, run_tool

(RUN,) = python_tools(isolation="none", timeout_s=20)


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the snippets' own folders are made; empty at the end of each test."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert os.listdir(folder) == []


async def call(code: str, **arguments: object) -> ToolResult:
    context = ToolContext(thread_id="t", owner=None, call_id="c", idempotency_key="k")
    return await run_tool({"run_python": RUN}, "run_python", json.dumps({"code": code, **arguments}), context)


async def test_a_snippet_cannot_read_on_where_its_code_came_from() -> None:
    result = await call("import os, sys\nos.lseek(0, 0, 0) if os.path.isfile('/dev/fd/0') else 0\nsys.stdin.read()")
    assert result.content.endswith("--- stdout ---\n''")


def test_the_tool_says_what_it_does_risk_and_take() -> None:
    (tool,) = PYTHON_TOOLS
    assert (tool.name, tool.risk, tool.effect) == ("run_python", "exec", "once")
    assert list(tool.parameters["properties"]) == ["code", "timeout_s"]
    assert tool.touched({"code": "1"}) == {"private"}
    assert tool.asks({"code": "1"})


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1 + 1", "2"),
        ("print('a')\n'b'", "a\n'b'"),
        ("x = 1", "(no output)"),
        ("None", "(no output)"),
        ("", "(no output)"),
        ("# nothing", "(no output)"),
        ("def f(n): return n * 2\nf(21)", "42"),
        ("class A:\n    def __repr__(self): return '\x5cx1b[31mred'\nA()", "red"),
        ("if __name__ == '__main__': print('main')", "main"),
        ("import sys; sys.argv", "['']"),
        ("import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int\nP(1)", "P(x=1)"),
        ("import pickle\nclass A: pass\ntype(pickle.loads(pickle.dumps(A()))).__name__", "'A'"),
        ("[n for n in range(3)]  # comment", "[0, 1, 2]"),
        ("'é' * 3", "'ééé'"),
        ("import pydantic; pydantic.__name__", "'pydantic'"),
        ("import os; os.listdir()", "[]"),
        ("def f(x: int): pass\nf.__annotations__", "{'x': <class 'int'>}"),
    ],
)
async def test_prints_and_a_last_value_are_shown(code: str, said: str) -> None:
    result = await call(code)
    assert result.content.startswith("exit code 0 (")
    assert result.content.split("\n", 1)[1].removeprefix("--- stdout ---\n") == said


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("def f():\n    1 / 0\nf()", ['File "<snippet>", line 2, in f', "ZeroDivisionError: division by zero"]),
        ("x = = 1", ['File "<snippet>", line 1', "SyntaxError: invalid syntax"]),
        ("input()", ["EOFError: EOF when reading a line"]),
        (
            "try:\n    1 / 0\nexcept Exception as e:\n    raise ValueError('v') from e",
            ["direct cause", "ValueError: v"],
        ),
        ("class A:\n    def __repr__(self): return 1 / 0\nA()", ["in __repr__", "ZeroDivisionError"]),
        ("def f(): f()\nf()", ["RecursionError", "times]"]),
        ("'a\\0b'; raise KeyError('\\x1b[31m')", ["KeyError"]),
        ("raise ExceptionGroup('g', [ValueError('in')])", ["ExceptionGroup: g", "ValueError: in"]),
        ("raise KeyboardInterrupt('k')", ['File "<snippet>", line 1', "KeyboardInterrupt: k"]),
        ("class B(BaseException): pass\nraise B('b')", ['File "<snippet>", line 2', "B: b"]),
    ],
)
async def test_a_traceback_is_the_snippets_own(code: str, lines: list[str]) -> None:
    result = await call(code)
    assert result.content.startswith("exit code 1 (")
    assert [line for line in lines if line not in result.content] == []
    assert "snippet.py" not in result.content
    assert not result.failed


HOSTILE = {
    "exits": ("import sys; sys.exit(7)", "exit code 7 ("),
    "exits-hard": ("import os; os._exit(9)", "exit code 9 ("),
    "dies": ("import os; os.kill(os.getpid(), 9)", "ended by signal 9 (SIGKILL) ("),
    "crashes": ("import ctypes; ctypes.string_at(0)", "ended by signal 11 (SIGSEGV) ("),
    "aborts": ("import os; os.abort()", "ended by signal 6 (SIGABRT) ("),
    "too-much-memory": ("x = bytearray(1 << 31)", "exit code 1 ("),
    "too-large-a-file": ("open('a', 'wb').write(bytes(150_000_000))", "exit code 1 ("),
    "forks-on": ("import os; os.fork(); os.setsid() if os.getpid() % 2 else None", "exit code "),
    "closes-everything": ("import os; os.closerange(0, 100)", "exit code "),
    "no-stdin": ("import sys; assert sys.stdin.read() == ''", "exit code 0 ("),
    "no-key": ("import os; assert not [k for k in os.environ if 'KEY' in k]", "exit code 0 ("),
    "no-working-folder-on-the-path": ("import sys; assert '' not in sys.path", "exit code 0 ("),
    "breaks-its-main": ("import sys; sys.modules.clear(); 1 / 0", ""),
    "breaks-stdout": ("import sys; sys.stdout = None; 5", "exit code 0 ("),
    "null-byte": ("x = 1\\\n\n1/0", "exit code 1 ("),
    "deep": ("(" * 5_000 + ")" * 5_000, "exit code 1 ("),
}


@pytest.mark.parametrize(("code", "begin"), HOSTILE.values(), ids=HOSTILE)
async def test_hostile_snippets_end_with_an_answer(monkeypatch: pytest.MonkeyPatch, code: str, begin: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "hunter2")
    result = await call(code)
    assert result.content.startswith(begin)
    assert "hunter2" not in result.content


async def test_a_snippet_that_does_not_end_is_killed_with_what_it_started(tmp_path: Path, marked: Marked) -> None:
    code = f"import subprocess\nprint('begun')\nsubprocess.run(['setsid', 'sleep', '{marked.seconds}'])"
    result = await call(code, timeout_s=1)
    assert result.failed
    assert result.content.startswith("killed: it did not end within 1 s")
    assert result.content.endswith("\nbegun")


async def test_a_given_folder_is_kept_and_a_fresh_one_is_removed(tmp_path: Path) -> None:
    (tool,) = python_tools(tmp_path, isolation="none")
    await tool("open('kept', 'w').write('x')")
    assert os.listdir(tmp_path) == ["kept"]
    assert "'kept'" not in (await call("open('gone', 'w').close()")).content


@pytest.mark.parametrize("code", ["1 \u202e+ 1", "a\u200b = 1", "x\x00", "\x1b[2J", "x" * 100_001])
async def test_code_that_cannot_be_judged_by_looking_is_refused_and_nobody_asked(code: str) -> None:
    assert not RUN.asks({"code": code})
    result = await call(code)
    assert result.failed
    assert "CommandRefused" in result.content


async def test_a_call_waits_for_a_human() -> None:
    script = ScriptedModel([calls(("run_python", {"code": "1 + 1"})), "Two."])
    async with await ThreadStore.create() as store:
        agent = Agent(model=script, tools=[RUN], thread_store=store)
        (pending,) = (await agent.go("What is 1 + 1?")).pending
        await store.decide(pending.id, approved=True)
        result = await agent.go(await store.get_thread(pending.thread_id))
    assert result.content == "Two."
    assert result.new_messages[0].text.endswith("--- stdout ---\n2")
