"""Random histories of saves, edits, moves, stale copies and deletions, on every backend, against plain dicts.

The model states the contract (promises P2, P3, P4, P11, P15) in a page of code: what a save of this object
must leave stored, or which error it must raise and leave everything as it was.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from narrator import (
    Message,
    MessageConflict,
    OwnerMismatch,
    Thread,
    ThreadConflict,
    ThreadNotFound,
    ThreadStore,
    ToolCall,
    Usage,
)

T = TypeVar("T")
Plain = dict[str, Any]
SAME = ("id", "role", "content", "name", "tool_calls", "tool_call_id", "attachments")
NAMES = st.sampled_from(["a", "b", "ключ"])
VALUES = st.sampled_from([None, True, 0, 1, 1.0, 5, "5", "x", {"a": 1, "b": [2]}, {"b": [2.0], "a": 1}, [1], []])
PICK = st.integers(0, 11)
numbers = itertools.count()


def plain(thread: Thread) -> Plain:
    metadata = {name: value for name, value in thread.metadata.items() if name != "last_updated"}
    messages = [message.model_dump() for message in thread.messages]
    return copy.deepcopy({"title": thread.title, "metadata": metadata, "messages": messages})


def exact(value: Any) -> Any:
    """A form in which 5 is 5.0, but neither is "5" nor True."""
    if isinstance(value, dict):
        return {name: exact(item) for name, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return (isinstance(value, bool), value)


@dataclass
class Row:
    """What must be stored of one thread."""

    born: int  # tells a thread from an earlier one of the same id
    revision: int
    title: str | None = None
    metadata: Plain = field(default_factory=dict)
    messages: list[Plain] = field(default_factory=list)

    def as_plain(self) -> Plain:
        return copy.deepcopy({"title": self.title, "metadata": self.metadata, "messages": self.messages})


@dataclass
class Holder:
    """A Thread object, what it last saw stored, and the ids that it edited since."""

    thread: Thread
    seen: Row | None = None
    touched: set[str] = field(default_factory=set)


def saved(stored: Row | None, holder: Holder) -> Row:
    """What is stored after this object is saved; raises what the save must raise."""
    seen, now = holder.seen, plain(holder.thread)
    messages = unique(now["messages"])
    if seen is not None and (stored is None or stored.born != seen.born):
        raise ThreadConflict
    after = copy.deepcopy(stored) if stored else Row(next(numbers), 0)
    before = {message["id"]: message for message in seen.messages} if seen else {}
    ids = [message["id"] for message in messages]
    kept = [id for id in ids if id in before]
    gone = [id for id in before if id not in ids]
    edited = [m for m in messages if m["id"] in before and (m["id"] in holder.touched or m != before[m["id"]])]
    moved = kept != [id for id in before if id in ids]
    if gone or edited or moved:
        assert seen is not None
        if after.revision != seen.revision:
            raise ThreadConflict
        after.messages = messages
    else:
        add(after, messages, before)
    old = seen.metadata if seen else {}
    changed = {k: v for k, v in now["metadata"].items() if k not in old or json_of(old[k]) != json_of(v)}
    after.metadata |= changed
    dropped = old.keys() - now["metadata"].keys()
    after.metadata = {k: v for k, v in after.metadata.items() if k not in dropped}
    retitled = now["title"] != (seen.title if seen else None)
    if retitled:
        after.title = now["title"]
    fresh = stored is None or len(after.messages) != len(stored.messages)
    if fresh or gone or edited or moved or changed or dropped or retitled:
        after.revision += 1
    elif seen is None and not messages:
        after.revision += 1  # a save of an empty thread made in code still counts as a save
    return after


def add(after: Row, messages: list[Plain], before: dict[str, Plain]) -> None:
    """New messages at the end are appended; others are put right behind the one that they follow."""
    runs: list[tuple[str | None, list[Plain]]] = [(None, [])]
    for message in messages:
        if message["id"] in before:
            runs.append((message["id"], []))
        else:
            runs[-1][1].append(message)
    last = runs.pop()
    for message in last[1]:
        if is_new(after, message):
            after.messages.append(message)
    for anchor, run in runs:
        ids = [message["id"] for message in after.messages]
        if run and anchor is not None and anchor not in ids:
            raise ThreadConflict
        place = 0 if anchor is None or not run else ids.index(anchor) + 1
        fresh = [message for message in run if is_new(after, message)]
        after.messages[place:place] = fresh


def is_new(after: Row, message: Plain) -> bool:
    there = next((m for m in after.messages if m["id"] == message["id"]), None)
    if there is not None and any(there[name] != message[name] for name in SAME):
        raise MessageConflict
    return there is None


def unique(messages: list[Plain]) -> list[Plain]:
    first: dict[str, Plain] = {}
    for message in messages:
        there = first.setdefault(message["id"], message)
        if any(there[name] != message[name] for name in SAME):
            raise MessageConflict
    return list(first.values())


def json_of(value: Any) -> str:
    return repr(value)


class Conversations(RuleBasedStateMachine):
    """Three threads of one owner, and up to six objects that hold them, some of them stale."""

    def __init__(self, run: Callable[[Awaitable[Any]], Any], root: ThreadStore) -> None:
        super().__init__()
        self.wait = run
        self.root = root
        self.owner = f"owner {next(numbers)}"
        self.store = root.for_owner(self.owner)
        self.rows: dict[str, Row] = {}
        self.holders: list[Holder] = []
        self.ids = [f"{self.owner}/{name}" for name in "xyz"]

    def pick(self, n: int) -> Holder:
        return self.holders[n % len(self.holders)]

    def hold(self, holder: Holder) -> None:
        self.holders = [*self.holders[-5:], holder]

    def changed(self, message: Message) -> None:
        for holder in self.holders:
            if any(m is message for m in holder.thread.messages):
                holder.touched.add(message.id)

    # Objects come and go.

    @rule(n=PICK, title=st.sampled_from([None, "made"]))
    def make(self, n: int, title: str | None) -> None:
        self.hold(Holder(Thread(id=self.ids[n % 3], title=title, owner=self.owner if n % 2 else None)))

    @rule(n=PICK, whole=st.booleans())
    def load(self, n: int, whole: bool) -> None:
        thread_id, store = self.ids[n % 3], self.root if whole else self.store
        row = self.rows.get(thread_id)
        if row is None:
            with pytest.raises(ThreadNotFound):
                self.wait(store.get_thread(thread_id))
            return
        thread = self.wait(store.get_thread(thread_id))
        assert plain(thread) == row.as_plain()
        assert thread.owner == self.owner
        self.hold(Holder(thread, copy.deepcopy(row)))

    # Changes of an object.

    @precondition(lambda self: self.holders)
    @rule(n=PICK, count=st.integers(1, 3), values=VALUES)
    def append(self, n: int, count: int, values: Any) -> None:
        for _ in range(count):
            number = next(numbers)
            message = Message(id=f"m{number}", role="user", content=f"text {number}", metadata={"v": values})
            self.pick(n).thread.add_message(message)

    @precondition(lambda self: self.holders)
    @rule(n=PICK, at=PICK)
    def append_a_tool_call(self, n: int, at: int) -> None:
        number = next(numbers)
        call = ToolCall(id=f"c{number}", name="tool", arguments='{"a": 1}')
        usage = Usage(input_tokens=number, cost_usd=0.25)
        asks = Message(id=f"m{number}", role="assistant", tool_calls=[call], usage=usage)
        answer = Message(id=f"m{number}r", role="tool", content="r", tool_call_id=call.id, name="tool")
        messages = self.pick(n).thread.messages
        place = at % (len(messages) + 1)
        messages[place:place] = [asks, answer]

    @precondition(lambda self: self.holders)
    @rule(n=PICK, at=PICK)
    def insert(self, n: int, at: int) -> None:
        messages = self.pick(n).thread.messages
        number = next(numbers)
        messages.insert(at % (len(messages) + 1), Message(id=f"m{number}", role="system", content=f"text {number}"))

    @precondition(lambda self: self.holders)
    @rule(n=PICK, other=PICK, at=PICK, same=st.booleans(), place=PICK)
    def add_a_known_message(self, n: int, other: int, at: int, same: bool, place: int) -> None:
        """A message of some object again: a new object, with other metadata, and perhaps other content."""
        source, target = self.pick(other).thread.messages, self.pick(n).thread.messages
        if source:
            known = source[at % len(source)].model_copy(deep=True)
            again = Message(**{**known.model_dump(), "metadata": {"again": True}, "created_at": datetime.now(UTC)})
            if not same:
                again.content = "other content"
            target.insert(len(target) if place % 3 else place % (len(target) + 1), again)

    @precondition(lambda self: self.holders)
    @rule(n=PICK, other=PICK, at=PICK)
    def add_the_same_object(self, n: int, other: int, at: int) -> None:
        source = self.pick(other).thread.messages
        if source:
            self.pick(n).thread.add_message(source[at % len(source)])

    @precondition(lambda self: self.holders)
    @rule(n=PICK, at=PICK, how=st.sampled_from(["text", "parts", "in parts", "metadata", "deep", "name", "equal"]))
    def edit(self, n: int, at: int, how: str) -> None:
        messages = self.pick(n).thread.messages
        if not messages:
            return
        message = messages[at % len(messages)]
        number = next(numbers)
        if how == "in parts" and isinstance(message.content, list):
            message.content[0]["text"] = f"edited {number}"
        elif how in ("parts", "in parts"):
            message.content = [{"type": "text", "text": f"part {number}"}]
        elif how == "deep" and "deep" in message.metadata:
            message.metadata["deep"]["list"].append(number)
        elif how in ("metadata", "deep"):
            message.metadata["deep"] = {"list": [number]}
        elif how == "name":
            message.name = f"name {number}"
        else:
            message.content = message.content if how == "equal" else f"edited {number}"
        self.changed(message)

    @precondition(lambda self: self.holders)
    @rule(n=PICK, at=PICK, how=st.sampled_from(["one", "tail", "all"]))
    def remove(self, n: int, at: int, how: str) -> None:
        messages = self.pick(n).thread.messages
        place = at % (len(messages) + 1)
        del messages[slice(place, place + 1) if how == "one" else slice(place, None) if how == "tail" else slice(None)]

    @precondition(lambda self: self.holders)
    @rule(n=PICK, at=PICK, to=PICK)
    def move(self, n: int, at: int, to: int) -> None:
        messages = self.pick(n).thread.messages
        if messages:
            messages.insert(to % len(messages), messages.pop(at % len(messages)))

    @precondition(lambda self: self.holders)
    @rule(n=PICK, how=st.sampled_from(["same", "copies", "reversed"]))
    def replace(self, n: int, how: str) -> None:
        thread = self.pick(n).thread
        messages = [m.model_copy(deep=True) for m in thread.messages] if how == "copies" else thread.messages
        thread.messages = messages[::-1] if how == "reversed" else list(messages)

    @precondition(lambda self: self.holders)
    @rule(n=PICK, name=NAMES, value=VALUES, how=st.sampled_from(["set", "drop", "title", "last_updated"]))
    def describe(self, n: int, name: str, value: Any, how: str) -> None:
        thread = self.pick(n).thread
        if how == "title":
            thread.title = None if value is None else str(value)
        elif how == "last_updated":
            thread.metadata["last_updated"] = "never mind"
        elif how == "drop":
            thread.metadata.pop(name, None)
        else:
            thread.metadata[name] = value

    # What reaches the store.

    @precondition(lambda self: self.holders)
    @rule(n=PICK, whole=st.booleans())
    def save(self, n: int, whole: bool) -> None:
        holder = self.pick(n)
        thread, store = holder.thread, self.root if whole and holder.thread.owner else self.store
        row, before, owner = self.rows.get(thread.id), plain(thread), thread.owner
        try:
            expected = saved(row, holder)
        except (ThreadConflict, MessageConflict) as refusal:
            # A copy without changes of its own learns from the read that the thread is gone.
            kind = (ThreadConflict, ThreadNotFound) if isinstance(refusal, ThreadConflict) else MessageConflict
            with pytest.raises(kind):
                self.wait(store.save_thread(thread))
            assert (plain(thread), thread.owner) == (before, owner)
            self.check(thread.id)
            return
        self.wait(store.save_thread(thread))
        self.rows[thread.id] = expected
        holder.seen, holder.touched = copy.deepcopy(expected), set()
        stored = self.check(thread.id)
        assert stored is not None
        assert plain(thread) == expected.as_plain()
        assert thread.model_dump() == stored.model_dump()

    @rule(n=PICK, whole=st.booleans())
    def delete(self, n: int, whole: bool) -> None:
        thread_id = self.ids[n % 3]
        assert self.wait((self.root if whole else self.store).delete_thread(thread_id)) == (thread_id in self.rows)
        self.rows.pop(thread_id, None)
        self.check(thread_id)

    @rule(n=PICK)
    def another_owner_is_kept_out(self, n: int) -> None:
        other, thread_id = self.root.for_owner(f"not {self.owner}"), self.ids[n % 3]
        with pytest.raises(ThreadNotFound):
            self.wait(other.get_thread(thread_id))
        assert not self.wait(other.delete_thread(thread_id))
        if self.holders and (thread := self.pick(n).thread).owner:
            with pytest.raises(OwnerMismatch):
                self.wait(other.save_thread(thread))
        self.check(thread_id)

    @rule(limit=st.integers(1, 3), name=NAMES, value=VALUES, filtered=st.booleans())
    def list(self, limit: int, name: str, value: Any, filtered: bool) -> None:
        metadata = {name: value} if filtered else {}
        found = []
        while page := self.wait(
            self.store.list_threads(limit=limit, before=found[-1] if found else None, metadata=metadata)
        ):
            assert len(page) <= limit
            found += page
        wanted = {
            id: row
            for id, row in self.rows.items()
            if not filtered or (name in row.metadata and exact(row.metadata[name]) == exact(value))
        }
        assert sorted(summary.id for summary in found) == sorted(wanted)
        assert found == sorted(found, key=lambda s: (s.updated_at, s._key), reverse=True)
        for summary in found:
            row = wanted[summary.id]
            assert (summary.title, summary.message_count) == (row.title, len(row.messages))
            assert summary.metadata == row.metadata | {
                "last_updated": summary.updated_at.isoformat("T", "microseconds")
            }
        if found:
            middle = found[len(found) // 2]
            older = self.wait(self.store.list_threads(updated_before=middle.updated_at, metadata=metadata))
            assert older == [summary for summary in found if summary.updated_at < middle.updated_at]

    def check(self, thread_id: str) -> Thread | None:
        """What is stored is what the model says."""
        row = self.rows.get(thread_id)
        if row is None:
            with pytest.raises(ThreadNotFound):
                self.wait(self.store.get_thread(thread_id))
            return None
        thread: Thread = self.wait(self.store.get_thread(thread_id))
        assert plain(thread) == row.as_plain()
        return thread

    @invariant()
    def others_are_untouched(self) -> None:
        found = self.wait(self.store.list_threads())
        assert {s.id: s.message_count for s in found} == {id: len(row.messages) for id, row in self.rows.items()}

    def teardown(self) -> None:
        for thread_id in self.ids:
            self.check(thread_id)
            self.wait(self.root.delete_thread(thread_id))


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Callable[[], Conversations]]]:
    """The backend's name, and what makes a machine on one store that all examples share."""
    urls = {"memory": lambda: None, "sqlite": lambda: f"sqlite:///{tmp_path}/model.db"}
    urls["postgresql"] = lambda: request.getfixturevalue("postgres_url")
    url = urls[request.param]()
    with asyncio.Runner() as runner:

        def run(awaitable: Awaitable[T]) -> T:
            async def awaited() -> T:
                return await awaitable

            return runner.run(awaited())

        root = run(ThreadStore.create(url))
        yield request.param, lambda: Conversations(run, root)
        run(root.close())


def play(machine: Callable[[], Conversations], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=False,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        ),
    )


def test_stored_threads_are_those_of_the_model(database: tuple[str, Callable[[], Conversations]]) -> None:
    name, machine = database
    play(machine, {"memory": 80, "sqlite": 20, "postgresql": 15}[name], 30)


@pytest.mark.deep
@pytest.mark.timeout(3600)
def test_stored_threads_are_those_of_the_model_in_thousands_of_histories(
    database: tuple[str, Callable[[], Conversations]],
) -> None:
    name, machine = database
    play(machine, {"memory": 4_000, "sqlite": 2_000, "postgresql": 1_000}[name], 50)
