"""The conversation that the fault tests interrupt, and the rules that it must obey whatever happened.

User message with a file -> two parallel tools (one with an effect that must happen at most once) -> one further
tool -> the answer. What happens leaves lines in a journal, one file that several processes append to.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from narrator import Attachment, FileStore, Message, Thread, ThreadStore
from tests.model_server.rules import violations
from tyler import Agent, tool
from tyler._tool_calls import UNKNOWN_OUTCOME
from tyler.model import Reply, Request
from tyler.testing import ScriptedModel, calls
from tyler.tools import ToolContext

UPLOAD = b"quarter,amount\n" + b"Q1,100\n" * 3_000
REPORT = b"%report\n" + bytes(range(256)) * 40
ROLES = ["user", "assistant", "tool", "tool", "assistant", "tool", "assistant"]


class Journal:
    """Lines that survive the process which writes them, in the order of writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()  # tools at once need one descriptor, not two, where few are left

    def note(self, kind: str, what: str = "") -> None:
        """Append one line in one system call."""
        with self._writing:
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            try:
                os.write(fd, f"{kind} {what}\n".encode())
            finally:
                os.close(fd)

    def all(self, kind: str) -> list[str]:
        """What was noted under this word."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [what for word, _, what in (line.partition(" ") for line in lines) if word == kind]


@asynccontextmanager
async def opened(url: str, files: Path, kind: type[ThreadStore] = ThreadStore) -> AsyncIterator[ThreadStore]:
    """The store of a worker, with its files on the disk."""
    async with await FileStore.create(files) as file_store, await kind.create(url, file_store=file_store) as store:
        yield store


def agent_of(store: ThreadStore, journal: Journal, thinks_s: float = 0) -> Agent:
    """An agent that plays the conversation; each model call and each effect of a tool is noted."""

    @tool(effect="once")
    def charge(order: str, ctx: ToolContext) -> str:
        """Charge the customer."""
        journal.note("charge", ctx.idempotency_key)
        return f"charged {order}"

    @tool(effect="read")
    async def look_up(order: str, ctx: ToolContext) -> Attachment:
        """Look the order up."""
        journal.note("look_up", ctx.idempotency_key)
        return Attachment(filename="report.bin", content=REPORT)

    @tool(effect="idempotent")
    async def ship(order: str, ctx: ToolContext) -> str:
        """Ship the order."""
        journal.note("ship", ctx.idempotency_key)
        return f"shipped {order}"

    def decide(request: Request) -> str | Reply:
        journal.note("model")
        return next_line(request)

    return Agent(
        model=ScriptedModel([decide] * 500, delay_s=thinks_s), tools=[charge, look_up, ship], thread_store=store
    )


def next_line(request: Request) -> str | Reply:
    """What the model says next; AssertionError if a hosted model would have refused the request."""
    refused = violations({"model": "any", "messages": request.messages, "tools": request.tools})
    assert not refused, refused
    last = max(i for i, m in enumerate(request.messages) if m["role"] == "user")
    results = sum(m["role"] == "tool" for m in request.messages[last:])
    order = text_of(request.messages[last])
    if results == 0:
        return calls(("charge", {"order": order}), ("look_up", {"order": order}))
    return calls(("ship", {"order": order})) if results == 2 else f"done: {order}"


def text_of(chat: dict[str, Any]) -> str:
    """The first text of a chat message."""
    content = chat["content"]
    return content if isinstance(content, str) else str(content[0]["text"])


def order(event_id: str) -> Message:
    """What the webhook delivers under this id, made anew for each delivery."""
    message = Message(id=event_id, role="user", content=f"order {event_id}")
    message.add_attachment(Attachment(filename="order.csv", content=UPLOAD, mime_type="text/csv"))
    return message


def assert_answered(thread: Thread, event_id: str, after: int = 0) -> int:
    """The event stands at place `after` or behind it, with its own whole conversation right behind it; where."""
    ids = [message.id for message in thread.messages]
    place = ids.index(event_id, after)
    own = thread.messages[place : place + len(ROLES)]
    assert [message.role for message in own] == ROLES
    first, second = own[1], own[4]
    assert [call.name for call in first.tool_calls] == ["charge", "look_up"]
    assert [m.tool_call_id for m in own[2:4]] == [call.id for call in first.tool_calls]
    assert [m.tool_call_id for m in own[5:6]] == [call.id for call in second.tool_calls]
    assert own[2].text in (f"charged order {event_id}", UNKNOWN_OUTCOME)
    assert own[3].attachments[0].size_bytes == len(REPORT)
    assert own[5].text == f"shipped order {event_id}"
    assert own[6].text == f"done: order {event_id}"
    return place


async def assert_sound(store: ThreadStore, thread: Thread, journal: Journal) -> None:
    """The promises that hold for any thread after any accident."""
    ids = [message.id for message in thread.messages]
    assert not [i for i, count in Counter(ids).items() if count > 1]
    own = [key for key in journal.all("charge") if key.startswith(f"{thread.id}/")]
    assert len(own) == len(set(own)), "a `once` tool had its effect twice"
    charged = [m for m in thread.messages if m.role == "tool" and m.text.startswith("charged")]
    assert len(charged) <= len(own)
    assert store.file_store is not None
    for attachment in (a for message in thread.messages for a in message.attachments):
        content = await store.file_store.get(attachment.file_id)
        assert content == (REPORT if attachment.filename == "report.bin" else UPLOAD)
