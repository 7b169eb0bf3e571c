"""P16: no password, key, message content or metadata value in errors, reprs, logs at INFO, spans, or status."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import asyncpg
import pytest
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from narrator import Attachment, FileStore, Message, NarratorError, StoreUnavailable, Thread, ThreadStore, ToolCall
from narrator.errors import Conflict
from tests.postgres_server import PostgresServer
from tests.spans import Spans, spans
from tyler import Agent, Budget, ModelRefused, TextDelta
from tyler.model import Reasoning, Reply
from tyler.testing import ScriptedModel

__all__ = ["spans"]

SECRET = "hunter2-and-more"


def secretive(id: str = "m", **fields: object) -> Message:
    return Message(
        id=id,
        role="assistant",
        content=[{"type": "text", "text": SECRET}],
        tool_calls=[ToolCall(id="c", name="f", arguments=f'{{"key": "{SECRET}"}}')],
        metadata={"key": SECRET, "deep": [{"x": SECRET}]},
        **fields,
    )


def told(error: BaseException) -> str:
    """The whole story of an error: its text, its repr, its causes, as a log would print them."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(error)


async def test_reprs_show_no_content(store: ThreadStore) -> None:
    thread = Thread(id="t", messages=[secretive()], metadata={"key": SECRET})
    await store.save_thread(thread)
    found = await store.get_thread("t")
    [summary] = await store.list_threads()
    shown = [store, thread, found, summary, *found.messages, *found.messages[0].tool_calls, await store.status()]
    shown += [Attachment(filename="a", content=SECRET), store.for_owner("x"), store.file_store]
    for value in shown:
        assert SECRET not in repr(value)
        assert SECRET not in str(value)


async def test_conflicts_and_refusals_quote_no_content(store: ThreadStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    thread = Thread(id="t", messages=[secretive()], metadata={"key": SECRET})
    await store.save_thread(thread)
    other = await store.get_thread("t")
    other.messages[0].metadata["key"] = f"{SECRET} again"
    await store.save_thread(other)
    thread.messages[0].metadata["key"] = SECRET
    clash = Thread(id="t", messages=[Message(id="m", role="user", content=SECRET)], metadata={"key": SECRET})
    for refused in (thread, clash):
        with pytest.raises(Conflict) as conflict:
            await store.save_thread(refused)
        assert SECRET not in told(conflict.value)
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Message(role="user", content=SECRET, created_at="never"),
        lambda: Message(role="user", content=[SECRET]),
        lambda: Message(role="user", metadata={"a": {1, SECRET}}),
        lambda: Message(role="user", metadata=SECRET),
        lambda: Message(role="user", tool_calls=[SECRET]),
        lambda: Message(role="user", tool_calls=[{"id": "c", "name": 5, "arguments": SECRET}]),
        lambda: Message(role="user", attachments=[{"filename": "", "content": SECRET}]),
        lambda: Thread(messages=[SECRET]),
        lambda: Thread(metadata={"a": [object(), SECRET]}),
        lambda: Thread().add_message(SECRET),  # type: ignore[arg-type]
        lambda: Thread().add_message({"role": "user", "content": SECRET}),  # type: ignore[arg-type]
        lambda: Message(role="user").attachments.append(SECRET),  # type: ignore[arg-type]
        lambda: Message(role="user").tool_calls.append({"arguments": SECRET}),  # type: ignore[arg-type]
    ],
)
def test_values_that_are_refused_are_not_quoted(wrong) -> None:
    with pytest.raises((ValidationError, TypeError)) as refused:
        wrong()
    assert SECRET not in repr(refused.value)
    assert SECRET not in str(refused.value)


async def test_a_row_that_the_database_refuses_is_not_quoted(sql_url: str) -> None:
    rule = (
        "ALTER TABLE narrator_messages ADD CONSTRAINT rule CHECK (role <> 'tool')"
        if sql_url.startswith("postgresql")
        else "CREATE TRIGGER rule BEFORE INSERT ON narrator_messages WHEN NEW.role = 'tool' "
        "BEGIN SELECT RAISE(ABORT, 'refused by a rule'); END"
    )
    async with await ThreadStore.create(sql_url) as store:
        engine = create_async_engine(sql_url)
        async with engine.begin() as connection:
            await connection.execute(text(rule))
        await engine.dispose()
        thread = Thread(id="t", messages=[Message(role="tool", content=SECRET, metadata={"key": SECRET})])
        with pytest.raises(StoreUnavailable, match="refused") as refused:
            await store.save_thread(thread)
        assert SECRET not in told(refused.value)
        assert await store.list_threads() == []


@pytest.mark.parametrize("port", [None, 1])
async def test_the_password_is_in_no_error(
    postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture, port: int | None
) -> None:
    caplog.set_level(logging.INFO)
    url = f"postgresql+asyncpg://postgres:{SECRET}@127.0.0.1:{port or postgres_server.port}/test"
    for attempt in (ThreadStore.create, ThreadStore.initialize):
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1") as failed:
            await attempt(url)
        assert SECRET not in told(failed.value)
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://me:{SECRET}@host/db",
        f"postgresql://me:{SECRET}@host:port/db",
        f"postgresql://me:{SECRET}/@host/db",
        f"postgresql://me:{SECRET}@host",
        f"postgresql://host/db?password={SECRET}&nonsense=1",
    ],
)
async def test_a_url_that_cannot_work_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(NarratorError) as refused:
        await ThreadStore.create(url)
    assert SECRET not in told(refused.value)


async def test_status_and_logs_hold_no_password_and_no_content(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    password = postgres_url.split(":")[2].split("@", maxsplit=1)[0]
    async with await ThreadStore.create(postgres_url) as store:
        thread = Thread(id="t", messages=[secretive()], metadata={"key": SECRET})
        await store.save_thread(thread)
        connection = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
        await connection.execute("DROP TABLE narrator_messages CASCADE")
        await connection.close()
        thread.add_message(secretive("n"))
        with pytest.raises(NarratorError) as failed:
            await store.save_thread(thread)
        shown = told(failed.value) + repr(store) + caplog.text
    assert SECRET not in shown
    assert password not in shown


async def test_a_file_that_is_no_database_is_told_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(SECRET * 100)
    with pytest.raises(StoreUnavailable, match="not a SQLite database") as refused:
        await ThreadStore.create(f"sqlite:///{path}")
    assert SECRET not in told(refused.value)


async def leak(key: str) -> str:
    """A tool that is told a secret and tells it."""
    return key


async def burst(key: str) -> str:
    raise LookupError(key)


def told_in_logs(caplog: pytest.LogCaptureFixture) -> str:
    """All that a formatter could show of the records at INFO and above, their fields too."""
    return "".join(repr(vars(r)) + r.getMessage() for r in caplog.records if r.levelno >= logging.INFO)


async def test_runs_tell_logs_and_spans_no_content(
    store: ThreadStore, caplog: pytest.LogCaptureFixture, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.use_files(await FileStore.create())
    monkeypatch.delenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", raising=False)
    caplog.set_level(logging.INFO)
    arguments = f'{{"key": "{SECRET}"}}'
    asked = [
        ToolCall(id="a", name="leak", arguments=arguments),
        ToolCall(id="b", name="burst", arguments=arguments),
        ToolCall(id="c", name=SECRET, arguments=arguments),
        ToolCall(id="d", name="leak", arguments=SECRET),
    ]
    question = Message(role="user", content=SECRET, attachments=[Attachment(filename=f"{SECRET}.txt", content=SECRET)])

    def run(*script: Reply | Exception, **options: object) -> tuple[Agent, Thread]:
        agent = Agent(
            model=ScriptedModel(script), purpose=SECRET, tools=[leak, burst], thread_store=store.for_owner(SECRET)
        )
        return agent, Thread(messages=[question.model_copy(deep=True)], metadata={"key": SECRET}, title=SECRET)

    thinking = Reasoning("x", SECRET, {"signature": SECRET})
    agent, thread = run(Reply(SECRET, asked, reasoning=thinking), Reply(SECRET))
    assert (await agent.go(thread, deps=SECRET)).status == "completed"
    agent, thread = run(ModelRefused(SECRET))
    with pytest.raises(ModelRefused):
        await agent.go(thread)
    agent, thread = run(Reply(None, asked))
    assert (await agent.go(thread, budget=Budget(steps=1))).status == "step_limit"
    agent, thread = run(Reply(f"{SECRET} and more"))
    stream = agent.stream(thread)
    async for event in stream:
        if isinstance(event, TextDelta):
            break
    await stream.aclose()
    assert [r.getMessage().partition(":")[0] for r in caplog.records if r.name == "tyler"] == [
        "run started",
        "run ended",
    ] * 4
    assert SECRET not in told_in_logs(caplog)
    assert len(list(spans)) >= 4 + 5 + 8
    assert not [span.name for span in spans if SECRET in span.to_json() + repr(span.events)]
