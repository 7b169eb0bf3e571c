"""as_test: a conversation as a pytest file that runs, is in the common format, and holds the texts as they were."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tyler.testing
from narrator import Attachment, FileStore, Message, Thread, ThreadStore, ToolCall, Usage
from tests.tyler.test_replay import clerk, damaged, refund, status, user
from tests.warm_python import WarmPython
from tyler import Reply
from tyler.testing import ScriptedModel, as_test, calls
from tyler.testing._code import text_literal

ROOT = Path(__file__).parents[2]
NASTY = [
    'she said "yes"',
    "it's",
    """both ' and " and \\' and \\\\ and \\""",
    'mostly "double" "quotes" and one \'',
    "line\nline\r\n\ttab",
    '""" + __import__("os").system("rm -rf /") + """',
    "\u202e right to left \u2028 \x85 \x1b[31m \ufeff",
    "{braces} %s {0!r}",
    "ünïcödé 日本 🎉 \U0001f468\u200d\U0001f469",
    "x" * 300,
]


def run(thread: Thread, **options: Any) -> dict[str, Any]:
    """The names that the file defines."""
    namespace: dict[str, Any] = {}
    exec(compile(as_test(thread, **options), "a_test.py", "exec"), namespace)
    return namespace


def same(one: Thread, other: Thread) -> bool:
    left_out = {"id", "created_at", "metadata"}
    dumps = [[m.model_dump(exclude=left_out) for m in thread.messages] for thread in (one, other)]
    return dumps[0] == dumps[1] and (one.id, one.owner) == (other.id, other.owner)


async def conversation(store: ThreadStore) -> Thread:
    """One with all that a run leaves behind."""
    store.use_files(await FileStore.create())
    thread = Thread(id="ticket-'1'", owner="ann", messages=[Message(role="system", content="The customer is Ann.")])
    script = [
        Reply(
            tool_calls=calls(("status", {"order": 7}), ("statos", {})).tool_calls,
            usage=Usage(input_tokens=3, cost_usd=0.1),
        ),
        calls(("refund", {"order": 7, "cents": 5}), content="I try."),
        Reply(content="It failed.", finish="length"),
    ]
    agent = clerk(status, refund, model=ScriptedModel(script), thread_store=store)
    message = Message(role="user", content="Where?", attachments=[Attachment(filename="a b.txt", content="x")])
    thread.add_message(message)
    await agent.go(thread)
    return await store.get_thread("ticket-'1'")


async def test_the_file_holds_the_conversation(store: ThreadStore) -> None:
    thread = await conversation(store)
    loaded = run(thread)["THREAD"]
    assert same(loaded, thread)
    assert [m.metadata for m in loaded.messages] == [m.metadata for m in thread.messages]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"test_{name}.py"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.deep
async def test_files_run_as_they_are_and_are_formatted(tmp_path: Path, warm_python: WarmPython) -> None:
    thread = await conversation(await ThreadStore.create())
    write(tmp_path, "whole", as_test(thread, name="a refund, 2nd try"))
    write(tmp_path, "damaged", as_test(damaged()))
    write(tmp_path, "empty", as_test(Thread()))
    steps = [
        message
        for n in range(51)
        for message in (
            Message(role="assistant", tool_calls=[ToolCall(id="1", name="f", arguments=f'{{"n": {n}}}')]),
            Message(role="tool", content="ok", tool_call_id="1"),
        )
    ]
    write(tmp_path, "long", as_test(Thread(id="long", messages=[user("go"), *steps])))
    nasty = [message for text in NASTY for message in (user(text), Message(role="assistant", content=text))]
    nasty += [user("call"), Message(role="assistant", tool_calls=[ToolCall(id=t, name=t, arguments=t) for t in NASTY])]
    write(tmp_path, "nasty", as_test(Thread(id=NASTY[2], messages=nasty)))
    (tmp_path / "my_agents.py").write_text(
        "from tests.tyler.test_replay import clerk, status, refund\nbare, full = clerk(), clerk(status, refund)\n"
    )
    write(tmp_path, "mine", as_test(thread, agent="my_agents:full"))
    write(tmp_path, "changed", as_test(thread, agent="my_agents:bare"))

    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "",
    }
    code, out, err = warm_python.run(
        ["-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(tmp_path)], env
    )
    assert (code, err) == (1, ""), out
    assert "1 failed, 6 passed" in out
    assert 'refund({"order": 7, "cents": 5}) would be treated otherwise' in out  # the one without the tools
    check_format(tmp_path)


def check_format(folder: Path) -> None:
    """As a project that depends on tyler would."""
    for command in (["format", "--check", "--line-length", "88"], ["check", "--select", "F,I,W,E4,E7,E9"]):
        ruff = str(Path(sys.executable).parent / "ruff")
        done = subprocess.run(
            [ruff, *command, "--isolated", "--no-cache", *sorted(path.name for path in folder.glob("test_*.py"))],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("a refund, 2nd try", "test_a_refund_2nd_try"),
        ("x(): import os #", "test_x_import_os"),
        ("é²", "test_recorded_conversation"),
    ],
)
def test_names_become_names_of_tests(name: str, test: str) -> None:
    assert test in run(Thread(), name=name)


@pytest.mark.parametrize("agent", ["myapp", "myapp:", ":x", "a b:c", "os; import x:y", "class.x:y", "myapp.x:y.z"])
def test_an_agent_that_cannot_be_imported_is_refused(agent: str) -> None:
    with pytest.raises(ValueError, match=r"myapp\.agents:clerk"):
        as_test(Thread(), agent=agent)


def test_what_the_file_is_made_of_warns_of_secrets_and_leaves_the_rest_out() -> None:
    picture = Attachment(filename="a.txt", content="the bytes")
    message = Message(role="user", content="hi", metadata={"key": "k-123", "failed": True}, attachments=[picture])
    text = as_test(Thread(messages=[message], metadata={"token": "t-456"}))
    assert "Take out what must not be" in text
    for left_out in ("k-123", "t-456", "the bytes", message.id):
        assert left_out not in text


@pytest.mark.parametrize("text", NASTY)
def test_texts_are_literals_without_anything_invisible(text: str) -> None:
    literal = text_literal(text)
    assert ast.literal_eval(literal) == text
    assert literal.isprintable()


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("'\"\\n{ \n"))
def test_every_text_is_read_as_it_was(text: str) -> None:
    literal = text_literal(text)
    assert ast.literal_eval(literal) == text
    assert literal.isprintable()


def test_every_name_of_the_module_is_documented() -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    assert [name for name in tyler.testing.__all__ if not re.search(rf"\b{name}\b", page)] == []
    things = [getattr(tyler.testing, name) for name in tyler.testing.__all__ if name != "Line"]
    assert [thing for thing in things if not inspect.getdoc(thing)] == []
