"""`tyler chat` as a person at a terminal sees it, on a real pseudo-terminal."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.tyler.terminal import Terminal
from tests.warm_python import WarmPython

CODE = "import sys; from tests.tyler.chat_program import main; main(sys.argv[1])"
Start = Callable[..., Terminal]


@pytest.fixture
def start(warm_python: WarmPython, tmp_path: Path) -> Start:
    """Starts a chat with this script; its data folder and database are the test's."""

    def begin(*script: Any, env: dict[str, str] | None = None, **options: Any) -> Terminal:
        order = json.dumps({"db": f"sqlite:///{tmp_path}/chat.db", "script": script})
        return Terminal(warm_python, [CODE, order], {"XDG_DATA_HOME": str(tmp_path), **(env or {})}, **options)

    return begin


def stored(tmp_path: Path, column: str = "content") -> list[str]:
    with closing(sqlite3.connect(tmp_path / "chat.db")) as connection:
        rows = connection.execute(f"SELECT {column} FROM narrator_messages ORDER BY position").fetchall()
    return [row[0] for row in rows]


def test_an_answer_is_shown_as_markdown(start: Start) -> None:
    answer = "# Title\n\nSome **bold** text,\nsecond line.\n\n- one\n- two\n\n[here](http://x.example/a)\n\nThe end."
    with start(answer) as terminal:
        terminal.wait_for("you>")
        terminal.type("hello\r")
        seen = terminal.wait_for("you>", 2)
        terminal.type("\x04")
        assert terminal.end()[0] == 0
    assert "Some bold text,\nsecond line.\n\n • one\n • two\n\nhere (http://x.example/a)\n\nThe end.\nyou>" in seen
    assert "Title" in seen
    assert "**" not in seen
    assert b"\x1b[1mbold" in terminal.raw
    assert not terminal.picture.strange


@pytest.mark.parametrize("rows", [24, 6, 2])
def test_an_answer_longer_than_the_terminal_loses_and_repeats_nothing(start: Start, rows: int) -> None:
    code = "```python\n" + "".join(f"line_{i} = {i}\n" for i in range(80)) + "```\n"
    items = "".join(f"- item {i}.\n" for i in range(60))
    words = " ".join(f"w{i}." for i in range(300))
    with start(
        f"Begin.\n\n{code}\n{items}\n{words}\n\nThe end.", env={"LINES": "50", "COLUMNS": "200"}, rows=rows
    ) as terminal:
        terminal.wait_for("you>")
        terminal.type("hello\r")
        seen = terminal.wait_for("you>", 2)
    expected = ["Begin.", *(f"line_{i} = {i}" for i in range(80)), *(f"item {i}." for i in range(60)), "The end."]
    places = [seen.index(text) for text in expected]
    assert places == sorted(places)
    assert [seen.count(f"item {i}.") for i in range(60)] == [1] * 60
    assert [seen.split().count(f"w{i}.") for i in range(300)] == [1] * 300
    assert seen.count("The end.") == 1


def test_finished_blocks_are_not_drawn_again(start: Start) -> None:
    with start("First block.\n\n" + "More and more words. " * 400) as terminal:
        terminal.wait_for("you>")
        terminal.type("hello\r")
        terminal.wait_for("you>", 2)
    assert terminal.raw.count(b"First block.") <= 3  # as a tail, once or twice, and for good


def test_ctrl_c_stops_the_answer_and_a_second_one_ends(start: Start, tmp_path: Path) -> None:
    with start({"hold": "never whole"}, "short") as terminal:
        terminal.wait_for("you>")
        terminal.type("hello\r")
        terminal.wait_for("never whole")
        terminal.interrupt()
        seen = terminal.wait_for("you>", 2)
        assert "you> hello\nnever whole\n(stopped; what was written is kept)\nyou>" in seen
        terminal.type("again\r")
        terminal.wait_for("short")
        terminal.wait_for("you>", 3)
        terminal.interrupt()
        assert terminal.end()[0] == 0
    assert stored(tmp_path) == ["hello", "never whole", "again", "short"]


def test_ctrl_c_in_a_line_that_is_typed_clears_it(start: Start, tmp_path: Path) -> None:
    with start("fine") as terminal:
        terminal.wait_for("you>")
        terminal.type("not this")
        terminal.wait_for("not this")
        terminal.interrupt()
        terminal.wait_for("you>", 2)
        terminal.type("but this\r")
        terminal.wait_for("fine")
    assert stored(tmp_path)[0] == "but this"


def test_the_end_of_an_unfinished_block_is_what_is_seen(start: Start) -> None:
    with start({"hold": "".join(f"- item {i}.\n" for i in range(40))}, rows=6) as terminal:
        terminal.wait_for("you>")
        terminal.type("hello\r")
        terminal.wait_for("item 39.")
        window = terminal.picture.text.splitlines()[-6:]
    assert [line.strip() for line in window if "item" in line][-3:] == ["• item 37.", "• item 38.", "• item 39."]
    with start({"hold": " ".join(f"w{n}." for n in range(500))}, rows=6) as terminal:
        terminal.wait_for("you>")
        terminal.type("hello\r")
        terminal.wait_for("w499.")


def test_nothing_written_before_the_stop_is_said(start: Start) -> None:
    with start({"hold": ""}) as terminal:
        terminal.wait_for("you>")
        terminal.type("hello\r")
        terminal.wait_for("…")
        terminal.interrupt()
        terminal.wait_for("(stopped; nothing was written yet)")


def test_tool_calls_show_their_progress_and_outcome(start: Start) -> None:
    wish = {"calls": [["look_up", {"words": "cats " * 40}], ["look_up", {"words": "nowhere"}]]}
    with start(wish, "Done.") as terminal:
        terminal.wait_for("you>")
        terminal.type("search\r")
        terminal.wait_for('… look_up(words="nowhere"): half of nowhere')
        seen = terminal.wait_for("you>", 2)
    assert '✓ look_up(words="cats cats cats' in seen
    assert "cats " * 10 not in seen
    assert r'✗ look_up(words="nowhere"): look_up failed: LookupError: no nowhere\x1b[31m' in seen.replace("\n", "")
    assert "half of" not in seen
    assert "Done." in seen


def test_several_lines_are_one_message(start: Start, tmp_path: Path) -> None:
    with start("a", "b") as terminal:
        terminal.wait_for("you>")
        terminal.type("one\\\r")
        terminal.wait_for("...>")
        terminal.type("two\r")
        terminal.wait_for("you>", 2)
        terminal.type("\x1b[200~three\nfour\x1b[201~\r")
        terminal.wait_for("you>", 3)
    assert stored(tmp_path) == ["one\ntwo", "a", "three\nfour", "b"]


def test_history_is_kept_across_sessions_for_its_owner_only(start: Start, tmp_path: Path) -> None:
    with start("a") as terminal:
        terminal.wait_for("you>")
        terminal.type("what I typed\r")
        terminal.wait_for("you>", 2)
        terminal.type("\x04")
        terminal.end()
    history = tmp_path / "tyler" / "chat_history"
    assert history.stat().st_mode & 0o777 == 0o600
    history.chmod(0o644)
    with start("b") as terminal:
        terminal.wait_for("you>")
        terminal.type("\x1b[A")
        terminal.wait_for("you> what I typed")
        terminal.type("\r")
        terminal.wait_for("you>", 2)
    assert stored(tmp_path) == ["what I typed", "a", "what I typed", "b"]
    assert history.stat().st_mode & 0o777 == 0o600


def test_a_failure_is_one_line_and_the_chat_goes_on(start: Start) -> None:
    with start({"error": "the provider\nis \x1b[2J away"}, "back") as terminal:
        terminal.wait_for("you>")
        terminal.type("hello\r")
        terminal.wait_for(r"tyler: the provider is \x1b[2J away")
        terminal.type("again\r")
        terminal.wait_for("back")
    assert not terminal.picture.strange


@pytest.mark.parametrize("columns", [1, 3, 19, 20, 33])
def test_narrow_terminals(start: Start, columns: int) -> None:
    text = "> - quote\n\n```python\nx = 1\n```\n\n| a | b |\n|-|-|\n| 1 | longword |\n\n**end**"
    with start(text, columns=columns) as terminal:
        terminal.wait_for("y")
        terminal.type("hi\r/quit\r")
        code, seen = terminal.end()
    assert code == 0
    assert "longword" in "".join(seen.split())


def test_a_resize_while_it_answers(start: Start) -> None:
    with start({"hold": "many words " * 60}) as terminal:
        terminal.wait_for("you>")
        terminal.type("hello\r")
        terminal.wait_for("many words")
        terminal.resize(30, 5)
        terminal.program.send_signal(signal.SIGWINCH)
        terminal.interrupt()
        terminal.wait_for("(stopped")
        terminal.type("/quit\r")
        assert terminal.end()[0] == 0


def test_a_dumb_terminal_gets_plain_text(start: Start) -> None:
    with start("some **bold** text", env={"TERM": "dumb"}) as terminal:
        terminal.wait_for("you>")
        terminal.type("hello\r")
        terminal.wait_for("some **bold** text")
    assert b"\x1b[1m" not in terminal.raw
    assert b"\x1b[?25l" not in terminal.raw


def test_no_color_is_respected(start: Start) -> None:
    with start("```python\nx = 1\n```\n", {"error": "no"}, env={"NO_COLOR": "1"}) as terminal:
        terminal.wait_for("you>")
        terminal.type("hello\r")
        terminal.wait_for("x = 1")
        terminal.type("again\r")
        terminal.wait_for("tyler: no")
    assert not any(code in terminal.raw for code in (b"[3", b";3", b"[4", b";4"))


def test_a_terminal_without_utf_8(start: Start, tmp_path: Path) -> None:
    env = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    with start("- naïve 漢字 text", env=env) as terminal:
        terminal.wait_for("you>")
        terminal.type(b"caf\xe9\xff\r")
        terminal.wait_for("na?ve ?? text")
        terminal.type("/quit\r")
        assert terminal.end()[0] == 0
    assert stored(tmp_path)[0].startswith("caf")


def test_stdout_in_a_pipe_gets_exactly_the_answers(start: Start) -> None:
    out, theirs = os.pipe()
    with start("some **bold**\x1b[31m text", stdout=theirs) as terminal, open(out, encoding="utf-8") as pipe:
        os.close(theirs)
        terminal.wait_for("you>")
        terminal.type("hello\r")
        terminal.wait_for("you>", 2)
        terminal.type("/usage\r/quit\r")
        terminal.end()
        assert pipe.read() == "some **bold**[31m text\n"


ASKED = {"calls": [["refund", {"order": 7, "note": "\u202e\x1b[2J[red]" + "long " * 30}]]}


def test_an_approval_shows_the_call_exactly_and_asks(start: Start) -> None:
    with start(ASKED, "Paid.") as terminal:
        terminal.wait_for("you>")
        terminal.type("pay\r")
        seen = terminal.wait_for("or why not:")
        assert "refund (write) wants to run with" in seen
        assert '"order": 7' in seen
        assert r"\u202e\u001b[2J[red]" + "long " * 30 in seen.replace("\n", "")
        terminal.type("y\r")
        terminal.wait_for("✓ refund(order=7")
        terminal.wait_for("Paid.")
    assert not terminal.picture.strange


def test_no_and_a_reason_deny_the_call(start: Start, tmp_path: Path) -> None:
    with start(ASKED, ASKED, "Not paid.") as terminal:
        terminal.wait_for("you>")
        terminal.type("pay\r")
        terminal.wait_for("or why not:")
        terminal.type("\r")
        terminal.wait_for("or why not:", 2)
        terminal.type("yes but only tomorrow\r")
        terminal.wait_for("Not paid.")
    denied = [text for text in stored(tmp_path) if text and "denied" in text]
    assert [text.partition("Reason: ")[2] for text in denied] == ["", "yes but only tomorrow"]


def test_always_is_for_the_session(start: Start) -> None:
    with start(ASKED, ASKED, "Paid twice.", ASKED) as terminal:
        terminal.wait_for("you>")
        terminal.type("pay\r")
        terminal.wait_for("or why not:")
        terminal.type("a\r")
        seen = terminal.wait_for("Paid twice.")
        assert seen.count("or why not:") == 1
        terminal.wait_for("you>", 2)
        terminal.type("/quit\r")
        terminal.end()
    with start(ASKED) as terminal:
        terminal.wait_for("you>")
        terminal.type("pay\r")
        terminal.wait_for("or why not:")


def test_ctrl_c_at_the_question_runs_nothing_and_keeps_the_next_line(start: Start, tmp_path: Path) -> None:
    with start(ASKED, "Well then.") as terminal:
        terminal.wait_for("you>")
        terminal.type("pay\r")
        terminal.wait_for("or why not:")
        terminal.interrupt()
        terminal.wait_for("you>", 2)
        terminal.type("y\r")
        terminal.wait_for("Well then.")
    texts = stored(tmp_path)
    assert "y" in texts
    assert not any(text and "refunded" in text for text in texts)


def test_what_was_typed_ahead_is_no_answer(start: Start) -> None:
    with start({"calls": [["look_up", {"words": "slow"}]]}, ASKED, "Not paid.") as terminal:
        terminal.wait_for("you>")
        terminal.type("pay\r")
        terminal.wait_for("… look_up")
        terminal.type("y\r")
        terminal.wait_for("or why not:")
        terminal.type("n\r")
        assert "✓ refund" not in terminal.wait_for("Not paid.")
