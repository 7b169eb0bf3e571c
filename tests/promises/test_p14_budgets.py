"""P14: a run that gets nowhere, or has used up its steps, ends with a valid thread and a status that says which."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from narrator import Message, Thread, ThreadStore
from tests.model_server import violations
from tyler import Agent
from tyler.testing import ScriptedModel, calls
from tyler.wire import to_chat

ATTEMPTS = count(1)


def good(n: int = 0) -> str:
    return "fine"


def bad(path: str = "a", line: int = 0) -> None:
    raise FileNotFoundError("no such file")


def bad_each_time_otherwise() -> None:
    raise TimeoutError(f"attempt {next(ATTEMPTS)} failed")


Step = list[tuple[str, dict[str, Any]]] | str  # the calls of one answer, or its text


async def run(store: ThreadStore, script: Sequence[Step], **options: Any) -> tuple[str, int, Thread]:
    """The status, how often the model was asked, and the stored thread, which is valid."""
    model = ScriptedModel([step if isinstance(step, str) else calls(*step) for step in script])
    agent = Agent(model=model, tools=[good, bad, bad_each_time_otherwise], thread_store=store, **options)
    result = await agent.go(Thread(id="t", messages=[Message(id="input", role="user", content="go")]))
    stored = await store.get_thread("t")
    assert result.thread.messages == stored.messages
    assert violations({"model": "m", "messages": [to_chat(m) for m in stored.messages]}) == []
    return result.status, len(model.requests), stored


A_BAD = ("bad", {"path": "a", "line": 1})
STUCK: dict[str, list[Step]] = {
    "the same call": [[A_BAD]] * 3,
    "keys in another order": [[A_BAD], [("bad", {"line": 1, "path": "a"})], [A_BAD]],
    "at once": [[A_BAD, A_BAD, A_BAD]],
    "beside one that succeeds": [[("good", {}), A_BAD]] * 3,
    "in turns with other failures": [[A_BAD], [("nobody", {})], [A_BAD], [("nope", {})], [A_BAD]],
    "in other words each time": [[("bad_each_time_otherwise", {})]] * 3,
    "a tool that does not exist": [[("nobody", {"n": 1})]] * 3,
    "arguments that are wrong": [[("good", {"n": "x"})]] * 3,
}


@pytest.mark.parametrize("what", STUCK)
async def test_three_identical_failing_calls_end_the_run(store: ThreadStore, what: str) -> None:
    status, asked, _ = await run(store, [*STUCK[what], "never said"])
    assert (status, asked) == ("repeated_failure", len(STUCK[what]))


GOING_ON: dict[str, list[Step]] = {
    "other arguments": [[("bad", {"line": number})] for number in range(5)],
    "two failures": [[A_BAD]] * 2,
    "mended between two tries": [[("bad_each_time_otherwise", {})], [("good", {})]] * 4,
    "successes": [[("good", {})]] * 5,
}


@pytest.mark.parametrize("what", GOING_ON)
async def test_other_calls_go_on(store: ThreadStore, what: str) -> None:
    script = [*GOING_ON[what], "done"]
    status, asked, stored = await run(store, script)
    assert (status, asked, stored.messages[-1].text) == ("completed", len(script), "done")


async def test_call_ids_that_a_provider_uses_again_do_not_hide_it() -> None:
    same = calls(A_BAD)
    result = await Agent(model=ScriptedModel([same, same, same, "never said"]), tools=[bad]).go("go")
    assert result.status == "repeated_failure"


async def test_go_takes_the_run_up_again(store: ThreadStore) -> None:
    await run(store, [[A_BAD]] * 3)
    status, asked, stored = await run(store, ["sorry, that file is not there"])
    assert (status, asked) == ("completed", 1)
    assert len(stored.messages) == 8


async def test_steps(store: ThreadStore) -> None:
    status, asked, stored = await run(store, [[("good", {})]] * 3, max_steps=2)
    assert (status, asked) == ("step_limit", 2)
    assert [m.role for m in stored.messages] == ["user", "assistant", "tool", "assistant", "tool"]
