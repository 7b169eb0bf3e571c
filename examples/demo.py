"""What `make demo` runs: a conversation with a local model that is remembered from run to run.

The first run tells the agent a name; every later one asks for it. In a terminal it goes on as a chat.
Needs no key and no network. `python examples/demo.py --help` shows the one option.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from tyler import (
    Agent,
    Finished,
    Message,
    NarratorError,
    SchemaError,
    TextDelta,
    Thread,
    ThreadNotFound,
    ThreadStore,
    TylerError,
)
from tyler.local import LocalModel
from tyler.model import Model, Reasoning, Reply, Request

THREAD_ID = "demo"
PURPOSE = "You are a helpful assistant. Answer in one short sentence."
FIRST_LINES = ["My name is Ada. Please repeat my name.", "Name three colours."]
LATER_LINES = ["What is my name?", "Name three animals."]
ANSWER_TOKENS = 60


class BoundedView:
    """A model that sees the first turn and the newest messages, so that no conversation outgrows its context.

    Only what is sent is bounded; the stored thread keeps everything.
    """

    def __init__(self, model: Model, *, newest: int, size_bytes: int) -> None:
        self.name = model.name
        self.newest = newest
        self.size_bytes = size_bytes  # no model's token is shorter than a byte
        self.sent: list[dict[str, Any]] = []
        self._model = model

    async def takes_images(self) -> bool:
        """As the model itself."""
        return await self._model.takes_images()

    async def count_tokens(self, messages: Sequence[dict[str, Any]]) -> int:
        """As the model itself."""
        return await self._model.count_tokens(messages)

    async def stream(self, request: Request) -> AsyncGenerator[str | Reasoning | Reply, None]:
        """The model's answer to the bounded request."""
        purpose, *messages = request.messages
        self.sent = messages[:2] + self._newest(messages[2:])
        bounded = replace(request, messages=[purpose, *self.sent])
        async with aclosing(self._model.stream(bounded)) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        """Close the model itself."""
        await self._model.close()

    def _newest(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Whole messages from the end, at least one, beginning with a question."""
        kept: list[dict[str, Any]] = []
        size_bytes = 0
        for message in reversed(messages[-self.newest :]):
            size_bytes += len(str(message["content"]).encode())
            if kept and size_bytes > self.size_bytes:
                break
            kept.insert(0, message)
        while len(kept) > 1 and kept[0]["role"] != "user":
            kept.pop(0)
        return kept


class Conversation:
    """The demo's thread, its agent, and the printing."""

    def __init__(self, model: LocalModel, store: ThreadStore, thread: Thread) -> None:
        self.store = store
        self.thread = thread
        self.agent = Agent(
            name="demo",
            model_name=model.model_name,
            api_base=model.base_url,
            api_key=model.api_key,
            purpose=PURPOSE,
            thread_store=store,
            model_params={"max_tokens": ANSWER_TOKENS},
        )
        self.view = BoundedView(self.agent.model, newest=20, size_bytes=4000)
        self.agent.model = self.view

    @classmethod
    async def open(cls, model: LocalModel, database: Path) -> Conversation:
        """The conversation in this database, begun if there is none."""
        database.parent.mkdir(parents=True, exist_ok=True)
        url = f"sqlite+aiosqlite:///{database}"
        try:
            store = await ThreadStore.create(url)
        except SchemaError:  # made by an older version of this package
            await ThreadStore.initialize(url)
            store = await ThreadStore.create(url)
        try:
            thread = await store.get_thread(THREAD_ID)
        except ThreadNotFound:
            thread = Thread(id=THREAD_ID)
        except BaseException:
            await store.close()
            raise
        return cls(model, store, thread)

    @property
    def user_name(self) -> str | None:
        """The name that the user told last."""
        lines = [message.text for message in reversed(self.thread.messages) if message.role == "user"]
        told = (re.search(r"\bmy name is (\w+)", line, re.IGNORECASE) for line in lines)
        return next((match[1] for match in told if match), None)

    def greet(self) -> None:
        """Welcome the user back, and say what the model will see."""
        stored = len(self.thread.messages)
        if not stored:
            print("This is the first run: nothing is remembered yet.\n")
            return
        since = self.thread.messages[0].created_at.astimezone()
        seen = "the model sees them"
        if stored > self.view.newest + 2:
            seen = f"the model sees the first 2 and at most {self.view.newest} of the newest, to fit its context"
        print(f"Welcome back, {self.user_name or 'you'}! {stored} messages are stored since {since:%d %B %Y, %H:%M};")
        print(f"{seen}.\n")

    async def say(self, text: str) -> str:
        """Send one line of the user's; print the answer as it is written, and return it."""
        before = len(self.thread.messages)
        self.thread.add_message(Message(role="user", content=text))
        print("agent> ", end="", flush=True)
        answer = ""
        async with aclosing(self.agent.stream(self.thread)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    print(printable(event.text), end="", flush=True)
                elif isinstance(event, Finished):
                    answer = event.result.content
                    tokens = event.result.usage.input_tokens
                    cut = ", cut off at its limit" if event.result.status == "cut" else ""
                    print(f"\n       [sent: {len(self.view.sent)} messages, {before} were stored; ", end="")
                    print(f"{tokens} tokens{cut}]")
        return answer


def printable(text: str) -> str:
    """The text without control characters: they are not the model's to send to a terminal."""
    return "".join(character for character in text if character.isprintable() or character == "\n")


async def run_script(conversation: Conversation) -> None:
    """The scripted turns: the first run tells a name, later ones ask for it."""
    returning = bool(conversation.thread.messages)
    name = conversation.user_name
    await conversation.view.takes_images()  # imports litellm (some seconds) now, not within the first answer
    conversation.greet()
    for line in LATER_LINES if returning else FIRST_LINES:
        print(f"you>   {line}")
        answer = await conversation.say(line)
        if line == LATER_LINES[0] and name:
            print(f"       [{verdict(name, answer, conversation.view.sent[:-1])}]")


def verdict(name: str, answer: str, earlier: list[dict[str, Any]]) -> str:
    """Whether the answer has the name, and where the model could have it from: the purpose does not tell it."""
    places = sum(name in str(message["content"]) for message in earlier)
    if name.lower() in answer.lower():
        return f"right: {name!r} stands in {places} of the earlier messages that it was sent, and nowhere else"
    return f"wrong: {name!r} stands in {places} of the earlier messages that it was sent; a model this small often errs"


def chat(conversation: Conversation, runner: asyncio.Runner) -> None:
    """Go on with lines from the terminal, until the user has had enough."""
    print("\nNow you. Ctrl-D or `exit` ends it.")
    while (line := input("you>   ").strip()).lower() not in ("exit", "quit"):
        try:
            if line:
                runner.run(conversation.say(line))
        except TylerError as error:
            print(f"\n       [no answer: {error}]")
    raise EOFError


def talk(database: Path) -> None:
    """The whole demo. Input is read between the runs of the loop, so that Ctrl-C always works."""
    print("Starting the local model, some seconds ...", flush=True)
    with asyncio.Runner() as runner, LocalModel.start() as model:
        print(f"The model: {model.description}.")
        print("What it cannot do: " + ";\n                   ".join(model.limits) + ".")
        print(f"The memory: {database}\n", flush=True)
        conversation = runner.run(Conversation.open(model, database))
        try:
            runner.run(run_script(conversation))
            if sys.stdin.isatty() and sys.stdout.isatty():
                chat(conversation, runner)
            else:
                print("\nRun it again: it remembers this. In a terminal you can chat with it.")
        finally:
            runner.run(conversation.store.close())


def main() -> int:
    """0, also when the user ends it; 1 with one line when something is missing or broken."""
    parser = argparse.ArgumentParser(description="Talk with an agent that remembers, on a local model.")
    parser.add_argument(
        "--database",
        type=Path,
        default=Path(os.environ.get("TYLER_DEMO_DATABASE") or ".demo/conversations.db"),
        help="where it remembers; TYLER_DEMO_DATABASE, else .demo/conversations.db",
    )
    database = parser.parse_args().database
    try:
        talk(database)
    except (EOFError, KeyboardInterrupt):
        print("\nGoodbye. It will remember you.")
    except (TylerError, NarratorError, OSError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
