"""A PostgreSQL for development in Docker: one compose project named `narrator`, on this machine only.

Everything goes through `docker compose` (or the older `docker-compose`) by an injected runner.
Making the tables is the caller's, and so is asking before data is removed.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import NoReturn

from narrator.errors import DockerError

Runner = Callable[[Sequence[str]], CompletedProcess[str]]

DEFAULT_PORT = 5432
HEALTHY_WITHIN_S = 60
_POLL_S = 0.5
_COMMAND_TIMEOUT_S = 900  # the first `up` downloads the image
_SERVICE = "postgres"

# The port is open on 127.0.0.1 only: the password is public. pg_isready asks over TCP, for while the
# image prepares a new data folder its server answers on the unix socket alone, and then stops again.
# The major version is pinned because a data folder belongs to one; minor ones bring fixes.
COMPOSE_FILE = """\
# Written by `narrator docker-setup`, which overwrites changes made here.
services:
  postgres:
    image: postgres:17
    environment:
      POSTGRES_USER: narrator
      POSTGRES_PASSWORD: narrator_dev
      POSTGRES_DB: narrator
    ports:
      - "127.0.0.1:{port}:5432"
    volumes:
      - postgres-data:/var/lib/postgresql/data
    healthcheck:
      test: ["CMD", "pg_isready", "-h", "127.0.0.1", "-U", "narrator", "-d", "narrator"]
      interval: 1s
      timeout: 3s
      retries: 30
      start_period: 30s
volumes:
  postgres-data: {{}}
"""

_NO_DOCKER = (
    "docker was not found. Install it (https://docs.docker.com/get-docker/), or use SQLite or a PostgreSQL "
    "of your own: set NARRATOR_DATABASE_URL and run `narrator init`"
)
_NO_COMPOSE = (
    "docker is here, but neither `docker compose` nor `docker-compose` works. "
    "Install Docker Compose (https://docs.docker.com/compose/install/)"
)
_NO_DAEMON = "docker does not answer. Start Docker Desktop, or run `sudo systemctl start docker`, and try again"
_NO_PERMISSION = (
    "docker may not be used by this user. Add the user to the group: `sudo usermod -aG docker $USER`, and log in again"
)
_PORT_IN_USE = (
    "port {port} is in use on this machine. Choose another with `narrator docker-setup --port {other}`, "
    "or stop what uses it"
)
# What docker, Docker Desktop and podman's docker say, in lower case; the first match counts.
_CAUSES = (
    ("permission denied while trying to connect", _NO_PERMISSION),
    ("cannot connect to the docker daemon", _NO_DAEMON),
    ("is the docker daemon running", _NO_DAEMON),
    ("error during connect", _NO_DAEMON),
    ("failed to connect to the docker api", _NO_DAEMON),
    ("port is already allocated", _PORT_IN_USE),
    ("address already in use", _PORT_IN_USE),
    ("ports are not available", _PORT_IN_USE),
)


def run_command(command: Sequence[str]) -> CompletedProcess[str]:
    """The finished command, whatever its exit code; DockerError when it cannot be run or never ends."""
    try:
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_COMMAND_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        raise DockerError(_NO_DOCKER if command[0] == "docker" else _NO_COMPOSE) from error
    except subprocess.TimeoutExpired as error:
        raise DockerError(f"`{shlex.join(command)}` did not end in {_COMMAND_TIMEOUT_S} s") from error
    except OSError as error:
        raise DockerError(f"`{command[0]}` cannot be run: {error.strerror}") from error


def data_folder(env: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """The folder for narrator's own files on this machine; not made here.

    $XDG_DATA_HOME/narrator where that is set, else the platform's usual place.
    """
    xdg = env.get("XDG_DATA_HOME", "")
    if xdg and Path(xdg).is_absolute():  # the specification says to ignore a relative one
        return Path(xdg) / "narrator"
    home = Path.home()
    if platform == "win32":
        return Path(env.get("LOCALAPPDATA") or home / "AppData" / "Local") / "narrator"
    if platform == "darwin":
        return home / "Library" / "Application Support" / "narrator"
    return home / ".local" / "share" / "narrator"


@dataclass(frozen=True)
class DockerDatabase:
    """The development database. Every failure is a DockerError with one line that says what to do."""

    say: Callable[[str], None]
    folder: Path = field(default_factory=data_folder)
    run: Runner = run_command
    pause: Callable[[float], None] = time.sleep

    @property
    def compose_file(self) -> Path:
        """Where docker-setup writes; what docker-start and docker-stop read."""
        return self.folder / "docker-compose.yml"

    def setup(self, port: int | None, create_tables: Callable[[str], None]) -> str:
        """The URL of a running database with its tables. Run again it changes nothing but the port.

        Without `port`: the one of the last set-up, else 5432.
        """
        compose = self._compose_command()
        port = port or self._port() or DEFAULT_PORT
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.compose_file.write_text(COMPOSE_FILE.format(port=port), encoding="utf-8")
        except OSError as error:
            raise DockerError(f"{str(self.compose_file)!r} cannot be written: {error.strerror}") from error
        self.say("Starting PostgreSQL in Docker (the first time this downloads the image postgres:17) ...")
        url = self._up(compose, port)
        self.say("Creating the tables ...")
        create_tables(url)
        return url

    def start(self) -> str:
        """The URL of the database that `setup` made, running again."""
        compose = self._compose_command()
        port = self._known_port()
        self.say("Starting PostgreSQL in Docker ...")
        return self._up(compose, port)

    def stop(self, *, remove_volumes: bool = False) -> None:
        """Stop it and keep the data; with `remove_volumes` remove the container and all data."""
        compose = self._compose_command()
        port = self._known_port()
        self._call([*compose, *(("down", "--volumes") if remove_volumes else ("stop",))], port)

    def _up(self, compose: Sequence[str], port: int) -> str:
        self._call([*compose, "up", "-d"], port)
        self._wait_until_healthy(compose, port)
        return f"postgresql+asyncpg://narrator:narrator_dev@localhost:{port}/narrator"

    def _wait_until_healthy(self, compose: Sequence[str], port: int) -> None:
        look = ("docker", "inspect", "--format", "{{.State.Status}} {{.State.Health.Status}}")
        container = self._call([*compose, "ps", "-q", _SERVICE], port).strip()
        polls = round(HEALTHY_WITHIN_S / _POLL_S)
        state = "gone"
        for poll in range(polls if container else 0):
            state = self._call([*look, container], port).strip()
            if state == "running healthy":
                return
            if state.startswith(("exited", "dead")) or state.endswith("unhealthy"):
                break
            if poll % round(5 / _POLL_S) == 0:
                self.say(f"Waiting for PostgreSQL to accept connections ({poll * _POLL_S:.0f} s) ...")
            self.pause(_POLL_S)
        logs = shlex.join([*compose, "logs", _SERVICE])
        raise DockerError(
            f"PostgreSQL is not healthy after {HEALTHY_WITHIN_S} s at most (its container is {state!r}). See `{logs}`"
        )

    def _compose_command(self) -> list[str]:
        """`docker compose` or `docker-compose`, whichever works, for this project and file."""
        # `docker version` and not --version: only the former asks the daemon.
        self._call(["docker", "version"], DEFAULT_PORT)
        options = ["-p", "narrator", "-f", str(self.compose_file)]
        if self.run(["docker", "compose", "version"]).returncode == 0:
            return ["docker", "compose", *options]
        if self.run(["docker-compose", "version"]).returncode == 0:
            return ["docker-compose", *options]
        raise DockerError(_NO_COMPOSE)

    def _port(self) -> int | None:
        try:
            match = re.search(r"127\.0\.0\.1:(\d+):5432", self.compose_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise DockerError(f"{str(self.compose_file)!r} cannot be read. Remove it and try again") from error
        return int(match[1]) if match else None

    def _known_port(self) -> int:
        port = self._port()
        if port is None:
            raise DockerError(
                f"There is no narrator database in Docker yet ({str(self.compose_file)!r} is missing). "
                "Run `narrator docker-setup` first"
            )
        return port

    def _call(self, command: Sequence[str], port: int) -> str:
        """What the command prints; DockerError when it fails."""
        done = self.run(command)
        if done.returncode != 0:
            _explain(command, done, port)
        return done.stdout


def _explain(command: Sequence[str], done: CompletedProcess[str], port: int) -> NoReturn:
    said = f"{done.stderr}\n{done.stdout}"
    for words, message in _CAUSES:
        if words in said.lower():
            raise DockerError(message.format(port=port, other=5433 if port != 5433 else 5434))
    last = next((line.strip() for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
    raise DockerError(f"`{shlex.join(command)}` failed with exit code {done.returncode}: {last}")
