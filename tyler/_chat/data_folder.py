"""The user's data folder: the conversations of `tyler chat`, and the history of what was typed."""

from __future__ import annotations

import os
from pathlib import Path

from narrator import ConfigurationError, SchemaError, ThreadStore


def data_folder() -> Path:
    """The folder, made if need be, for its owner only; ConfigurationError where it cannot be."""
    advice = "set XDG_DATA_HOME to another, or say where the database is with --db URL"
    try:
        folder = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "tyler"
    except RuntimeError as error:  # a user without a home
        raise ConfigurationError(f"there is no home folder to keep conversations in; {advice}") from error
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the data folder {str(folder)!r} cannot be made ({error.strerror}); {advice}"
        ) from error
    return folder


def history_file() -> Path | None:
    """Where what was typed is kept; None where there is no folder for it."""
    try:
        return data_folder() / "chat_history"
    except ConfigurationError:
        return None


async def own_store() -> ThreadStore:
    """The store in the data folder; one that an older version made is upgraded, a copy is kept beside it."""
    url = f"sqlite+aiosqlite:///{data_folder()}/chat.db"
    try:
        return await ThreadStore.create(url)
    except SchemaError:
        await ThreadStore.initialize(url)  # raises the same for one that a newer version made
        return await ThreadStore.create(url)
