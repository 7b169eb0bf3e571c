"""A SQLite file and a PostgreSQL with 1,000,000 messages in 100,000 threads of 1,000 owners, as saves would leave them.

The rows are the store's own codec's, loaded in bulk; one thread is saved by the store beside them, and compared. Ten
threads in a row of each owner would lie together; here 1,000 conversations go on at a time, as in life, so a thread's
messages lie apart. Bulk loading leaves no dead rows and full indexes: a database that has grown by saves is larger.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from benchmarks.harness.case import Setting
from benchmarks.harness.databases import TEXT, Database, both_databases
from narrator import Message, Thread, ToolCall, Usage
from narrator._backend import metadata_digest
from narrator._codec import StoredMessage, encode
from narrator._positions import after_tail
from narrator._values import to_json, utc_now
from narrator.errors import ThreadNotFound

SHARED = "large"  # the cases that use one filled database, in the order of running
AT_ONCE = 1_000  # conversations whose messages are mixed
DAYS = 100  # the threads are spread over so many
HEAD = ("key", "owner", "id", "title", "created_at", "updated_at", "message_count")
THREAD = (*HEAD, "tail", "revision", "reshaped", "last_write", "fence")
MESSAGE = ("thread", *StoredMessage._fields)
CALL = ("thread", "message", "call_id", "state", "started_at", "finished_at")


@dataclass(frozen=True)
class Size:
    """How much there is."""

    threads: int
    owners: int
    customers: int  # values of the metadata entry `customer`: 100 let 1 % of the threads pass
    tickets: int  # and of `ticket`: 10,000 let 0.01 % pass

    def id(self, n: int) -> str:
        """Of the n-th thread."""
        return f"thread-{n:07}"

    def owner(self, n: int) -> str:
        """Of the n-th thread."""
        return f"owner-{n % self.owners:04}"

    def metadata(self, n: int) -> dict[str, Any]:
        """Of the n-th thread; owners and times have all customers alike."""
        return {
            "customer": (n // self.owners * 37 + n) % self.customers,
            "ticket": n * 7_919 % self.tickets,
            "channel": "mail",
        }

    @property
    def messages(self) -> int:
        """In all."""
        return self.threads * len(conversation())


FULL = Size(100_000, 1_000, 100, 10_000)
TINY = Size(100, 10, 10, 100)


def conversation() -> list[Message]:
    """What every thread holds: ten messages, with one tool call."""
    call = ToolCall(id="call_0", name="order_status", arguments='{"order": 7}')
    usage = Usage(input_tokens=412, output_tokens=38)
    asks = Message(role="assistant", content=None, tool_calls=[call], usage=usage)
    result = Message(role="tool", tool_call_id=call.id, name=call.name, content="order 7 is in the post")
    question, answer = Message(role="user", content=TEXT), Message(role="assistant", content=TEXT, usage=usage)
    return [question, asks, result, answer, *(question, answer) * 3]


@contextlib.asynccontextmanager
async def filled_databases(setting: Setting) -> AsyncIterator[tuple[Size, list[Database]]]:
    """Both, filled by whoever comes first."""
    size = setting.size(FULL, TINY)
    async with both_databases(setting) as databases:
        for database in databases:
            if not await database.store.list_threads(limit=1):
                await fill(database, size)
        yield size, databases


async def fill(database: Database, size: Size) -> None:
    """All tables that runs write, files and waiting runs aside, and a look at what came of it."""
    rows = _Rows(size, database.name == "PostgreSQL")
    await database.fill("narrator_threads", THREAD, rows.threads())
    if database.name == "PostgreSQL":  # SQLite goes on from the largest key by itself
        await database.fetch("SELECT setval(pg_get_serial_sequence('narrator_threads', 'key'), $1)", size.threads)
    metadata = ("thread", "name", "value", "digest")
    await database.fill("narrator_thread_metadata", metadata, rows.metadata())
    await database.fill("narrator_messages", MESSAGE, rows.messages())
    await database.fill("narrator_calls", CALL, rows.calls())
    await _compare(database, size, size.threads // 2)


class _Rows:
    """The rows of each table, in the order in which they would have come."""

    def __init__(self, size: Size, postgres: bool) -> None:
        self._size = size
        self._postgres = postgres
        self._pattern = [encode(message, revision=1) for message in conversation()]
        self._positions = after_tail(0, len(self._pattern))
        self._begin = utc_now() - timedelta(days=DAYS)
        self._step = timedelta(days=DAYS) / size.threads

    def threads(self) -> Iterator[tuple[Any, ...]]:
        count, tail = len(self._pattern), self._positions[-1]
        for n in range(self._size.threads):
            at = self._at(n)
            yield n + 1, self._size.owner(n), self._size.id(n), None, at, at, count, tail, 1, 0, f"{n:032}", 0

    def metadata(self) -> Iterator[tuple[Any, ...]]:
        for n in range(self._size.threads):
            for name, value in self._size.metadata(n).items():
                text = to_json(value)
                yield n + 1, name, text, metadata_digest(name, text)

    def messages(self) -> Iterator[tuple[Any, ...]]:
        for together in self._together():
            for place, row in enumerate(self._pattern):
                for n in together:
                    id, position = self._message_id(n, place), self._positions[place]
                    yield n + 1, *row._replace(id=id, position=position, created_at=self._at(n))

    def calls(self) -> Iterator[tuple[Any, ...]]:
        for n in range(self._size.threads):
            yield n + 1, self._message_id(n, 1), "call_0", "finished", self._at(n), self._at(n)

    def _together(self) -> Iterable[range]:
        threads = self._size.threads
        return (range(start, min(start + AT_ONCE, threads)) for start in range(0, threads, AT_ONCE))

    def _message_id(self, n: int, place: int) -> str:
        # As scattered as random ones, and the same in each run: the factor is odd.
        return f"{(n * 16 + place + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"

    def _at(self, n: int) -> Any:
        at: datetime = self._begin + n * self._step
        return at if self._postgres else int(at.timestamp() * 1_000_000)


async def _compare(database: Database, size: Size, n: int) -> None:
    """One thread, read back through the store, is what the store itself would have saved."""
    store = database.store.for_owner(size.owner(n))
    read = await store.get_thread(size.id(n))
    saved = Thread(id="saved by the store", owner=size.owner(n), metadata=size.metadata(n))
    for message in conversation():
        saved.add_message(message.model_copy(update={"id": f"saved {len(saved.messages)}"}))
    await store.save_thread(saved)
    again = await store.get_thread(saved.id)
    if (there := _told(read)) != (ought := _told(again)):
        raise AssertionError(f"{database.name} was filled wrongly: {size.id(n)!r} is\n{there}\nand not\n{ought}")
    columns = "owner, message_count, tail, revision, reshaped, fence"
    heads = [
        tuple((await database.fetch(f"SELECT {columns} FROM narrator_threads WHERE id = {database.mark}", id))[0])
        for id in (read.id, again.id)
    ]
    if heads[0] != heads[1]:
        raise AssertionError(f"{database.name} was filled wrongly: a thread's row has {heads[0]}, not {heads[1]}")
    await store.delete_thread(saved.id)
    with contextlib.suppress(ThreadNotFound):
        await store.get_thread(saved.id)
        raise AssertionError(f"{saved!r} was deleted and is there")


def _told(thread: Thread) -> list[Any]:
    """All that is the same in two threads of one conversation."""
    told: list[Any] = [message.model_dump(exclude={"id", "created_at"}) for message in thread.messages]
    return [*told, {name: value for name, value in thread.metadata.items() if name != "last_updated"}]
