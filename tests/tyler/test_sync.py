"""go_sync: in a script, in threads, inside a running loop. Ctrl-C in whole programs: test_interrupts.py."""

import asyncio
import os
import signal
import threading

import pytest

from tests.garbage import collected
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


def test_ctrl_c_leaves_no_exception_that_nobody_saw(caplog: pytest.LogCaptureFixture) -> None:
    """The run fails while it unwinds; the caller is told of the Ctrl-C."""
    under_way = threading.Event()

    async def fail_at_the_end() -> None:
        under_way.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError

    def interrupt() -> None:
        under_way.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with collected(), pytest.raises(KeyboardInterrupt):
        run_sync(fail_at_the_end())
    assert caplog.messages == []


async def test_a_cancelled_caller_cancels_the_run() -> None:
    """As Ctrl-C does under asyncio.run, whose signal handler cancels the task that stands in go_sync."""
    task = asyncio.current_task()
    assert task is not None
    under_way = threading.Event()

    async def hang() -> None:
        under_way.set()
        await asyncio.Event().wait()

    def cancel() -> None:
        under_way.wait()
        task.cancel()

    threading.Thread(target=cancel).start()
    with pytest.raises(asyncio.CancelledError):
        run_sync(hang())
    task.uncancel()
    with pytest.raises(asyncio.CancelledError):  # the task's own, which it could not hear meanwhile
        await asyncio.sleep(0)
