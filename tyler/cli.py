"""The `tyler` command: `tyler chat` talks with an agent that remembers, in a terminal.

Which model is at hand is `model_choice`'s; every message is stored by the agent before it is shown as done.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, cast

import typer

from narrator import Message, NarratorError, SchemaError, Thread, ThreadNotFound, ThreadStore
from tyler.agent import Agent
from tyler.errors import TylerError
from tyler.events import Finished, TextDelta, ToolFinished, ToolStarted
from tyler.model_choice import ModelChoice, choose_model

PURPOSE = "You are a helpful assistant. Answer in a few short sentences."

app = typer.Typer(
    name="tyler",
    help="Agents that remember.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # a traceback with local variables would print keys and messages
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The console script: runs one command and exits with its code; an expected failure is one line."""
    usage_error = cast(type[typer.BadParameter], typer.BadParameter.__mro__[1])
    try:
        code = app(prog_name="tyler", standalone_mode=False)
    except usage_error as error:
        code = _fail(f"{error.format_message().rstrip('.')}. See `tyler --help`", code=2)
    except (NarratorError, TylerError) as error:
        code = _fail(str(error))
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


@app.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def chat(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            show_default=False,
            help="The model, as litellm names it; else the best at hand: a provider's key, Ollama, the local one.",
        ),
    ] = None,
    thread: Annotated[str, typer.Option("--thread", metavar="ID", help="The conversation to go on with.")] = "chat",
    database_url: Annotated[
        str | None,
        typer.Option("--db", metavar="URL", show_default=False, help="The database; else a file in your data folder."),
    ] = None,
) -> None:
    """Talk with an agent; it remembers the conversation.

    Ctrl-C stops an answer, a second one or Ctrl-D ends the program. What was said is kept.
    """
    choice = ModelChoice("provider", model, True, f"{model}, as you said") if model else choose_model()
    typer.echo(f"Model: {choice.explanation}")
    with choice.ready() as ready, asyncio.Runner() as runner:
        store = runner.run(ThreadStore.create(database_url) if database_url else _own_store())
        agent = Agent(
            name="chat",
            model_name=ready.model_name,
            api_base=ready.api_base,
            api_key=ready.api_key,
            purpose=PURPOSE,
            thread_store=store,
        )
        try:
            _talk(runner, agent, runner.run(_open(store, thread)))
        finally:
            runner.run(agent.close())
            runner.run(store.close())


def _talk(runner: asyncio.Runner, agent: Agent, thread: Thread) -> None:
    if thread.messages:
        typer.echo(f"Welcome back: {len(thread.messages)} messages in {thread.id!r}.")
    while True:
        try:
            line = input("you> ").strip()
        except (EOFError, KeyboardInterrupt):
            typer.echo()
            return
        if not line:
            continue
        thread.add_message(Message(role="user", content=line))
        try:
            runner.run(_answer(agent, thread))
        except KeyboardInterrupt:
            typer.echo("\n(stopped)")
        except (NarratorError, TylerError) as error:
            _fail(str(error))


async def _own_store() -> ThreadStore:
    """The store in the user's data folder; one that an older version made is upgraded, a copy is kept beside it."""
    url = f"sqlite+aiosqlite:///{_data_folder()}/chat.db"
    try:
        return await ThreadStore.create(url)
    except SchemaError:
        await ThreadStore.initialize(url)  # raises the same for one that a newer version made
        return await ThreadStore.create(url)


async def _open(store: ThreadStore, thread_id: str) -> Thread:
    try:
        return await store.get_thread(thread_id)
    except ThreadNotFound:
        return Thread(id=thread_id)


async def _answer(agent: Agent, thread: Thread) -> None:
    async for event in agent.stream(thread):
        if isinstance(event, TextDelta):
            typer.echo(_printable(event.text), nl=False)
        elif isinstance(event, ToolStarted):
            typer.echo(f"\n[{event.call.name} runs]")
        elif isinstance(event, ToolFinished):
            typer.echo(f"[{event.call.name} {'failed' if event.result.failed else 'is done'}]")
        elif isinstance(event, Finished):
            typer.echo()


def _printable(text: str) -> str:
    """Text from a model, without the control characters that would steer the terminal."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t")


def _data_folder() -> Path:
    folder = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "tyler"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _fail(message: str, *, code: int = 1) -> int:
    typer.echo(f"tyler: {' '.join(_printable(message).split())}", err=True)
    return code
