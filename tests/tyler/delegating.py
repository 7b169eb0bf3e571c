"""What the tests of delegation share: a researcher to ask, a caller that asks it, and a shop with one tool."""

from typing import Any

from narrator import Message, Thread, ThreadStore
from tests.model_server import violations
from tyler import (
    Agent,
    Tool,
    ToolContext,
    tool,
)
from tyler.model import Reply, Request
from tyler.testing import Line, ScriptedModel, calls
from tyler.wire import to_chat


def asked(id: str = "parent", owner: str | None = None) -> Thread:
    return Thread(id=id, owner=owner, messages=[Message(role="user", content="Find it out")])


def researcher(*script: Line, **options: Any) -> Agent:
    return Agent("researcher", model=ScriptedModel(script), **options)


def asking(*tasks: str, text: str = "Done.") -> ScriptedModel:
    return ScriptedModel([calls(*(("ask_researcher", {"task": task}) for task in tasks)), text])


def results(thread: Thread) -> list[str]:
    return [message.text for message in thread.messages if message.role == "tool"]


def valid(thread: Thread) -> bool:
    return violations({"model": "m", "messages": [to_chat(message) for message in thread.messages]}) == []


async def children(store: ThreadStore, parent: str = "parent") -> list[Thread]:
    found = await store.list_threads(metadata={"parent_thread": parent})
    return [await store.get_thread(summary.id) for summary in found]


def context(store: ThreadStore | None = None, key: str = "parent/message/call", **options: Any) -> ToolContext:
    return ToolContext(
        thread_id="parent", owner=None, call_id="call", idempotency_key=key, thread_store=store, **options
    )


class Shop:
    """One tool whose effect must happen once, and may wait for a human."""

    def __init__(self, **options: Any) -> None:
        self.bought: list[int] = []

        @tool(**options)
        def buy(number: int) -> str:
            """Buy one."""
            self.bought.append(number)
            return f"bought {number}"

        self.buy: Tool = buy


def buying(*numbers: int) -> Reply:
    return calls(*(("buy", {"number": number}) for number in numbers))


def tell(request: Request) -> str:
    """What the last tool said."""
    return str(request.messages[-1]["content"])
