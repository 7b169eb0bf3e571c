"""The `narrator` command: makes, checks and tidies the store, and runs a PostgreSQL in Docker.

It only reads arguments and prints; the work is the store's and `_docker`'s. Expected failures are one
line on stderr and exit code 1, wrong usage one line and 2, an interrupt 130.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

import typer

from narrator import _terminal
from narrator.config import PoolSettings, database_url_from_env, parse_url
from narrator.database_url import DatabaseUrl
from narrator.errors import ConfigurationError, NarratorError, SchemaError

if TYPE_CHECKING:
    from narrator._docker import DockerDatabase
    from narrator._files import GarbageReport
    from narrator.thread_store import ThreadStore

T = TypeVar("T")

app = typer.Typer(
    name="narrator",
    help="Keeps the conversations of your agents: makes, checks and tidies their database.",
    epilog="The database is the one of --database-url, else of NARRATOR_DATABASE_URL.",
    add_completion=False,
    rich_markup_mode=None,  # plain help: the same text on every terminal, fit to quote
    # A traceback with local variables would print the database's password.
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)

DatabaseUrlOption = Annotated[
    str | None,
    typer.Option("--database-url", metavar="URL", help="The database; else NARRATOR_DATABASE_URL.", show_default=False),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be removed; remove nothing.")]


def main() -> None:
    """The console script: runs one command and exits with its code."""
    # typer exports BadParameter alone; its parent, UsageError, is also raised for unknown options.
    usage_error = cast(type[typer.BadParameter], typer.BadParameter.__mro__[1])
    try:
        code = app(prog_name="narrator", standalone_mode=False)
    except usage_error as error:
        code = _terminal.fail(f"{error.format_message().rstrip('.')}. See `narrator --help`", code=2)
    except NarratorError as error:
        code = _terminal.fail(str(error))
    except typer.Abort:
        code = _terminal.fail("stopped; nothing was removed")
    sys.exit(code if isinstance(code, int) else 0)


@app.callback(invoke_without_command=True)
def _database(context: typer.Context, database_url: DatabaseUrlOption = None) -> None:
    context.obj = database_url
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def init(context: typer.Context, database_url: DatabaseUrlOption = None) -> None:
    """Make the tables, or upgrade them to this version.

    A SQLite file is backed up first. Nothing happens when the tables are up to date.
    """
    _initialize(_url(context, database_url))


@app.command()
def status(
    context: typer.Context,
    database_url: DatabaseUrlOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Show what the database holds and how fast it answers.

    Ends with exit code 1 when it does not answer or its tables are of another version.
    """
    facts = asdict(_with_store(_url(context, database_url), lambda store: store.status()))
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        typer.echo(f"{name.replace('_', ' '):<16}{value}")


@app.command()
def purge(
    context: typer.Context,
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Such as 30d, 12h, 90m or 2w.")],
    database_url: DatabaseUrlOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Delete the threads that nobody wrote to for longer than AGE."""
    age = _terminal.age(older_than)
    url = _url(context, database_url)
    old = _with_store(url, lambda store: store.purge(older_than=age, dry_run=True))
    said = f"{_terminal.count(old, 'thread')} older than {older_than}"
    if dry_run or old == 0:
        typer.echo(f"{said}; nothing was deleted")
        return
    if not yes:
        _terminal.ask(f"Delete {said} from {parse_url(url).safe}?")
    deleted = _with_store(url, lambda store: store.purge(older_than=age))
    typer.echo(f"Deleted {_terminal.count(deleted, 'thread')} older than {older_than}")


@app.command()
def gc(
    context: typer.Context,
    files: Annotated[
        Path,
        typer.Option("--files", metavar="DIR", exists=True, file_okay=False, help="The file store's folder."),
    ],
    database_url: DatabaseUrlOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Remove stored files that no message refers to.

    Files younger than an hour stay, for a message that refers to them may be about to be saved.
    """
    url = _url(context, database_url)

    async def look(store: ThreadStore) -> tuple[GarbageReport, int]:
        return await store.collect_garbage(dry_run=True), (await store.status()).threads

    unneeded, threads = _with_store(url, look, files=files)
    said = _terminal.files(unneeded.removed, unneeded.freed_bytes)
    if dry_run or unneeded.removed == 0:
        typer.echo(f"{said} that nothing refers to; nothing was removed")
        return
    if threads == 0 and not yes:
        # Most likely the wrong database: with it, every file in the folder looks unneeded.
        _terminal.ask(f"{parse_url(url).safe} holds no thread. Remove {said} from {str(files)!r}?")
    removed = _with_store(url, lambda store: store.collect_garbage(), files=files)
    typer.echo(f"Removed {_terminal.files(removed.removed, removed.freed_bytes)}")


@app.command()
def docker_setup(
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=1, max=65535, help="On 127.0.0.1; at first 5432."),
    ] = None,
) -> None:
    """Start a PostgreSQL in Docker and make the tables.

    It is for development: open on 127.0.0.1 only, with a public password. Prints its URL.
    """
    url = _docker().setup(port, _initialize)
    typer.echo(f"PostgreSQL is ready, for development on this machine only:\n\n  {url}\n")
    typer.echo(f'Use it with: export NARRATOR_DATABASE_URL="{url}"')


@app.command()
def docker_start() -> None:
    """Start the PostgreSQL of docker-setup again."""
    typer.echo(f"PostgreSQL is ready: {_docker().start()}")


@app.command()
def docker_stop(
    remove_volumes: Annotated[
        bool, typer.Option("--remove-volumes", help="Remove the container and all data too.")
    ] = False,
    yes: YesOption = False,
) -> None:
    """Stop the PostgreSQL of docker-setup; its data stays."""
    if remove_volumes and not yes:
        _terminal.ask("Remove the PostgreSQL of docker-setup with all conversations in it?")
    _docker().stop(remove_volumes=remove_volumes)
    typer.echo(f"PostgreSQL is stopped{' and its data removed' if remove_volumes else '; its data is kept'}")


def _docker() -> DockerDatabase:
    from narrator._docker import DockerDatabase

    return DockerDatabase(say=lambda line: typer.echo(line, err=True))


def _url(context: typer.Context, given: str | None) -> str:
    url = given or context.obj or database_url_from_env()
    if parse_url(url).backend == "memory":
        raise ConfigurationError("A database in memory ends with its process; name a file or a server")
    return str(url)


def _with_store(url: str, work: Callable[[ThreadStore], Awaitable[T]], *, files: Path | None = None) -> T:
    """What `work` returns, with the store opened before it and closed after it.

    A database without narrator's tables is refused: looking at a mistyped name must not make them there.
    """
    from narrator.file_store import FileStore
    from narrator.thread_store import ThreadStore

    parsed = parse_url(url)
    if parsed.path is not None and not parsed.path.exists():
        raise ConfigurationError(f"There is no database at {str(parsed.path)!r}. `narrator init` makes one")

    async def run() -> T:
        if await _schema_version(parsed) is None:
            raise SchemaError(f"{parsed.safe} has no tables of narrator. `narrator init` makes them")
        file_store = await FileStore.create(files) if files else None
        async with await ThreadStore.create(url, file_store=file_store) as store:
            return await work(store)

    return asyncio.run(run())


async def _schema_version(url: DatabaseUrl) -> str | None:
    from narrator._schema_version import stored_version
    from narrator._sql import SqlBackend

    backend = SqlBackend(url, PoolSettings.from_env())
    try:
        return await backend.run_sync(stored_version)
    finally:
        await backend.close()


def _initialize(url: str) -> None:
    from narrator.thread_store import ThreadStore

    report = asyncio.run(ThreadStore.initialize(url))
    if report.backup_path is not None:
        typer.echo(f"The old file is kept at {report.backup_path}")
    if report.before == report.after:
        typer.echo(f"The tables are up to date (schema {report.after})")
    elif report.before:
        typer.echo(f"Upgraded the tables from schema {report.before} to {report.after}")
    else:
        typer.echo(f"Made the tables (schema {report.after})")


if __name__ == "__main__":
    main()
