"""DatabaseUrl: where the threads are kept, read from the text that the user wrote.

Everything that can be wrong with a URL is refused here, before any driver sees it, and never with
the password in the message. Connecting, and what may go wrong then, is the store's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn
from urllib.parse import parse_qsl, quote, unquote, urlencode

from narrator.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

Backend = Literal["memory", "sqlite", "postgresql"]

_SCHEMES: Mapping[str, Backend] = {
    "sqlite": "sqlite",
    "sqlite+aiosqlite": "sqlite",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "postgresql+asyncpg": "postgresql",
}
_WHAT_WORKS = (
    "Use sqlite+aiosqlite:///conversations.db, or "
    "postgresql+asyncpg://user:password@localhost:5432/dbname, or no URL at all for a store in memory"
)
_ENCODE = "special characters in a user name or password must be percent-encoded ('/' as %2F, '@' as %40)"
# How asyncpg takes them: as text in the URL, or typed. libpq's names are translated, for they stand
# in the URLs that hosting providers hand out.
_PG_TEXT = {
    "sslmode": "ssl",
    "ssl": "ssl",
    "target_session_attrs": "target_session_attrs",
    "passfile": "passfile",
}
_PG_TYPED = {
    "connect_timeout": ("timeout", float),
    "command_timeout": ("command_timeout", float),
    "statement_cache_size": ("statement_cache_size", int),
    "prepared_statement_cache_size": ("prepared_statement_cache_size", int),
}
_PG_PLACE = ("host", "port", "user", "password", "dbname")
_PATH_SAFE = "/:\\ +@~,;=&()[]{}!$'*"


@dataclass(frozen=True)
class DatabaseUrl:
    """A URL that can work: its backend, its full text, and the text that may be shown.

    `url` holds the password; `safe` and the repr never do. `engine_url()` is what an engine takes,
    together with `connect_args`.
    """

    backend: Backend
    safe: str
    url: str = field(repr=False)
    database: str = field(default="", repr=False)
    path: Path | None = None
    connect_args: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def engine_url(self) -> URL:
        """The SQLAlchemy URL for `create_async_engine(..., connect_args=dict(url.connect_args))`."""
        from sqlalchemy.engine import make_url

        # SQLAlchemy 2.1 decodes %-signs in the database's name and 2.0 does not.
        return make_url(self.url).set(database=self.database)


def parse_url(url: str) -> DatabaseUrl:
    """The database that `url` names; ConfigurationError (password hidden) when it cannot work.

    Takes sqlite, sqlite+aiosqlite, postgres, postgresql and postgresql+asyncpg URLs. A SQLite path is
    made absolute, so that a later chdir does not change the database.
    """
    text = url.strip()
    if not text:
        raise ConfigurationError(f"The database URL is empty. {_WHAT_WORKS}.")
    scheme, separator, rest = text.partition("://")
    backend = _SCHEMES.get(scheme.lower())
    if not separator:
        _refuse(text, "is not a URL")
    if backend is None:
        _refuse(text, "names a database or driver that narrator does not use")
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        _refuse(text, "has control characters in it")
    return _sqlite(text, rest) if backend == "sqlite" else _postgresql(text, rest)


def hide_password(text: str) -> str:
    """`text`, a URL or what was given for one, with everything that may be a password as ***."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text if re.fullmatch(r"[\w./\\~ -]{0,80}", text) else "***"
    userinfo, at, tail = rest.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    if "?" in userinfo or not re.fullmatch(r"[\w.+%-]*", user):
        return f"{scheme}://***"
    tail = re.sub(r"\?.*", "?***", tail, flags=re.DOTALL)
    if not at:
        tail = re.sub(r"^([^/:]*):(?!\d{1,5}(/|\?|$))[^/]*", r"\1:***", tail)
    return f"{scheme}://{user if colon or not at else '***'}{':***' if colon else ''}{at}{tail}"


def hide_passwords_in(message: str) -> str:
    """`message` with the passwords of all URLs in it as ***; the last net before a terminal or log."""
    message = re.sub(r"(\w://[^\s:@/]*:)(?!password@)\S*@", r"\1***@", message)
    return re.sub(r"([?&]password=)[^\s&'\"]*", r"\1***", message)


def _refuse(text: str, reason: str) -> NoReturn:
    raise ConfigurationError(f"The database URL {hide_password(text)!r} {reason}. {_WHAT_WORKS}.")


def _query(text: str, query: str, allowed: tuple[str, ...]) -> dict[str, list[str]]:
    """The parameters behind the question mark; ones that nothing would read are refused by name."""
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in allowed:
            shown = repr(name) if re.fullmatch(r"[a-z_]{1,40}", name) else "behind '?'"
            _refuse(text, f"has a parameter {shown} that is not known; known are {', '.join(allowed)}")
        found.setdefault(name, []).append(value)
    for name, values in found.items():
        if len(values) > 1 and name != "host":
            _refuse(text, f"has the parameter {name!r} twice")
    return found


def _sqlite(text: str, rest: str) -> DatabaseUrl:
    location, _, query = rest.partition("?")
    parameters = _query(text, query, ("timeout",))
    host, _, name = location.partition("/")
    if host:
        _refuse(text, "needs three slashes before a relative path and four before an absolute one")
    name = unquote(name)
    if name in ("", ":memory:"):
        return DatabaseUrl("memory", safe="memory", url="sqlite+aiosqlite:///:memory:", database=":memory:")
    if name.endswith(("/", "\\")):
        _refuse(text, "names a folder, not a file")
    path = Path(name).absolute()
    shown = f"sqlite+aiosqlite:///{quote(path.as_posix(), safe=_PATH_SAFE)}"
    timeout_s = [_number(text, "timeout", value, float) for value in parameters.get("timeout", [])]
    return DatabaseUrl(
        "sqlite",
        safe=shown,
        url=shown,
        database=str(path),
        path=path,
        connect_args={"timeout": timeout_s[0]} if timeout_s else {},
    )


def _postgresql(text: str, rest: str) -> DatabaseUrl:
    authority, tail = re.match(r"([^/?]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]  # matches any text
    location, _, query = tail.partition("?")
    known = (*_PG_PLACE, *_PG_TEXT, *_PG_TYPED, "application_name")
    userinfo, _, address = authority.rpartition("@")
    host, port = _address(text, address)
    if "/" in location[1:] or "@" in location:
        _refuse(text, f"has '/' or '@' in the database's name; {_ENCODE}")
    parameters = _query(text, query, known)
    user, _, password = (unquote(part) for part in userinfo.partition(":"))
    user = parameters.pop("user", [user])[0]
    password = parameters.pop("password", [password])[0]
    database = parameters.pop("dbname", [unquote(location[1:])])[0]
    if not database:
        _refuse(text, "has no database name behind the host")
    if host.startswith("/"):  # libpq's %2Fvar%2Frun form of a unix socket's folder
        parameters.setdefault("host", [host])
        host = ""
    if port and "host" in parameters:
        parameters.setdefault("port", [port])
        port = ""
    options, connect_args = _postgresql_options(text, parameters)
    login = quote(user, safe="") if user else ""
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    end = f"{place}/{quote(database, safe='')}" + (f"?{urlencode(options, safe='/:')}" if options else "")
    secret = f":{quote(password, safe='')}" if password else ""
    at = "@" if login or secret else ""
    return DatabaseUrl(
        backend="postgresql",
        safe=f"postgresql+asyncpg://{login}{':***' if secret else ''}{at}{end}",
        url=f"postgresql+asyncpg://{login}{secret}{at}{end}",
        database=database,
        connect_args=connect_args,
    )


def _address(text: str, address: str) -> tuple[str, str]:
    """Host and port; the host unbracketed and decoded, each empty where the URL names none."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:@,\s]*))(?::([^:]*))?", address)
    if match is None:
        _refuse(text, f"has a host that cannot be read; {_ENCODE}")
    host, port = unquote(match[1] or match[2] or ""), match[3] or ""
    if port and not (re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= 65535):
        # The port is not shown: where '@host' was forgotten, or '/' not encoded, it is the password.
        _refuse(text, f"has a port that is not a number from 1 to 65535; {_ENCODE}")
    return host, port


def _postgresql_options(text: str, parameters: dict[str, list[str]]) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """What stays in the URL as text, and what asyncpg only takes typed."""
    options: list[tuple[str, str]] = []
    connect_args: dict[str, Any] = {}
    for name, values in parameters.items():
        if name == "application_name":
            connect_args["server_settings"] = {name: values[0]}
        elif name in _PG_TYPED:
            target, kind = _PG_TYPED[name]
            connect_args[target] = _number(text, name, values[0], kind)
        else:
            options += [(_PG_TEXT.get(name, name), value) for value in values]
    return options, connect_args


def _number(text: str, name: str, value: str, kind: type[int] | type[float]) -> int | float:
    if not re.fullmatch(r"[0-9]{1,6}" if kind is int else r"[0-9]{1,6}(\.[0-9]{1,6})?", value):
        _refuse(text, f"has {name}={value!r}, which is not a number")
    return kind(value)
