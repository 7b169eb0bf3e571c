"""Ctrl-C and SIGTERM in a program: it is gone at once, and what it leaves is whole (promise P8)."""

import ast
import asyncio
import os
import signal
import tempfile
from pathlib import Path
from time import monotonic

import pytest

from narrator import ThreadStore
from tests.model_server import violations
from tests.stores import BACKENDS
from tests.tyler.interrupted import FRONTS, HANGS_S, TOOLS
from tests.warm_python import WarmPython
from tyler import Agent
from tyler._run import CANCELLED_UNKNOWN
from tyler.testing import ScriptedModel
from tyler.wire import to_chat

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PROGRAM = "tests.tyler.interrupted"
GONE_WITHIN_S = HANGS_S / 3  # far below the time that what hangs would take, and far above a busy machine's delays
OFTEN = [
    ("sqlite", "awaited", "sync tool"),
    ("sqlite", "awaited", "sync stream tool"),
    ("sqlite", "in_the_background", "model"),
    ("sqlite", "beside_others", "limited sync tool"),
    ("sqlite", "sync", "model"),
    ("sqlite", "sync_in_a_loop", "sync tool"),
    ("sqlite", "with_sigterm_as_cancellation", "model"),
    ("postgresql", "in_the_background", "sync tool"),
]
ALL = [(backend, front, work) for backend in BACKENDS[1:] for front in FRONTS for work in ["model", *TOOLS]]
CASES = [*OFTEN, *(pytest.param(*case, marks=pytest.mark.deep) for case in ALL if case not in OFTEN)]


async def interrupt(python: WarmPython, number: int, *arguments: str) -> str:
    """What the program says from the signal on. It is gone soon, and has nothing to complain of."""
    with tempfile.TemporaryFile("w+") as err:
        with python.start_piped(["-m", PROGRAM, *arguments], ENVIRONMENT, err) as program:
            assert await asyncio.to_thread(program.stdout.readline) == "under way\n"
            started = monotonic()
            program.send_signal(number)
            code, out = await asyncio.to_thread(program.finish)
            assert monotonic() - started < GONE_WITHIN_S
        err.seek(0)
        assert (err.read(), code) == ("", 0)
    return out


@pytest.mark.parametrize(("sql_url", "front", "work"), CASES, indirect=["sql_url"])
async def test_a_program_that_is_interrupted_is_gone_and_leaves_a_whole_thread(
    warm_python: WarmPython, sql_url: str, front: str, work: str
) -> None:
    by_sigterm = front == "with_sigterm_as_cancellation"
    out = await interrupt(warm_python, signal.SIGTERM if by_sigterm else signal.SIGINT, sql_url, front, work)
    *interrupted, told = out.splitlines()
    assert interrupted == ([] if by_sigterm else ["interrupted"])
    last = "some words" if work == "model" else CANCELLED_UNKNOWN
    assert ast.literal_eval(told)[-1] == last
    async with await ThreadStore.create(sql_url) as store:
        thread = await store.get_thread("t")
        assert thread.messages[-1].text == last
        assert work != "model" or thread.messages[-1].metadata == {"interrupted": True}
        assert violations({"model": "m", "messages": [to_chat(m) for m in thread.messages]}) == []
        assert (await Agent(model=ScriptedModel(["next"]), thread_store=store).go(thread, wait_s=2)).content == "next"


async def test_ctrl_c_does_not_wait_for_the_import_of_litellm(warm_python: WarmPython, tmp_path: Path) -> None:
    """Nothing can cut it short."""
    arguments = (f"sqlite:///{tmp_path}/a.db", "awaited", "import")
    assert await interrupt(warm_python, signal.SIGINT, *arguments) == "interrupted\n['hi']\n"
