"""The options of `tyler chat`, and what it does where nobody is at a terminal."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.model_server import ModelServer
from tests.tyler.terminal import ROOT
from tests.warm_python import WarmPython
from tyler import ConfigurationError
from tyler.cli import app

CODE = "import sys; from tests.tyler.chat_program import main; main(sys.argv[1])"


def run(tmp_path: Path, lines: str, *options: str) -> Result:
    """`tyler chat` with these lines from a pipe; its data folder is the test's. No line may ask the model."""
    env = {"XDG_DATA_HOME": str(tmp_path)}
    return CliRunner(env=env).invoke(app, ["chat", "--model", "gpt-4", *options], input=lines)


def test_tools_come_from_an_import_path_or_the_current_folder(
    warm_python: WarmPython, model_server: ModelServer, tmp_path: Path
) -> None:
    (tmp_path / "own_tools.py").write_text('def one(x: int) -> int:\n    """One."""\n    return x\n')
    model_server.reply("fine")
    code = "import os, sys; os.chdir(sys.argv.pop()); from tyler.cli import main; main()"
    options = ["chat", "--model", "gpt-4", "--tools", "lye:WEB_TOOLS", "--tools", "own_tools:one", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(tmp_path)}
    with warm_python.start_piped(["-c", code, *options], env) as program:
        assert program.finish("hello")[0] == 0
    offered = [tool["function"]["name"] for tool in model_server.requests[0].body["tools"]]
    assert offered == ["fetch_page", "download_file", "search_web", "one"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("lye", "--tools: 'lye' is no import path"),
        ("no_such_module_at_all:x", "there is no module 'no_such_module_at_all'"),
        ("lye:NOTHING", "lye has no 'NOTHING'"),
        ("json:__name__", "must be a function, a Tool, or a list of them"),
    ],
)
def test_a_path_that_leads_to_no_tool_is_said(tmp_path: Path, path: str, said: str) -> None:
    result = run(tmp_path, "", "--tools", path)
    assert isinstance(result.exception, ConfigurationError)
    assert said in str(result.exception)


def test_two_tools_of_one_name_are_said(tmp_path: Path) -> None:
    result = run(tmp_path, "", "--tools", "lye:WEB_TOOLS", "--tools", "lye:WEB_TOOLS")
    assert result.exit_code == 2
    assert "two tools are named 'fetch_page'" in result.output


def test_the_last_conversation_is_gone_on_with(warm_python: WarmPython, tmp_path: Path) -> None:
    assert "No conversation" in run(tmp_path, "/threads\n").stderr
    order = json.dumps({"db": f"sqlite:///{tmp_path}/tyler/chat.db", "script": ["a", "b"]})
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(tmp_path)}
    with warm_python.start_piped(["-c", CODE, order], env) as program:
        program.finish("one\n/new trip\ntwo\n")
    assert "Welcome back: 2 messages in 'trip'." in run(tmp_path, "").stderr
    assert "in 'chat'." in run(tmp_path, "", "--thread", "chat").stderr
    assert "Welcome" not in run(tmp_path, "", "--thread", "another").stderr
    database = ("--db", f"sqlite:///{tmp_path}/tyler/chat.db")  # it might be an application's: its threads are its own
    assert "in 'chat'." in run(tmp_path, "", *database).stderr


def test_a_pipe_gets_exactly_the_answers_and_leaves_no_history(warm_python: WarmPython, tmp_path: Path) -> None:
    answers = ["# **One**\n\n- a\t[x](http://y)\n", "two\x1b[31m\u202e"]
    order = json.dumps({"db": f"sqlite:///{tmp_path}/chat.db", "script": answers})
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(tmp_path), "FORCE_COLOR": "1"}
    with (
        (tmp_path / "err").open("w") as err,
        warm_python.start_piped(["-c", CODE, order], env, err) as program,
    ):
        assert program.finish("first\\\nline\n/usage\nsecond") == (0, "# **One**\n\n- a\t[x](http://y)\ntwo[31m\n")
    assert "2,000 tokens" not in (tmp_path / "err").read_text()
    assert "1,000 tokens in" in (tmp_path / "err").read_text()
    assert not (tmp_path / "tyler" / "chat_history").exists()


def test_without_a_terminal_a_call_waits_for_its_approval(warm_python: WarmPython, tmp_path: Path) -> None:
    order = json.dumps({"db": f"sqlite:///{tmp_path}/chat.db", "script": [{"calls": [["refund", {"order": 7}]]}]})
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(tmp_path)}
    with warm_python.start_piped(["-c", CODE, order], env) as program:
        code, said = program.finish("pay\ny\n")
    assert code == 0
    assert "[refund(order=7) waits for approval]" in said
    assert "✓" not in said


def test_a_reader_that_has_gone_is_no_traceback(
    warm_python: WarmPython, model_server: ModelServer, tmp_path: Path
) -> None:
    model_server.reply("an answer")
    out, theirs = os.pipe()
    os.close(out)
    stdin, ours = os.pipe()
    with (tmp_path / "err").open("w") as err:
        code = [
            "-c",
            "from tyler.cli import main; main()",
            "chat",
            "--model",
            "gpt-4",
            "--db",
            f"sqlite:///{tmp_path}/x.db",
        ]
        program = warm_python.start(code, {**os.environ, "PYTHONPATH": str(ROOT)}, stdin, theirs, err)
        os.write(ours, b"hello\n")
        os.close(ours)
        assert program.wait() == 1
    os.close(theirs)
    os.close(stdin)
    assert (tmp_path / "err").read_text() == "Model: gpt-4, as you said\n"


def test_a_data_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "tyler").write_text("a file")
    result = run(tmp_path, "")
    assert isinstance(result.exception, ConfigurationError)
    assert "set XDG_DATA_HOME to another" in str(result.exception)
    assert run(tmp_path, "/usage", "--db", f"sqlite:///{tmp_path}/x.db").exit_code == 0
