"""What a turn costs, counted and not timed. A change that makes turns dearer, or dearer the longer the thread, fails.

The figures are exact. One that has to change is changed here, on purpose, with the reason in the commit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from asyncpg.transaction import Transaction
from sqlalchemy import event
from sqlalchemy.engine import Engine

from narrator import Message, Thread, ThreadStore, _codec
from tests.litellm_clients import litellm_clients
from tests.model_server import ModelServer
from tyler import Agent, tool, wire
from tyler.testing import ScriptedModel, calls

__all__ = ["litellm_clients"]

ROOT = Path(__file__).parents[1]
LENGTHS = [10, 1_000]


@tool(risk="read", effect="read")
def weather(city: str) -> str:
    """The weather."""
    return f"{city}: rain"


class Cost:
    """What one block cost: statements, the bytes of text in the rows that they added, and how often functions ran."""

    def __init__(self) -> None:
        self.reads = self.writes = self.bytes_sent = 0
        self.ran: Counter[CodeType] = Counter()

    def count(self, frame: FrameType, what: str, _argument: object) -> None:
        """For sys.setprofile."""
        if what == "call":
            self.ran[frame.f_code] += 1

    def note(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        """For SQLAlchemy's event."""
        rows = parameters if many else [parameters]
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            self.writes += 1
        if statement.startswith("INSERT"):  # an UPDATE holds the turn's process id, now of four digits and now of five
            self.bytes_sent += sum(len(str(value)) for row in rows for value in row if isinstance(value, str))
        if statement.startswith(("SELECT", "WITH")):
            self.reads += 1


@contextmanager
def counted() -> Iterator[Cost]:
    """Of everything in this process while the block runs."""
    cost = Cost()
    event.listen(Engine, "after_cursor_execute", cost.note)
    before = sys.getprofile()
    threading.setprofile(cost.count)
    sys.setprofile(cost.count)
    try:
        yield cost
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
        event.remove(Engine, "after_cursor_execute", cost.note)


async def stored(store: ThreadStore, length: int) -> Thread:
    """A thread of so many messages, as it is after a conversation, with a new question at its end."""
    messages = [
        Message(id=f"{number:032}", role="user" if number % 2 else "assistant", content="what people write. " * 5)
        for number in range(length)
    ]
    thread = Thread(id=f"t{length:05}", messages=messages)
    await store.save_thread(thread)
    thread.add_message(Message(id="q" * 32, role="user", content="And now?"))
    return thread


async def turn(url: str, length: int, *script: Any) -> Cost:
    """One turn on a thread that the process has open, once everything has been loaded by a turn before."""
    async with await ThreadStore.create(url) as store:
        await Agent(model=ScriptedModel([calls(("weather", {"city": "Oslo"})), "Hi."]), tools=[weather]).go("warm")
        thread = await stored(store, length)
        agent = Agent(model=ScriptedModel(script), tools=[weather], thread_store=store)
        with counted() as cost:
            await agent.go(thread)
    return cost


def figures(cost: Cost) -> dict[str, int]:
    """`converted`: messages into the chat format; `loaded`: rows into messages."""
    return {
        "writes": cost.writes,
        "reads": cost.reads,
        "bytes": cost.bytes_sent,
        "converted": cost.ran[wire.to_chat.__code__],
        "loaded": cost.ran[_codec.decode.__code__],
    }


@pytest.mark.parametrize("length", LENGTHS)
async def test_a_plain_turn(sql_url: str, length: int) -> None:
    """The question, taking the turn, the answer, giving it back; each message is converted once."""
    cost = await turn(sql_url, length, "An answer.")
    assert figures(cost) == {"writes": 6, "reads": 0, "bytes": 95, "converted": length + 1, "loaded": 0}


@pytest.mark.parametrize("length", LENGTHS)
async def test_a_turn_with_a_tool(sql_url: str, length: int) -> None:
    """Two messages more, and a row for the life of the call; the second request converts what is new."""
    cost = await turn(sql_url, length, calls(("weather", {"city": "Oslo"})), "It rains.")
    assert figures(cost) == {"writes": 13, "reads": 1, "bytes": 463, "converted": length + 3, "loaded": 0}


async def test_a_plain_turn_begins_two_transactions(postgres_url: str) -> None:
    """For the question and for the answer; what is one statement commits by itself, with two round trips less."""
    cost = await turn(postgres_url, 10, "An answer.")
    assert cost.ran[Transaction.__init__.__code__] == 2


@pytest.mark.parametrize("length", LENGTHS)
async def test_opening_a_thread(sql_url: str, length: int) -> None:
    async with await ThreadStore.create(sql_url) as store:
        await store.save_thread(await stored(store, length))
        with counted() as cost:
            await store.get_thread(f"t{length:05}")
    assert figures(cost) == {"writes": 0, "reads": 3, "bytes": 0, "converted": 0, "loaded": length + 1}


async def test_opening_a_thread_runs_little_for_each_message(sql_url: str) -> None:
    """A thread of 10,000 opens as quickly as these few functions of ours allow; one more is seen here."""
    length = 1_000
    async with await ThreadStore.create(sql_url) as store:
        await store.save_thread(await stored(store, length))
        with counted() as cost:
            await store.get_thread(f"t{length:05}")
    ours = str(Path(_codec.__file__).parent)
    often = {code.co_name for code, times in cost.ran.items() if times > length and code.co_filename.startswith(ours)}
    assert often == {"decode", "_built", "_from_microseconds" if sql_url.startswith("sqlite") else "_aware"}


async def test_listing_loads_no_message(sql_url: str) -> None:
    async with await ThreadStore.create(sql_url) as store:
        for length in (1, 2, 300):
            await stored(store, length)
        with counted() as cost:
            found = await store.list_threads(limit=50)
    assert [summary.message_count for summary in found] == [300, 2, 1]
    assert figures(cost) == {"writes": 0, "reads": 2, "bytes": 0, "converted": 0, "loaded": 0}


async def test_the_client_of_the_model_looks_at_no_message(litellm_clients: None, model_server: ModelServer) -> None:
    """The openai package walks through what it is given, 0.16 ms a message; it is given none. And nothing of an answer
    is made into litellm's chunks, 0.4 ms each."""
    from litellm import CustomStreamWrapper

    walked = []
    await Agent(model_name="gpt-4").go("warm")
    for length in LENGTHS:
        messages = [Message(role="user" if n % 2 else "assistant", content="hi") for n in range(length)]
        with counted() as cost:
            await Agent(model_name="gpt-4").go(Thread(messages=messages))
        walked.append(sum(n for code, n in cost.ran.items() if code.co_filename.endswith("/_utils/_transform.py")))
        assert cost.ran[CustomStreamWrapper.chunk_creator.__code__] == 0
    assert walked[0] == walked[1] > 0


def test_what_a_program_imports_to_begin_with() -> None:
    """`from tyler import Agent` and an Agent with one tool: these packages besides Python's own, and no more."""
    code = (
        "import sys; from tyler import Agent, tool\n"
        "@tool\ndef f(a: int): ...\n"
        "Agent(name='a', model_name='gpt-4', tools=[f])\n"
        "own = sys.stdlib_module_names\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules if m.partition('.')[0] not in own}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    found = {name for name in json.loads(done.stdout.replace("'", '"')) if not name.startswith(("_", "sitecustomize"))}
    assert found == {
        "annotated_types",
        "narrator",
        "pydantic",
        "pydantic_core",
        "tyler",
        "typing_extensions",
        "typing_inspection",
    }
