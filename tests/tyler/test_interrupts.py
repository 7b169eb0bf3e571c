"""Ctrl-C and SIGTERM in a program: it is gone at once, and what it leaves is whole (promise P8)."""

import ast
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from narrator import ThreadStore
from tests.model_server import violations
from tests.stores import BACKENDS
from tests.tyler.interrupted import FRONTS, TOOLS
from tyler import Agent
from tyler._run import CANCELLED_UNKNOWN
from tyler.testing import ScriptedModel
from tyler.wire import to_chat

ROOT = Path(__file__).parents[2]
PROGRAM = "tests.tyler.interrupted"
GONE_WITHIN_S = 3.0
OFTEN = [
    ("sqlite", "awaited", "sync tool"),
    ("sqlite", "awaited", "sync stream tool"),
    ("sqlite", "awaited", "import"),
    ("sqlite", "in_the_background", "model"),
    ("sqlite", "beside_others", "limited sync tool"),
    ("sqlite", "sync", "model"),
    ("sqlite", "sync_in_a_loop", "sync tool"),
    ("sqlite", "with_sigterm_as_cancellation", "model"),
    ("postgresql", "in_the_background", "sync tool"),
]
ALL = [(backend, front, work) for backend in BACKENDS[1:] for front in FRONTS for work in ["model", "import", *TOOLS]]
CASES = [*OFTEN, *(pytest.param(*case, marks=pytest.mark.deep) for case in ALL if case not in OFTEN)]


@contextmanager
def running(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """The program, as far as "under way". It never closes its store, as scripts do; all else left over is an error."""
    command = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-m", PROGRAM, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "under way\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("sql_url", "front", "work"), CASES, indirect=["sql_url"])
async def test_a_program_that_is_interrupted_is_gone_and_leaves_a_whole_thread(
    sql_url: str, front: str, work: str
) -> None:
    by_sigterm = front == "with_sigterm_as_cancellation"
    with running(sql_url, front, work) as process:
        started = monotonic()
        process.send_signal(signal.SIGTERM if by_sigterm else signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert monotonic() - started < GONE_WITHIN_S
    assert (err, process.returncode) == ("", 0)
    *interrupted, told = out.splitlines()
    assert interrupted == ([] if by_sigterm else ["interrupted"])
    last = {"model": "some words", "import": "hi"}.get(work, CANCELLED_UNKNOWN)
    assert ast.literal_eval(told)[-1] == last
    async with await ThreadStore.create(sql_url) as store:
        thread = await store.get_thread("t")
        assert thread.messages[-1].text == last
        assert work != "model" or thread.messages[-1].metadata == {"interrupted": True}
        assert violations({"model": "m", "messages": [to_chat(m) for m in thread.messages]}) == []
        assert (await Agent(model=ScriptedModel(["next"]), thread_store=store).go(thread, wait_s=2)).content == "next"
