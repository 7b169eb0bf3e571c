"""The Docker commands: what is run, what the compose file says, and one clear line for each failure."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

from narrator._docker import COMPOSE_FILE, DockerDatabase, data_folder, run_command
from narrator.errors import DockerError

URL = "postgresql+asyncpg://narrator:narrator_dev@localhost:5432/narrator"


def answer(code: int = 0, out: str = "", err: str = "") -> CompletedProcess[str]:
    return CompletedProcess([], code, out, err)


@dataclass
class RecordingRunner:
    """Keeps every command and answers by its words; a list of answers is used up to its last."""

    answers: dict[str, list[CompletedProcess[str]]] = field(default_factory=dict)
    commands: list[list[str]] = field(default_factory=list)

    def __call__(self, command: Sequence[str]) -> CompletedProcess[str]:
        self.commands.append(list(command))
        for words, scripted in self.answers.items():
            if words in " ".join(command):
                return scripted.pop(0) if len(scripted) > 1 else scripted[0]
        if "ps" in command:
            return answer(out="c0ffee\n")
        if "inspect" in command:
            return answer(out="running healthy\n")
        return answer()

    def compose_commands(self) -> list[str]:
        """What was asked of this project, without the options that are always there."""
        return [" ".join(c[c.index("-f") + 2 :]) for c in self.commands if "-f" in c]


@dataclass
class Bench:
    """A DockerDatabase whose runner, words and pauses can be looked at."""

    folder: Path
    runner: RecordingRunner = field(default_factory=RecordingRunner)
    said: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    tables_made_at: list[str] = field(default_factory=list)

    @property
    def database(self) -> DockerDatabase:
        return DockerDatabase(say=self.said.append, folder=self.folder, run=self.runner, pause=self.pauses.append)

    def setup(self, port: int | None = None) -> str:
        return self.database.setup(port, self.tables_made_at.append)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "share" / "narrator")


def test_setup_starts_the_project_then_makes_the_tables(bench: Bench) -> None:
    assert bench.setup() == URL
    assert bench.runner.compose_commands() == ["up -d", "ps -q postgres"]
    started = bench.runner.commands[-3]
    file = str(bench.folder / "docker-compose.yml")
    assert started == ["docker", "compose", "-p", "narrator", "-f", file, "up", "-d"]
    assert bench.tables_made_at == [URL]


def test_compose_file_is_local_healthchecked_and_keeps_its_data_in_a_named_volume(bench: Bench) -> None:
    bench.setup(port=5499)
    compose = yaml.safe_load((bench.folder / "docker-compose.yml").read_text())
    service = compose["services"]["postgres"]
    assert service["image"] == "postgres:17"
    assert service["ports"] == ["127.0.0.1:5499:5432"]
    assert service["environment"] == {
        "POSTGRES_USER": "narrator",
        "POSTGRES_PASSWORD": "narrator_dev",
        "POSTGRES_DB": "narrator",
    }
    assert service["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    assert "127.0.0.1" in service["healthcheck"]["test"], "on the socket it says ready too early"
    volume, _, target = service["volumes"][0].partition(":")
    assert target == "/var/lib/postgresql/data"
    assert volume in compose["volumes"]
    assert "version" not in compose
    assert "name" not in compose, "docker-compose 1 refuses the key"


def test_setup_waits_until_healthy_and_says_so(bench: Bench) -> None:
    starting = [answer(out="running starting\n")] * 3
    bench.runner.answers["inspect"] = [*starting, answer(out="running healthy\n")]
    bench.setup()
    assert len(bench.pauses) == 3
    assert any("Waiting for PostgreSQL" in line for line in bench.said)
    assert bench.tables_made_at == [URL]


def test_setup_again_keeps_the_port_chosen_before(bench: Bench) -> None:
    bench.setup(port=5499)
    assert ":5499/" in bench.setup()
    assert ":5500/" in bench.setup(port=5500)


def test_start_uses_the_port_of_the_set_up(bench: Bench) -> None:
    bench.setup(port=5499)
    bench.runner.commands.clear()
    assert ":5499/" in bench.database.start()
    assert bench.runner.compose_commands() == ["up -d", "ps -q postgres"]


def test_stop_keeps_the_data_unless_told_to_remove_it(bench: Bench) -> None:
    bench.setup()
    bench.runner.commands.clear()
    bench.database.stop()
    assert bench.runner.compose_commands() == ["stop"]
    bench.runner.commands.clear()
    bench.database.stop(remove_volumes=True)
    assert bench.runner.compose_commands() == ["down --volumes"]


def test_older_docker_compose_is_used_where_the_plugin_is_missing(bench: Bench) -> None:
    bench.runner.answers["docker compose version"] = [answer(1, err="unknown command: docker compose")]
    bench.setup()
    assert bench.runner.commands[-3][:3] == ["docker-compose", "-p", "narrator"]


@pytest.mark.parametrize("command", ["start", "stop"])
def test_start_and_stop_before_set_up_name_the_command_to_run(bench: Bench, command: str) -> None:
    with pytest.raises(DockerError, match="Run `narrator docker-setup` first"):
        getattr(bench.database, command)()


DAEMON_DOWN = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
PORT_TAKEN = (
    "Error response from daemon: driver failed programming external connectivity on endpoint x: "
    "Bind for 127.0.0.1:5432 failed: port is already allocated"
)
PORT_TAKEN_BY_ANOTHER = "failed to bind host port for 127.0.0.1:5432:172.18.0.2:5432/tcp: address already in use"
NO_PERMISSION = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"


@pytest.mark.parametrize(
    ("words", "stderr", "expected"),
    [
        ("docker version", DAEMON_DOWN, "docker does not answer. Start Docker Desktop"),
        ("docker version", "error during connect: Get http://%2F%2F.%2Fpipe", "docker does not answer"),
        ("docker version", NO_PERMISSION, "usermod -aG docker"),
        ("up -d", PORT_TAKEN, "port 5432 is in use on this machine. Choose another with"),
        ("up -d", PORT_TAKEN_BY_ANOTHER, "narrator docker-setup --port 5433"),
        ("up -d", "pull access denied\nmanifest unknown\n\n", "failed with exit code 1: manifest unknown"),
        ("up -d", "", "failed with exit code 1: no message"),
        ("compose version", "unknown", "neither `docker compose` nor `docker-compose` works"),
    ],
)
def test_each_failure_is_one_clear_line_and_makes_no_tables(
    bench: Bench, words: str, stderr: str, expected: str
) -> None:
    bench.runner.answers[words] = [answer(1, err=stderr)]
    bench.runner.answers["docker-compose version"] = [answer(127)]
    with pytest.raises(DockerError) as caught:
        bench.setup()
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert bench.tables_made_at == []


@pytest.mark.parametrize("state", ["running starting", "running unhealthy", "exited unhealthy"])
def test_database_that_never_gets_healthy_is_given_up_with_the_command_for_its_logs(bench: Bench, state: str) -> None:
    bench.runner.answers["inspect"] = [answer(out=state)]
    with pytest.raises(DockerError, match=rf"not healthy .*{state}.*logs postgres"):
        bench.setup()
    assert sum(bench.pauses) <= 60
    assert bench.tables_made_at == []


def test_container_that_is_not_there_is_a_failure(bench: Bench) -> None:
    bench.runner.answers["ps -q"] = [answer(out="\n")]
    with pytest.raises(DockerError, match="'gone'"):
        bench.setup()


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bench = Bench(tmp_path / "file" / "narrator")
    with pytest.raises(DockerError, match=r"docker-compose\.yml' cannot be written"):
        bench.setup()


def test_data_folder_follows_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_folder({"XDG_DATA_HOME": "/data"}, "linux") == Path("/data/narrator")
    assert data_folder({"XDG_DATA_HOME": "relative"}, "linux") == tmp_path / ".local/share/narrator"
    assert data_folder({}, "darwin") == tmp_path / "Library/Application Support/narrator"
    assert data_folder({"LOCALAPPDATA": "/local"}, "win32") == Path("/local/narrator")


def test_compose_file_has_one_place_for_the_port() -> None:
    assert COMPOSE_FILE.count("{port}") == 1


def fake_docker(folder: Path, script: str) -> None:
    folder.mkdir(exist_ok=True)
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def narrator(*arguments: str, path: Path, home: Path) -> CompletedProcess[str]:
    """The real command in a process whose PATH holds nothing but `path`."""
    env = {"PATH": str(path), "HOME": str(home), "XDG_DATA_HOME": str(home / "data")}
    env |= {name: os.environ[name] for name in ("PYTHONPATH", "SYSTEMROOT") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "narrator.cli", *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )


DOCKER_COMMANDS = [
    ["docker-setup"],
    ["docker-start"],
    ["docker-stop"],
    ["docker-stop", "--remove-volumes", "--yes"],
]


@pytest.mark.parametrize("arguments", DOCKER_COMMANDS)
def test_machine_without_docker_gets_one_line_and_exit_1(arguments: list[str], tmp_path: Path) -> None:
    done = narrator(*arguments, path=tmp_path / "empty", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("narrator: docker was not found. Install it")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("arguments", DOCKER_COMMANDS)
def test_daemon_that_does_not_run_gives_one_line_and_exit_1(arguments: list[str], tmp_path: Path) -> None:
    fake_docker(tmp_path / "bin", f"echo '{DAEMON_DOWN}' >&2; exit 1")
    done = narrator(*arguments, path=tmp_path / "bin", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("narrator: docker does not answer.")
    assert done.stderr.count("\n") == 1


def test_docker_without_compose_gives_one_line_and_exit_1(tmp_path: Path) -> None:
    fake_docker(tmp_path / "bin", '[ "$1" = version ] || { echo "unknown command: docker $1" >&2; exit 1; }')
    done = narrator("docker-setup", path=tmp_path / "bin", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("narrator: docker is here, but neither")


def test_docker_that_may_not_be_run_is_a_docker_error(tmp_path: Path) -> None:
    fake_docker(tmp_path / "bin", "exit 0")
    (tmp_path / "bin" / "docker").write_bytes(b"\x00no program")
    with pytest.raises(DockerError, match="cannot be run"):
        run_command([str(tmp_path / "bin" / "docker")])


def test_removing_the_data_without_a_terminal_needs_yes(tmp_path: Path) -> None:
    fake_docker(tmp_path / "bin", f'echo "$@" >> {tmp_path}/log')
    done = narrator("docker-stop", "--remove-volumes", path=tmp_path / "bin", home=tmp_path)
    assert done.returncode == 1
    assert "--yes" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "log").exists(), "docker was asked to do something"


def test_stop_with_yes_removes_the_volumes(tmp_path: Path) -> None:
    fake_docker(tmp_path / "bin", f'echo "$@" >> {tmp_path}/log')
    folder = tmp_path / "data" / "narrator"
    folder.mkdir(parents=True)
    (folder / "docker-compose.yml").write_text(COMPOSE_FILE.format(port=5432))
    done = narrator("docker-stop", "--remove-volumes", "--yes", path=tmp_path / "bin", home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "PostgreSQL is stopped and its data removed\n"
    assert (tmp_path / "log").read_text().splitlines()[-1].endswith("docker-compose.yml down --volumes")
