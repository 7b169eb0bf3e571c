"""go_sync: in a script, in threads, inside a running loop, and with Ctrl-C."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from tyler import Agent
from tyler._sync import run_sync
from tyler.testing import ScriptedModel, calls


def test_in_a_script_and_in_threads() -> None:
    agent = Agent(model=ScriptedModel(["answer"] * 9))
    assert agent.go_sync("hi").content == "answer"
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(agent.go_sync("hi").content)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["answer"] * 8


async def test_inside_a_running_loop() -> None:
    assert Agent(model=ScriptedModel(["answer"])).go_sync("hi").content == "answer"


def test_errors_come_through() -> None:
    with pytest.raises(ZeroDivisionError):
        Agent(model=ScriptedModel([ZeroDivisionError()])).go_sync("hi")


def test_on_its_own_loop_it_says_so_instead_of_hanging() -> None:
    inner = Agent(model=ScriptedModel(["never"]))

    async def ask() -> str:
        return inner.go_sync("hi").content

    result = Agent(model=ScriptedModel([calls(("ask", {})), "done"]), tools=[ask]).go_sync("hi")
    assert "use `await agent.go(...)`" in result.new_messages[1].text


def test_a_tool_that_raises_keyboard_interrupt_does_not_end_the_loop() -> None:
    async def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sync(interrupt())
    assert run_sync(asyncio.sleep(0, "still here")) == "still here"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_after_a_fork_the_child_has_a_loop_of_its_own() -> None:
    assert run_sync(asyncio.sleep(0, 1)) == 1
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that hangs
        os._exit(run_sync(asyncio.sleep(0, 7)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_ctrl_c_unwinds_before_the_script_ends(tmp_path: Path) -> None:
    """The words streamed so far are in the database when the process is gone, and it says no more than it must."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import asyncio
            from tyler import Agent, Message, Thread, ThreadStore
            from tyler.testing import ScriptedModel

            class Hanging(ScriptedModel):
                async def stream(self, request):
                    yield "some words"
                    print("said", flush=True)
                    await asyncio.sleep(600)

            store = asyncio.run(ThreadStore.create("sqlite:///{tmp_path}/a.db"))
            thread = Thread(id="t", messages=[Message(role="user", content="hi")])
            try:
                Agent(model=Hanging([]), thread_store=store).go_sync(thread)
            except KeyboardInterrupt:
                print([m.text for m in thread.messages], flush=True)
            """
        )
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "said\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (out, process.returncode) == ("['hi', 'some words']\n", 0), err
