"""What `make demo` does, with the real model: three runs of one conversation, the last one in a terminal."""

import contextlib
import importlib.util
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.warm_python import Program, WarmPython
from tyler.model import Reply, Request
from tyler.testing import ScriptedModel

ROOT = Path(__file__).parents[1]
PROGRAM = [sys.executable, str(ROOT / "examples" / "demo.py"), "--database"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def run_demo(database: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, str(database)],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


class Terminal:
    """Our end of a terminal. What was read behind the text that was waited for is kept for the next time."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._rest = ""

    def read_until(self, text: str) -> str:
        while text not in self._rest:
            self._rest += os.read(self.number, 4096).decode()
        before, _, self._rest = self._rest.partition(text)
        return before

    def write(self, text: str) -> None:
        os.write(self.number, text.encode())


@contextlib.contextmanager
def demo_in_a_terminal(python: WarmPython, database: Path) -> Iterator[tuple[Program, Terminal]]:
    """The running demo and the other end of its terminal."""
    ours, theirs = pty.openpty()
    try:
        program = python.start([*PROGRAM[1:], str(database)], ENVIRONMENT, theirs, theirs, theirs)
        os.close(theirs)  # else a read would wait for ever for a demo that has ended
        try:
            yield program, Terminal(ours)
        finally:
            program.send_signal(signal.SIGKILL)
    finally:
        os.close(ours)


def load_demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", ROOT / "examples" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.timeout(300)  # it imports litellm
def test_the_demo_remembers_its_user_from_run_to_run(warm_python: WarmPython, tmp_path: Path) -> None:
    database = tmp_path / "new folder" / "conversations.db"
    first = run_demo(database)
    assert (first.returncode, first.stderr) == (0, "")
    assert "SmolLM2-135M" in first.stdout
    assert "cannot call tools" in first.stdout
    assert "nothing is remembered yet" in first.stdout
    assert "you>   My name is Ada. Please repeat my name.\nagent> " in first.stdout
    assert "[sent: 3 messages, 2 were stored; " in first.stdout

    with demo_in_a_terminal(warm_python, database) as (program, terminal):
        second = terminal.read_until("Now you.")
        assert "Welcome back, Ada! 4 messages are stored since " in second
        assert "the model sees them" in second
        asked, _, after = second.partition("you>   What is my name?\r\n")
        assert asked
        # The model was sent the four messages of the first run, and says the name that only they have.
        assert "Ada" in after.splitlines()[0]
        assert "[sent: 5 messages, 4 were stored; " in after
        assert "right: 'Ada' stands in " in after
        terminal.read_until("you>   ")
        terminal.write("Name three fruits.\n")
        assert "[sent: 9 messages, 8 were stored; " in terminal.read_until("you>   ")
        terminal.write("\x04")
        assert "Traceback" not in terminal.read_until("Goodbye. It will remember you.")
        assert program.wait() == 0


PURPOSE = {"role": "system", "content": "Be brief."}
TURNS = [{"role": role, "content": f"{number} {role}"} for number in range(60) for role in ("user", "assistant")]
LONG_QUESTION = {"role": "user", "content": "é" * 25}


@pytest.mark.parametrize(
    ("newest", "size_bytes", "seen"),
    [
        (200, 10_000, TURNS),
        (5, 10_000, [*TURNS[:2], *TURNS[-4:]]),
        (20, 75, [*TURNS[:2], *TURNS[-2:]]),
        (20, 40, TURNS[:2]),
    ],
)
async def test_the_model_sees_the_first_turn_and_as_much_of_the_newest_as_fits(
    newest: int, size_bytes: int, seen: list[dict[str, str]]
) -> None:
    model = ScriptedModel(["Your name is Ada."])
    view = load_demo().BoundedView(model, newest=newest, size_bytes=size_bytes)
    pieces = [piece async for piece in view.stream(Request([PURPOSE, *TURNS, LONG_QUESTION]))]
    assert model.requests[0].messages == [PURPOSE, *seen, LONG_QUESTION]
    assert isinstance(pieces[-1], Reply)
    assert pieces[-1].content == "Your name is Ada."


def test_a_database_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "no-database").write_text("this is a diary")
    ended = run_demo(tmp_path / "no-database")
    assert ended.returncode == 1
    assert ended.stderr.startswith("\ndemo: ")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("text", ["\x1b]0;title\x07", "\x00", "\u202e"])
def test_an_answer_cannot_steer_the_terminal(text: str) -> None:
    assert load_demo().printable(f"a{text}b\n").startswith("a")
    assert not any(c in load_demo().printable(text) for c in "\x1b\x07\x00\u202e")
