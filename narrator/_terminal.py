"""What the command line says and asks: failures in one line, questions, ages and amounts."""

from __future__ import annotations

import re
import sys
from datetime import timedelta

import typer

from narrator.database_url import hide_passwords_in
from narrator.errors import ConfigurationError


def fail(message: str, *, code: int = 1) -> int:
    """Print the message as one line on stderr; the exit code."""
    typer.echo(f"narrator: {' '.join(hide_passwords_in(message).split())}", err=True)
    return code


def ask(question: str) -> None:
    """Returns when a person says yes; ends the command otherwise."""
    if not sys.stdin.isatty():
        raise ConfigurationError(f"There is no terminal to ask: {question} Add --yes to say so beforehand")
    typer.confirm(question, abort=True, err=True)


def age(text: str) -> timedelta:
    """The time that "30d" and its like mean; wrong usage otherwise."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhdw])", text.strip().lower())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not an age such as 30d, 12h, 90m or 2w", param_hint="--older-than")
    unit = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}[match[2]]
    return timedelta(**{unit: int(match[1])})


def count(number: int, noun: str) -> str:
    """An amount as a person says it: 1 file, 2 files."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def files(number: int, size_bytes: int) -> str:
    """How many files of what size in all: 2 files (1.5 MB)."""
    size = f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes} bytes"
    return f"{count(number, 'file')} ({size})"
