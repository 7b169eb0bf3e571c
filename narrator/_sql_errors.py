"""Driver errors -> narrator's: which may pass, and what the reader can do about the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from narrator._write_queue import StillLocked
from narrator.errors import StoreUnavailable

# SQLSTATE classes and codes: connection lost, server going up or down, the server's own time limits, deadlock and
# serialization, no free connection, a thread that was deleted between two statements.
_PASSING_STATES = ("08", "57P0", "57014", "55P03", "40", "53300", "23503")
_ADVICE = {
    "28": "the server refuses the user or password; check the URL's user and password",
    "3D": "there is no database of that name on the server; create it or correct the URL",
    "42501": "the user may not do this; grant it the rights on the tables",
    "53100": "the server's disk is full; free some space and try again",
    "25006": "the server is read-only; use the primary's address",
    "58": "the server's disk or files fail it; see the server's log",
}
_LOCKED = "another program keeps it locked; end that program's transaction, or wait longer with ?timeout="
_SQLITE_ADVICE = {
    "file is not a database": "it is not a SQLite database (or a damaged one); choose another file or restore a backup",
    "database disk image is malformed": "the file is damaged, or its disk is; restore a backup",
    "readonly database": "the file is read-only for this user, or its disk is; change its permissions or mount",
    "unable to open": "the file cannot be opened; its folder must exist and be writable, and this process must have "
    "file descriptors left (see `ulimit -n`)",
    "disk is full": "the disk is full; free some space and try again",
    "disk I/O error": "the disk fails, or is full; check it, free some space and try again",
    "is locked": _LOCKED,
    "no such table": "its tables are gone; was the file replaced? Restore a backup, or run `narrator init`",
    "locking protocol": "its locks do not work; keep it on a local disk, and try again",
    "out of memory": "there is too little memory; end other programs, or give this one more",
}


class PassingFailure(StoreUnavailable):
    """A failure worth another attempt: nothing of this attempt is known to be stored."""


@asynccontextmanager
async def translated(location: str) -> AsyncIterator[None]:
    """Raise the drivers' errors as StoreUnavailable, without the statement's values or a password."""
    try:
        yield
    except PoolTimeout as error:
        raise StoreUnavailable(
            f"{location}: all connections of the pool are in use. Raise NARRATOR_DB_POOL_SIZE or "
            "NARRATOR_DB_POOL_TIMEOUT, or run fewer conversations at once in this process"
        ) from error
    except StillLocked as error:
        raise PassingFailure(f"{location}: {_LOCKED}") from error
    except DBAPIError as error:
        told = _from_driver(location, error)
        if isinstance(told, PassingFailure):
            raise told from error
        raise told from None  # the driver's text may quote the row that was refused (promise P16)
    except TimeoutError as error:
        raise PassingFailure(
            f"{location} does not answer. Is the server overloaded or cut off, or does another program keep a row "
            "locked? Allow it more time with ?command_timeout= or ?connect_timeout= (seconds) in the URL"
        ) from error
    except OSError as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise PassingFailure(
            f"{location} cannot be reached ({reason}). Is the server running, and are host and port right?"
        ) from error
    except asyncpg.PostgresError as error:  # while connecting, before SQLAlchemy wraps them
        raise _from_state(location, error.sqlstate or "", error) from error
    except asyncpg.InterfaceError as error:
        raise PassingFailure(f"{location}: the connection was lost ({error})") from error


def _from_driver(location: str, error: DBAPIError) -> Exception:
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return _from_state(location, state, error.orig)
    text = str(error.orig)
    advice = next((a for sign, a in _SQLITE_ADVICE.items() if sign in text), None)
    if advice is not None:
        kind = PassingFailure if "is locked" in text else StoreUnavailable
        return kind(f"{location}: {advice}")
    if error.connection_invalidated or "connection" in text.lower():
        return PassingFailure(f"{location}: the connection was lost; is the server still running?")
    name = getattr(error.orig, "sqlite_errorname", type(error.orig).__name__)
    return StoreUnavailable(f"{location}: the database refused a statement ({name})")


def _from_state(location: str, state: str, error: BaseException | None) -> Exception:
    advice = next((a for sign, a in _ADVICE.items() if state.startswith(sign)), None)
    if advice is not None:
        return StoreUnavailable(f"{location}: {advice}")
    if state.startswith(_PASSING_STATES):
        return PassingFailure(f"{location}: the server is not ready or gave up this transaction ({state})")
    return StoreUnavailable(f"{location}: the database refused a statement ({state}, {type(error).__name__})")
