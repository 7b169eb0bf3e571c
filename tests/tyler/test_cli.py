"""`tyler chat` as a person at a terminal uses it."""

from __future__ import annotations

import os
import pty
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.model_server import ModelServer, Reply
from tests.warm_python import WarmPython
from tyler import StoreUnavailable
from tyler.cli import app

ROOT = Path(__file__).parents[2]


def chat(tmp_path: Path, lines: str) -> str:
    """What a chat with these lines as input shows."""
    options = ["--model", "gpt-4", "--db", f"sqlite:///{tmp_path}/chat.db"]
    result = CliRunner().invoke(app, ["chat", *options], input=lines, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_chat_answers_and_remembers(model_server: ModelServer, tmp_path: Path) -> None:
    model_server.reply("Hello Ann.")
    assert "Hello Ann." in chat(tmp_path, "My name is Ann.\n")
    model_server.reply("Ann!")
    assert "Welcome back: 2 messages" in chat(tmp_path, "What is my name?\n")
    said = [message["content"] for message in model_server.requests[-1].messages[1:]]
    assert said == ["My name is Ann.", "Hello Ann.", "What is my name?"]


def test_a_failing_model_is_one_line_and_the_chat_goes_on(model_server: ModelServer, tmp_path: Path) -> None:
    model_server.reply(Reply(status=400, error="no"))
    model_server.reply("fine")
    shown = chat(tmp_path, "one\ntwo\n")
    assert "tyler: model 'gpt-4' refuses the request" in shown
    assert "fine" in shown


def test_control_characters_of_the_model_do_not_reach_the_terminal(model_server: ModelServer, tmp_path: Path) -> None:
    model_server.reply("red\x1b[31m\x07 alert")
    assert "red[31m alert" in chat(tmp_path, "hi\n")


def test_its_own_database_of_an_older_version_is_upgraded_and_remembers(
    model_server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    database = tmp_path / "tyler" / "chat.db"
    for answer, line in (("Hello Ann.", "My name is Ann."), ("Ann!", "What is my name?")):
        model_server.reply(answer)
        result = CliRunner().invoke(app, ["chat", "--model", "gpt-4"], input=line, catch_exceptions=False)
        assert answer in result.output
        with closing(sqlite3.connect(database)) as connection:  # as the version before left it
            connection.execute("DROP INDEX narrator_threads_id")
            connection.execute("UPDATE narrator_version SET version_num = '0004'")
            connection.commit()
    assert "Welcome back: 2 messages" in result.output
    assert len(list(database.parent.glob("*.backup"))) == 1


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="missing"):
        chat(tmp_path / "missing", "hi\n")


def test_the_command_ends_an_expected_failure_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from tyler.cli import main; main()", "chat", "--model", "gpt-4"]
    bad = [*command, "--db", f"sqlite:///{tmp_path}/missing/chat.db"]
    done = subprocess.run(bad, input="hi\n", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("tyler: ")
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_stops_the_answer_and_not_the_program(
    warm_python: WarmPython, model_server: ModelServer, tmp_path: Path
) -> None:
    model_server.reply("this answer is never whole", hold_after=2)
    model_server.reply("short")
    ours, theirs = pty.openpty()
    command = ["-c", "from tyler.cli import main; main()", "chat", "--model", "gpt-4"]
    command += ["--db", f"sqlite:///{tmp_path}/chat.db"]
    program = warm_python.start(command, {**os.environ, "PYTHONPATH": str(ROOT)}, theirs, theirs, theirs)
    os.close(theirs)
    os.write(ours, b"hello\n")
    model_server.wait_for_held(1, timeout_s=60)
    shown = _read_until(ours, "this")
    program.send_signal(signal.SIGINT)
    model_server.wait_for_hang_up(1)
    shown += _read_until(ours, "you> ")
    os.write(ours, b"again\n")
    # Ctrl-D while an answer comes is the terminal's own affair; at the prompt it ends the program.
    shown += _read_until(ours, "short", "you> ")
    os.write(ours, b"\x04")
    shown += _read_all(ours)
    assert program.wait() == 0
    assert "(stopped; what was written is kept)" in shown
    assert "short" in shown
    assert [m["content"] for m in model_server.requests[-1].messages if m["role"] == "user"] == ["hello", "again"]


def _read_until(terminal: int, *texts: str) -> str:
    """What is shown until these have come, one behind the other."""
    shown, place = "", 0
    for text in texts:
        while (found := shown.find(text, place)) < 0:
            shown += os.read(terminal, 4096).decode(errors="replace")
        place = found + len(text)
    return shown


def _read_all(terminal: int) -> str:
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the program has closed its end
            os.close(terminal)
            return shown.decode()
        shown += piece
