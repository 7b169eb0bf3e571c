"""Settings and database URLs: what is taken, what is refused, and that no password gets out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from narrator.config import DatabaseUrl, PoolSettings, database_url_from_env, parse_url
from narrator.database_url import hide_password, hide_passwords_in
from narrator.errors import ConfigurationError

POOL_VARIABLES = [
    "NARRATOR_DB_POOL_SIZE",
    "NARRATOR_DB_MAX_OVERFLOW",
    "NARRATOR_DB_POOL_TIMEOUT",
    "NARRATOR_DB_POOL_RECYCLE",
]


def driver_arguments(url: DatabaseUrl) -> dict[str, object]:
    """What the driver's connect() would get."""
    engine_url = url.engine_url()
    _, arguments = engine_url.get_dialect()().create_connect_args(engine_url)
    return {**arguments, **url.connect_args}


def test_pool_settings_default_to_the_guides_values() -> None:
    assert PoolSettings.from_env({}) == PoolSettings(size=5, max_overflow=10, timeout_s=30.0, recycle_s=300)


def test_pool_settings_are_read_from_the_four_variables() -> None:
    env = dict(zip(POOL_VARIABLES, ["20", "0", "2.5", "-1"], strict=True))
    assert PoolSettings.from_env(env) == PoolSettings(size=20, max_overflow=0, timeout_s=2.5, recycle_s=-1)


def test_empty_pool_variable_means_the_default() -> None:
    assert PoolSettings.from_env(dict.fromkeys(POOL_VARIABLES, " ")) == PoolSettings()


@pytest.mark.parametrize("variable", POOL_VARIABLES)
@pytest.mark.parametrize("value", ["five", "-3", "nan", "inf", "1e3", "1_0", "9" * 40, "0x5", "٥", "5;", "--5"])
def test_nonsense_pool_variable_is_refused_by_name_and_value(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PoolSettings.from_env({variable: value})
    assert variable in str(caught.value)
    assert value in str(caught.value) or "***" in str(caught.value)
    assert "must be a" in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NARRATOR_DB_POOL_SIZE", "0"),
        ("NARRATOR_DB_POOL_SIZE", "2.5"),
        ("NARRATOR_DB_POOL_SIZE", "1001"),
        ("NARRATOR_DB_MAX_OVERFLOW", "-1"),
        ("NARRATOR_DB_POOL_TIMEOUT", "0"),
        ("NARRATOR_DB_POOL_TIMEOUT", "-0.5"),
        ("NARRATOR_DB_POOL_RECYCLE", "-2"),
        ("NARRATOR_DB_POOL_RECYCLE", "1.5"),
    ],
)
def test_pool_variable_outside_its_range_is_refused(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable}={value!r}"):
        PoolSettings.from_env({variable: value})


def test_url_in_a_pool_variable_does_not_show_its_password() -> None:
    with pytest.raises(ConfigurationError) as caught:
        PoolSettings.from_env({"NARRATOR_DB_POOL_SIZE": "postgresql://u:hunter2@h/db"})
    assert "hunter2" not in str(caught.value)


def test_database_url_comes_from_its_variable() -> None:
    assert database_url_from_env({"NARRATOR_DATABASE_URL": " sqlite:///x.db\n"}) == "sqlite:///x.db"


@pytest.mark.parametrize("env", [{}, {"NARRATOR_DATABASE_URL": ""}, {"NARRATOR_DATABASE_URL": "  "}])
def test_missing_database_url_says_how_to_set_it(env: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"export NARRATOR_DATABASE_URL="):
        database_url_from_env(env)


@pytest.mark.parametrize(
    "url", ["postgresql+asyncpg://u:p@h:5433/db", "postgresql://u:p@h:5433/db", "POSTGRES://u:p@h:5433/db"]
)
def test_every_postgresql_spelling_becomes_asyncpg(url: str) -> None:
    parsed = parse_url(url)
    assert parsed.backend == "postgresql"
    assert parsed.url == "postgresql+asyncpg://u:p@h:5433/db"
    assert parsed.safe == "postgresql+asyncpg://u:***@h:5433/db"
    expected = {"user": "u", "password": "p", "host": "h", "port": 5433, "database": "db"}
    assert driver_arguments(parsed) == expected


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ("p%40%2F%3A%3F%23%25ss", "p@/:?#%ss"),
        ("p@ss", "p@ss"),
        ("p:ss", "p:ss"),
        ("p#ss", "p#ss"),
        ("100%", "100%"),
        ("a+b c", "a+b c"),
        ("пароль", "пароль"),
        ("", None),
    ],
)
def test_password_reaches_the_driver_as_it_was_meant(written: str, password: str | None) -> None:
    parsed = parse_url(f"postgresql://me:{written}@localhost/db")
    assert driver_arguments(parsed).get("password") == password
    # The text is right for SQLAlchemy too, not only engine_url().
    assert make_url(parsed.url).password == password
    assert not password or password not in parsed.safe + repr(parsed)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://localhost/support", {"host": "localhost", "database": "support"}),
        ("postgresql:///db", {"database": "db"}),
        (
            "postgresql:///db?host=/var/run/pg&port=5433",
            {"database": "db", "host": "/var/run/pg", "port": 5433},
        ),
        ("postgresql://me@%2Fvar%2Frun/db", {"user": "me", "host": "/var/run", "database": "db"}),
        ("postgresql://[::1]:5433/db", {"host": "::1", "port": 5433, "database": "db"}),
        ("postgresql://h/a%20b%2Fc", {"host": "h", "database": "a b/c"}),
        ("postgresql://h/db?sslmode=require", {"host": "h", "database": "db", "ssl": "require"}),
        (
            "postgresql://h/db?connect_timeout=5&statement_cache_size=0&application_name=bot",
            {
                "host": "h",
                "database": "db",
                "timeout": 5.0,
                "statement_cache_size": 0,
                "server_settings": {"application_name": "bot"},
            },
        ),
        (
            "postgresql://h/db?user=me&password=p%40ss",
            {"host": "h", "database": "db", "user": "me", "password": "p@ss"},
        ),
        ("postgresql:///?host=/tmp&dbname=db", {"host": "/tmp", "database": "db"}),
        (
            "postgresql:///db?host=a:1&host=b:2",
            {"host": ["a", "b"], "port": [1, 2], "database": "db"},
        ),
    ],
)
def test_postgresql_places_and_parameters_reach_the_driver(url: str, expected: dict[str, object]) -> None:
    assert driver_arguments(parse_url(url)) == expected


def test_password_in_the_query_is_hidden() -> None:
    parsed = parse_url("postgresql://h/db?user=me&password=hunter2@x")
    assert parsed.safe == "postgresql+asyncpg://me:***@h/db"
    assert "hunter2" not in repr(parsed)


@pytest.mark.parametrize("url", ["sqlite+aiosqlite:///x.db", "sqlite:///x.db", "sqlite:///./x.db"])
def test_relative_sqlite_path_is_pinned_to_the_folder_of_now(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parsed = parse_url(url)
    monkeypatch.chdir("/")
    assert parsed.backend == "sqlite"
    assert parsed.path == tmp_path / "x.db"
    assert parsed.engine_url().database == str(tmp_path / "x.db")


@pytest.mark.parametrize(
    ("name", "filename"),
    [("a b.db", "a b.db"), ("100%25.db", "100%.db"), ("what%3F.db", "what?.db"), ("ü.db", "ü.db")],
)
def test_odd_sqlite_file_names_reach_the_driver(name: str, filename: str, tmp_path: Path) -> None:
    parsed = parse_url(f"sqlite:///{tmp_path}/{name}")
    assert parsed.path == tmp_path / filename
    assert parsed.engine_url().database == str(tmp_path / filename)


def test_sqlite_timeout_reaches_the_driver_as_a_number(tmp_path: Path) -> None:
    parsed = parse_url(f"sqlite:///{tmp_path}/x.db?timeout=2.5")
    assert driver_arguments(parsed)["timeout"] == 2.5
    assert parsed.path == tmp_path / "x.db"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite+aiosqlite:///:memory:"])
def test_sqlite_without_a_file_is_the_memory_backend(url: str) -> None:
    parsed = parse_url(url)
    assert (parsed.backend, parsed.safe, parsed.path) == ("memory", "memory", None)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("conversations.db", "'conversations.db' is not a URL"),
        ("host=db password=hunter2 user=me", "is not a URL"),
        ("mysql://me:hunter2@h/db", "'mysql://me:***@h/db' names a database or driver"),
        ("postgresql+psycopg2://me:hunter2@h/db", "database or driver"),
        ("http://example.com/hunter2@x", "database or driver"),
        ("://", "database or driver"),
        ("sqlite://x.db", "three slashes"),
        ("sqlite:///folder/", "names a folder"),
        ("sqlite:///x.db?mode=ro", "'mode' that is not known"),
        ("sqlite:///x.db?cache=shared", "'cache' that is not known"),
        ("sqlite:///x.db?timeout=soon", "timeout='soon'"),
        ("postgresql://me:hunter2@h", "no database name"),
        ("postgresql://me:hunter2@h:5432/", "no database name"),
        ("postgresql://me:hunter2@h:99999/db", "port"),
        ("postgresql://me:hunter2@h:0/db", "port"),
        ("postgresql://me:hunter2@h:54x/db", "port"),
        ("postgresql://me:hunter2", "port"),
        ("postgresql://me:hunter/2@h/db", "percent-encoded"),
        ("postgresql://me:hunter?2@h/db", "percent-encoded"),
        ("postgresql://me:1/hunter2@h/db", "percent-encoded"),
        ("postgresql://me:hunter2@a:1,b:2/db", "host"),
        ("postgresql://me:hunter2@[::1/db", "host"),
        ("postgresql://me:hunter2@h/db?foo=1", "'foo' that is not known"),
        ("postgresql://me:hunter2@h/db?sslmode=require&sslmode=disable", "'sslmode' twice"),
        ("postgresql://me:hunter2@h/db?connect_timeout=soon", "connect_timeout='soon'"),
        ("postgresql://me:hunter2@h/d\nb", "control characters"),
    ],
)
def test_url_that_cannot_work_says_why_and_what_works_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_url(url)
    message = str(caught.value)
    assert reason in message
    assert "sqlite+aiosqlite:///conversations.db" in message
    assert "postgresql+asyncpg://" in message
    assert "hunter" not in message


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql://me:hunter2@h:1/db", "mysql://me:***@h:1/db"),
        ("mysql://hunter2@h/db", "mysql://***@h/db"),
        ("mysql://h/db?password=hunter2", "mysql://h/db?***"),
        ("mysql://me:hun?ter2@h/db", "mysql://***"),
        ("mysql://h:12/db", "mysql://h:12/db"),
        ("mysql:me:hunter2@h", "***"),
    ],
)
def test_hidden_text_keeps_what_helps(text: str, shown: str) -> None:
    assert hide_password(text) == shown


def test_passwords_of_urls_inside_a_message_are_hidden() -> None:
    message = "cannot reach 'postgresql://me:hun@ter2@h/db' nor x://h/db?password=hunter2&ssl=1"
    hidden = "cannot reach 'postgresql://me:***@h/db' nor x://h/db?password=***&ssl=1"
    assert hide_passwords_in(message) == hidden


def test_reading_a_url_does_not_import_sqlalchemy() -> None:
    code = "import sys; from narrator.config import parse_url; parse_url('postgresql://h/db')"
    check = "assert 'sqlalchemy' not in sys.modules, 'imported'"
    done = subprocess.run([sys.executable, "-c", f"{code}; {check}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
