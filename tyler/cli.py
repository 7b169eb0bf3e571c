"""The `tyler` command. It reads the arguments and opens what they name; the conversation itself is `_chat`'s.

Which model is at hand is `model_choice`'s. Expected failures are one line on stderr and exit code 1, wrong usage one
line and 2, an interrupt 130.
"""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path
from typing import Annotated, cast

import typer

from narrator import NarratorError, ThreadStore
from tyler.agent import Agent
from tyler.errors import ModelCallForbidden, TylerError
from tyler.model_choice import ModelChoice, choose_model
from tyler.tools import collect

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
    except (NarratorError, TylerError, ModelCallForbidden) as error:
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
    thread: Annotated[
        str | None,
        typer.Option(
            "--thread",
            metavar="ID",
            show_default=False,
            help="The conversation to go on with, or to begin; else the last one, in another database 'chat'.",
        ),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option("--db", metavar="URL", show_default=False, help="The database; else a file in your data folder."),
    ] = None,
    tools: Annotated[
        list[str] | None,
        typer.Option(
            "--tools",
            metavar="IMPORT_PATH",
            show_default=False,
            help="A tool, or a list of them, as in lye:WEB_TOOLS; from the current folder too. May be repeated.",
        ),
    ] = None,
) -> None:
    """Talk with an agent; it remembers the conversation.

    Ctrl-C stops an answer; where nothing is typed it ends the program, as Ctrl-D does. What was said is kept.
    /help lists the commands.
    """
    from tyler._chat.approver import Approver
    from tyler._chat.conversation import converse
    from tyler._chat.data_folder import history_file, own_store
    from tyler._chat.lines import Lines
    from tyler._chat.screen_choice import make_screen
    from tyler._chat.session import DEFAULT_THREAD, Session
    from tyler._config_node import Place
    from tyler._import_path import load_tools

    _forgive_encodings()
    screen, lines = make_screen(), Lines(history_file())
    loaded = [tool for path in tools or () for tool in load_tools(path, Place("--tools"), Path.cwd())]
    try:
        collect(loaded)
    except ValueError as error:  # two of one name
        raise typer.BadParameter(str(error), param_hint="--tools") from error
    choice = ModelChoice("provider", model, True, f"{model}, as you said") if model else choose_model()
    with choice.ready() as ready, asyncio.Runner() as runner:
        store = runner.run(ThreadStore.create(database_url) if database_url else own_store())
        agent = Agent(
            name="chat",
            model_name=ready.model_name,
            api_base=ready.api_base,
            api_key=ready.api_key,
            purpose=PURPOSE,
            tools=loaded if choice.can_call_tools else (),
            thread_store=store,
            approve=Approver(screen),
        )
        screen.note(f"Model: {choice.explanation}")
        if loaded and not choice.can_call_tools:
            screen.note("It cannot call tools, so those of --tools are not used.")
        session = Session(store)
        try:
            if thread is None and not database_url:
                runner.run(session.open_last())
            else:
                runner.run(session.open(DEFAULT_THREAD if thread is None else thread))
            converse(runner, agent, session, screen, lines)
        finally:
            runner.run(agent.close())
            runner.run(store.close())


def _forgive_encodings() -> None:
    """A character that the terminal's encoding does not have costs that character, and not the program."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _fail(message: str, *, code: int = 1) -> int:
    from tyler._chat.screen import one_line

    typer.echo(f"tyler: {one_line(message)}", err=True)
    return code


if __name__ == "__main__":
    main()
