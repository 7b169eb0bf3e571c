"""Settings from the environment: the connection pool's size, and the database's URL.

Pure functions of a mapping. `ThreadStore.create()` reads the pool's settings (they are tuning) and
never the URL: only `from_env()` and the command line ask for that, so that a test cannot reach a
real database by accident.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from narrator.database_url import Backend, DatabaseUrl, hide_password, parse_url
from narrator.errors import ConfigurationError

__all__ = ["DATABASE_URL", "Backend", "DatabaseUrl", "PoolSettings", "database_url_from_env", "parse_url"]

DATABASE_URL = "NARRATOR_DATABASE_URL"


@dataclass(frozen=True)
class PoolSettings:
    """How many PostgreSQL connections one process keeps, and for how long.

    `size` stay open, `max_overflow` more are opened under load and closed again. A caller waits
    `timeout_s` for a free one. A connection older than `recycle_s` is replaced before use; -1 never.
    """

    size: int = 5
    max_overflow: int = 10
    timeout_s: float = 30.0
    recycle_s: int = 300

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Self:
        """The settings from the NARRATOR_DB_* variables; a missing or empty one means the default.

        Raises ConfigurationError that names the variable, its value and what is allowed.
        """
        whole, seconds = "a whole number", "a number of seconds"
        size = _number(env, "NARRATOR_DB_POOL_SIZE", cls.size, kind=whole, low=1, high=1_000)
        overflow = _number(env, "NARRATOR_DB_MAX_OVERFLOW", cls.max_overflow, kind=whole, low=0, high=1_000)
        timeout_s = _number(env, "NARRATOR_DB_POOL_TIMEOUT", cls.timeout_s, kind=seconds, low=0.001, high=86_400)
        recycle_s = _number(env, "NARRATOR_DB_POOL_RECYCLE", cls.recycle_s, kind=whole, low=-1, high=2_592_000)
        return cls(size=int(size), max_overflow=int(overflow), timeout_s=timeout_s, recycle_s=int(recycle_s))


def database_url_from_env(env: Mapping[str, str] = os.environ) -> str:
    """The text of NARRATOR_DATABASE_URL, unchecked; ConfigurationError when it is missing or empty."""
    url = env.get(DATABASE_URL, "").strip()
    if not url:
        raise ConfigurationError(
            f"{DATABASE_URL} is not set. Set it, for example: "
            f"export {DATABASE_URL}=sqlite+aiosqlite:///conversations.db"
        )
    return url


def _number(env: Mapping[str, str], name: str, default: float, *, kind: str, low: float, high: float) -> float:
    text = env.get(name, "").strip()
    if not text:
        return default
    # A pattern, not float(): that takes "nan", "inf", "1_000" and other scripts' digits too.
    pattern = r"-?[0-9]{1,12}" if isinstance(default, int) else r"-?[0-9]{1,12}(\.[0-9]{1,12})?"
    value = float(text) if re.fullmatch(pattern, text) else None
    if value is None or not low <= value <= high:
        shown = hide_password(text[:60])  # a URL pasted into the wrong variable must not be printed
        raise ConfigurationError(f"{name}={shown!r} does not work: it must be {kind} from {low:g} to {high:.0f}")
    return value
