"""Log records of runs: whose they are, in fields and in the text, at which level, and what is in none of them."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from narrator import Message, StoreUnavailable, Thread, ThreadStore, Usage
from tyler import Agent, FallbackModel, ModelUnavailable, TextDelta
from tyler.context import ContextWindow
from tyler.model import Reply, Request
from tyler.testing import ScriptedModel, calls


def said(thread_id: str) -> Thread:
    return Thread(id=thread_id, messages=[Message(role="user", content="go")])


def records(caplog: pytest.LogCaptureFixture, level: int = logging.DEBUG) -> list[logging.LogRecord]:
    return [r for r in caplog.records if r.name in ("tyler", "narrator") and r.levelno >= level]


def add(a: int, b: int) -> int:
    if a < 0:
        raise ValueError("too small")
    return a + b


async def test_a_run_is_two_lines_at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    usage = Usage(input_tokens=100, output_tokens=20, cost_usd=0.25)
    script = [Reply(tool_calls=calls(("add", {"a": 1, "b": 2})).tool_calls, usage=usage), Reply("3", usage=usage)]
    await Agent(name="adder", model=ScriptedModel(script), tools=[add]).go(said("t-1"))
    start, end = records(caplog)
    run_id = start.run_id  # type: ignore[attr-defined]
    assert start.getMessage() == (
        f"run started: agent 'adder', model 'scripted' [run_id='{run_id}' thread_id='t-1' step=0]"
    )
    seconds = end.seconds  # type: ignore[attr-defined]
    assert end.getMessage() == (
        f"run ended: completed, 2 steps, 200 + 40 tokens, 0.500000 USD, {seconds:.3f} s"
        f" [run_id='{run_id}' thread_id='t-1' step=2]"
    )
    fields = {"run_id": run_id, "thread_id": "t-1", "step": 2, "status": "completed", "steps": 2, "cost_usd": 0.5}
    assert vars(end).items() >= {**fields, "input_tokens": 200, "output_tokens": 40}.items()
    assert {record.levelno for record in (start, end)} == {logging.INFO}
    assert {record.filename for record in (start, end)} == {"_tracing.py"}


async def test_steps_and_tools_are_told_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="tyler")
    script = [calls(("add", {"a": 1, "b": 2}), ("add", {"a": -1, "b": 2}), ("made up", {})), "3"]
    await Agent(model=ScriptedModel(script), tools=[add]).go(said("t"))
    texts = [record.getMessage().partition(" [")[0].partition(" after ")[0] for record in records(caplog)]
    assert texts[1:3] == ["asking model 'scripted': 1 messages", "the model answered: 3 tool calls, 0 + 0 tokens"]
    assert sorted(texts[3:9]) == [
        "tool (unknown) failed (unknown_tool)",
        "tool (unknown) started",
        "tool add ended",
        "tool add failed (ValueError)",
        "tool add started",
        "tool add started",
    ]
    assert texts[9:11] == ["asking model 'scripted': 5 messages", "the model answered: 0 tool calls, 0 + 0 tokens"]
    assert [record.step for record in records(caplog)] == [0, *[1] * 8, 2, 2, 2]  # type: ignore[attr-defined]
    assert all(record.getMessage().endswith("]") for record in records(caplog))


async def test_how_a_run_ends_is_told_and_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def ends() -> str:
        ended = records(caplog, logging.INFO)[-1]
        return ended.getMessage().removeprefix("run ended: ").partition(",")[0]

    with pytest.raises(ModelUnavailable):
        await Agent(model=ScriptedModel([ModelUnavailable("away")])).go("go")
    assert ends() == "error ModelUnavailable"
    stream = Agent(model=ScriptedModel(["one two three"])).stream("go")
    async for event in stream:
        if isinstance(event, TextDelta):
            break
    await stream.aclose()
    assert ends() == "abandoned"
    task = asyncio.create_task(Agent(model=ScriptedModel(["late"], delay_s=60)).go("go"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends() == "cancelled"
    async with await ThreadStore.create() as store:
        agent = Agent(model=ScriptedModel(["hi"]), thread_store=store)
        for how in ("completed", "completed (replayed)"):
            await agent.go(Thread(id="t", messages=[Message(id="evt", role="user", content="go")]))
            assert ends() == how
    assert records(caplog)[-1].getMessage().startswith("run ended: completed (replayed), 0 steps, 0 + 0 tokens, 0.0")
    assert records(caplog, logging.WARNING) == []


async def test_ids_of_many_runs_at_once_do_not_mix(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="tyler")

    async def run(number: int) -> None:
        agent = Agent(name=f"a{number}", model=ScriptedModel([calls(("add", {"a": 1, "b": 2})), "3"]), tools=[add])
        await agent.go(said(f"t{number}"))

    await asyncio.gather(*(run(number) for number in range(50)))
    found: dict[str, list[logging.LogRecord]] = {}
    for record in records(caplog):
        found.setdefault(record.run_id, []).append(record)  # type: ignore[attr-defined]
    assert len(found) == 50
    for mine in found.values():
        assert len({record.thread_id for record in mine}) == 1  # type: ignore[attr-defined]
        assert [record.step for record in mine] == [0, 1, 1, 1, 1, 2, 2, 2]  # type: ignore[attr-defined]
        assert f"agent 'a{mine[0].thread_id[1:]}'" in mine[0].getMessage()  # type: ignore[attr-defined]


async def test_narrators_records_in_a_run_have_its_ids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def lose_the_database() -> None:
        os.rename(tmp_path / "c.db", tmp_path / "away.db")

    async with await ThreadStore.create(f"sqlite:///{tmp_path}/c.db") as store:
        model = ScriptedModel([calls(("lose_the_database", {}))])
        agent = Agent(model=model, tools=[lose_the_database], thread_store=store)
        with pytest.raises(StoreUnavailable):
            await agent.go(said("t"))
        os.rename(tmp_path / "away.db", tmp_path / "c.db")
    [warning] = records(caplog, logging.WARNING)
    assert (warning.name, warning.filename) == ("narrator", "turn.py")
    assert warning.getMessage().startswith("the turn could not be given back; it expires by itself [run_id='")
    assert (warning.thread_id, warning.step) == ("t", 1)  # type: ignore[attr-defined]


async def test_warnings_of_the_models_side_have_the_runs_ids(caplog: pytest.LogCaptureFixture) -> None:
    window = ContextWindow(max_tokens=200, summarize=ScriptedModel([ModelUnavailable("away")]))
    first, second = ScriptedModel([ModelUnavailable("away")]), ScriptedModel(["one two three"])
    agent = Agent(model=first, fallback_models=[second], context=window)
    old = [Message(role=role, content="word " * 100) for role in ("user", "assistant") * 3]
    await agent.go(Thread(id="t", messages=[*old, Message(role="user", content="go")]))
    told = [(r.getMessage().partition(" ")[0], r.thread_id, r.step) for r in records(caplog, logging.WARNING)]  # type: ignore[attr-defined]
    assert told == [("no", "t", 1), ("ModelUnavailable", "t", 1)]


async def test_what_the_reader_of_a_stream_does_between_events_is_not_the_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    agent = Agent(model=ScriptedModel([calls(("add", {"a": 1, "b": 2})), "one two"]), tools=[add])
    async for _ in agent.stream(said("t")):
        mine = FallbackModel([ScriptedModel([ModelUnavailable("away")]), ScriptedModel(["hi"])])
        assert [piece async for piece in mine.stream(Request([]))]
        assert not hasattr(caplog.records[-1], "run_id")
        assert caplog.records[-1].getMessage().endswith(" is asked")


async def test_no_name_can_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="tyler")
    id = "t%s%d {0} '"
    await Agent(name="a\nrun ended: %s", model=ScriptedModel(["hi"])).go(said(id))
    for record in records(caplog):
        assert "\n" not in record.getMessage()
        assert repr(id) in record.getMessage()
        assert record.thread_id == id  # type: ignore[attr-defined]


def test_no_handler_is_set_up() -> None:
    Agent(model=ScriptedModel(["hi"])).go_sync("go")
    for name in ("tyler", "narrator"):
        logger = logging.getLogger(name)
        assert (logger.handlers, logger.level, logger.propagate) == ([], logging.NOTSET, True)
