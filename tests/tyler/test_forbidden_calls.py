"""Tests that must not reach a model: `forbid_model_calls`, `allow_model_calls`, TYLER_FORBID_MODEL_CALLS."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from narrator import Message, Thread, ThreadStore
from tests.litellm_clients import litellm_clients
from tests.model_server import ModelServer
from tests.warm_python import WarmPython
from tyler import Agent, LitellmModel, ModelCallForbidden, ModelUnavailable, Request
from tyler.testing import ScriptedModel, allow_model_calls, calls, forbid_model_calls

__all__ = ["litellm_clients"]
pytestmark = pytest.mark.usefixtures("litellm_clients")

ROOT = Path(__file__).parents[2]
REAL = "openai/any"


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TYLER_FORBID_MODEL_CALLS", raising=False)


async def test_a_forbidden_call_names_the_model_and_what_to_do(model_server: ModelServer) -> None:
    with forbid_model_calls(), pytest.raises(ModelCallForbidden) as caught:
        await Agent(model_name="openai/gpt-dear").go("hello")
    assert "'openai/gpt-dear'" in str(caught.value)
    assert "allow=['openai/gpt-dear']" in str(caught.value)
    assert model_server.requests == []
    assert (await Agent(model_name=REAL).go("hello")).content == "echo: hello"


async def test_it_is_not_taken_for_an_error_by_anybody_who_catches_them() -> None:
    async def expert(question: str) -> str:
        """Ask another agent."""
        try:
            return (await Agent(model_name=REAL).go(question)).content
        except Exception:
            return "the expert is out"

    agent = Agent(model=ScriptedModel([calls(("expert", {"question": "why"}))]), tools=[expert])
    with forbid_model_calls(), pytest.raises(ModelCallForbidden):
        await agent.go("ask the expert")


async def test_the_turn_is_given_back_and_the_input_kept(store: ThreadStore, model_server: ModelServer) -> None:
    agent = Agent(model_name=REAL, thread_store=store)
    thread = Thread(messages=[Message(role="user", content="hello")])
    with forbid_model_calls(), pytest.raises(ModelCallForbidden):
        await agent.go(thread)
    assert [m.role for m in (await store.get_thread(thread.id)).messages] == ["user"]
    assert (await agent.go(thread, wait_s=1)).content == "echo: hello"
    await agent.close()


def test_it_holds_in_threads_and_other_event_loops_and_for_go_sync(model_server: ModelServer) -> None:
    raised: list[BaseException] = []

    def ask(go: object) -> None:
        try:
            asyncio.run(Agent(model_name=REAL).go("hello")) if go == "loop" else Agent(model_name=REAL).go_sync("hello")
        except ModelCallForbidden as error:
            raised.append(error)

    with forbid_model_calls():
        for go in ("loop", "sync"):
            ask(go)
            thread = threading.Thread(target=ask, args=[go])
            thread.start()
            thread.join()
    assert len(raised) == 4
    assert model_server.requests == []


async def test_names_that_are_allowed_are_asked(model_server: ModelServer) -> None:
    with forbid_model_calls(allow=[REAL]):
        assert (await Agent(model_name=REAL).go("hello")).content == "echo: hello"
        with pytest.raises(ModelCallForbidden):
            await Agent(model_name="openai/other").go("hello")
    with forbid_model_calls(), allow_model_calls(REAL):
        assert (await Agent(model_name=REAL).go("hello")).content == "echo: hello"
        with pytest.raises(ModelCallForbidden):
            await Agent(model_name="openai/other").go("hello")
    with forbid_model_calls(), allow_model_calls():
        assert (await Agent(model_name="openai/other").go("hello")).content == "echo: hello"
        with forbid_model_calls(), pytest.raises(ModelCallForbidden):
            await Agent(model_name=REAL).go("hello")


@pytest.mark.parametrize("value", ["1", "true", "yes", "nonsense"])
async def test_the_environment_forbids(value: str, monkeypatch: pytest.MonkeyPatch, model_server: ModelServer) -> None:
    monkeypatch.setenv("TYLER_FORBID_MODEL_CALLS", value)
    with pytest.raises(ModelCallForbidden, match="TYLER_FORBID_MODEL_CALLS"):
        await Agent(model_name=REAL).go("hello")
    with allow_model_calls(REAL):
        assert (await Agent(model_name=REAL).go("hello")).content == "echo: hello"


@pytest.mark.parametrize("value", ["", "0", "False", " no "])
async def test_the_environment_does_not_forbid(
    value: str, monkeypatch: pytest.MonkeyPatch, model_server: ModelServer
) -> None:
    monkeypatch.setenv("TYLER_FORBID_MODEL_CALLS", value)
    assert (await Agent(model_name=REAL).go("hello")).content == "echo: hello"


async def test_a_switch_that_ends_first_or_in_an_error_takes_only_itself_away(model_server: ModelServer) -> None:
    first, second = forbid_model_calls(), allow_model_calls()
    with first:
        second.__enter__()
    assert (await Agent(model_name=REAL).go("hello")).content == "echo: hello"
    second.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match="in the middle"), forbid_model_calls():
        raise RuntimeError("in the middle")
    assert (await Agent(model_name=REAL).go("hello")).content == "echo: hello"


async def test_scripted_models_answer() -> None:
    with forbid_model_calls():
        model = ScriptedModel(["hello", ModelUnavailable("gone")])
        agent = Agent(model=model)
        assert (await agent.go("hi")).content == "hello"
        with pytest.raises(ModelUnavailable):
            await agent.go("hi")


async def test_nothing_of_a_real_model_is_asked() -> None:
    """What litellm knows of a model is for a request, and costs seconds."""
    model = LitellmModel(REAL)
    with forbid_model_calls():
        with pytest.raises(ModelCallForbidden):
            await anext(model.stream(Request([{"role": "user", "content": "hi"}])))
        with pytest.raises(ModelCallForbidden):
            await model.takes_images()
        with pytest.raises(ModelCallForbidden):
            await model.count_tokens([])


def test_text_instead_of_a_list_of_names_is_refused() -> None:
    with pytest.raises(TypeError, match=r"allow=\['openai/any'\]"):
        forbid_model_calls(allow=REAL)


CODE = """
import sys
from tyler import Agent, Attachment, Message, ModelCallForbidden, Thread
picture = Message(role="user", content="look")
picture.add_attachment(Attachment(filename="a.png", content=b"png"))
try:
    Agent(model_name="openai/any").go_sync(Thread(messages=[picture]))
except ModelCallForbidden as error:
    print("forbidden", "litellm" in sys.modules)
"""


def test_litellm_is_not_imported() -> None:
    """In a fresh process, with a picture, for which a model is asked whether it sees."""

    env = {**os.environ, "TYLER_FORBID_MODEL_CALLS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", CODE], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "forbidden False\n"


CONFTEST = """
import pytest
from tyler.testing import forbid_model_calls

@pytest.fixture(autouse=True, scope="session")
def _no_real_models():
    with forbid_model_calls():
        yield
"""
TESTS = """
from tyler import Agent
from tyler.testing import ScriptedModel

def test_real():
    Agent(model_name="openai/any").go_sync("hello")

def test_scripted():
    assert Agent(model=ScriptedModel(["hello"])).go_sync("hi").content == "hello"
"""


def test_in_pytest_the_test_fails_and_the_next_one_runs(tmp_path: Path, warm_python: WarmPython) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    code, out, err = warm_python.run(["-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)], env)
    assert (code, err) == (1, "")
    assert "1 failed, 1 passed" in out
    assert "ModelCallForbidden: model 'openai/any' was asked" in out
