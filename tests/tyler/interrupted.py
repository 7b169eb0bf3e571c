"""A program for test_interrupts.py: `interrupted.py URL FRONT WORK`. It says "under way" when the work hangs."""

import asyncio
import contextlib
import importlib.abc
import signal
import sys
import time
import warnings
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from tyler import Agent, FileStore, Message, Thread, ThreadStore, tool
from tyler.model import Reply, Request
from tyler.testing import ScriptedModel, calls

HANGS_S = 60


def say() -> None:
    print("under way", flush=True)


class Hanging(ScriptedModel):
    """Says two words and no more."""

    async def stream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        yield "some words"
        say()
        await asyncio.sleep(HANGS_S)


def sync_tool() -> None:
    say()
    time.sleep(HANGS_S)


@tool(timeout_s=50)
def limited_sync_tool() -> None:
    sync_tool()


def sync_stream_tool() -> Iterator[str]:
    yield "a"
    sync_tool()


async def async_tool() -> None:
    say()
    await asyncio.sleep(HANGS_S)


TOOLS: dict[str, Any] = {
    "sync tool": sync_tool,
    "limited sync tool": limited_sync_tool,
    "sync stream tool": sync_stream_tool,
    "async tool": async_tool,
}


class SlowLitellm(importlib.abc.MetaPathFinder):
    """Makes the import of litellm, which takes seconds, one that outlasts every patience."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name == "litellm":
            sync_tool()


def agent_for(work: str, store: ThreadStore) -> Agent:
    if work == "import":
        sys.modules.pop("litellm", None)  # a warm Python has it
        sys.meta_path.insert(0, SlowLitellm())
        return Agent(model_name="gpt-4", api_base="http://127.0.0.1:9", api_key="none", thread_store=store)
    if work == "model":
        return Agent(model=Hanging([]), thread_store=store)
    name = getattr(TOOLS[work], "name", None) or TOOLS[work].__name__
    return Agent(model=ScriptedModel([calls((name, {}))]), tools=[TOOLS[work]], thread_store=store)


def awaited(agent: Agent, thread: Thread) -> None:
    asyncio.run(agent.go(thread))


def streamed(agent: Agent, thread: Thread) -> None:
    async def main() -> None:
        async for _ in agent.stream(thread):
            pass

    asyncio.run(main())


def in_the_background(agent: Agent, thread: Thread) -> None:
    async def main() -> None:
        task = asyncio.create_task(agent.go(thread))
        await asyncio.Event().wait()
        await task

    asyncio.run(main())


def beside_others(agent: Agent, thread: Thread) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.go(thread))
            group.create_task(asyncio.sleep(HANGS_S))

    asyncio.run(main())


def sync(agent: Agent, thread: Thread) -> None:
    agent.go_sync(thread)


def sync_in_a_loop(agent: Agent, thread: Thread) -> None:
    async def main() -> None:
        agent.go_sync(thread)

    asyncio.run(main())


def with_sigterm_as_cancellation(agent: Agent, thread: Thread) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await agent.go(thread)

    with asyncio.Runner() as runner, contextlib.suppress(asyncio.CancelledError):
        runner.run(main())


FRONTS: dict[str, Callable[[Agent, Thread], None]] = {
    front.__name__: front
    for front in (
        awaited,
        streamed,
        in_the_background,
        beside_others,
        sync,
        sync_in_a_loop,
        with_sigterm_as_cancellation,
    )
}


def program(url: str, front: str, work: str) -> None:
    store = asyncio.run(open_store(url))
    thread = Thread(id="t", messages=[Message(id="in", role="user", content="hi")])
    try:
        FRONTS[front](agent_for(work, store), thread)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print([message.text for message in thread.messages], flush=True)


async def open_store(url: str) -> ThreadStore:
    return await ThreadStore.create(url, file_store=await FileStore.create())


if __name__ == "__main__":
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", ResourceWarning)  # the store is never closed, as in many a script
    program(*sys.argv[1:])
