"""Which model is chosen, asked of real HTTP servers on this machine."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tyler.local import LocalModel
from tyler.model_choice import PROVIDERS, ModelChoice, choose_model

Ollama = Callable[..., Any]


@contextmanager
def ollama(
    models: dict[str, dict[str, Any]], *, delay_s: float = 0, body: bytes | None = None, status: int = 200
) -> Iterator[str]:
    """A server that answers as Ollama does. `models`: name -> size, capabilities (and more for the list)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            gone.wait(delay_s)
            listed = [
                {"name": name, **{k: v for k, v in m.items() if k != "capabilities"}} for name, m in models.items()
            ]
            self.answer(status, {"models": listed})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["model"]
            found = models[asked].get("capabilities")
            if found == "broken":
                self.answer(500, {"error": "cannot open"})
            else:
                self.answer(200, {"details": {}} if found is None else {"capabilities": found})

        def answer(self, status: int, data: dict[str, Any]) -> None:
            text = json.dumps(data).encode() if body is None else body
            with suppress(ConnectionError):  # who asked has gone
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        def log_message(self, *args: object) -> None:
            pass

    gone = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        gone.set()
        server.shutdown()
        thread.join()


def unused_address() -> str:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return f"127.0.0.1:{server.server_port}"


@pytest.mark.parametrize("variable", PROVIDERS)
def test_a_providers_key_picks_its_large_model_and_is_not_shown(variable: str) -> None:
    choice = choose_model({variable: " sk-secret "})
    assert (choice.kind, choice.model_name, choice.can_call_tools) == ("provider", PROVIDERS[variable], True)
    assert choice.api_key == "sk-secret"
    assert choice.explanation == f"{PROVIDERS[variable]}: {variable} is set"
    assert "secret" not in repr(choice)


def test_the_first_key_of_the_list_wins_and_a_blank_one_is_none() -> None:
    env = {"OPENAI_API_KEY": " ", "GEMINI_API_KEY": "g", "ANTHROPIC_API_KEY": "a"}
    assert choose_model(env).model_name == PROVIDERS["ANTHROPIC_API_KEY"]


def test_litellm_knows_the_providers_models_and_that_they_call_tools() -> None:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    for model_name in PROVIDERS.values():
        model, provider, _, _ = litellm.get_llm_provider(model_name)
        if provider == "openrouter":  # its models are not in litellm's list; this one is another provider's
            model, _, _, _ = litellm.get_llm_provider(model)
        assert litellm.supports_function_calling(model_name if provider != "openrouter" else model), model_name


def test_ollamas_largest_model_that_calls_tools_is_taken() -> None:
    chat, tools = ["completion"], ["completion", "tools"]
    models = {
        "big:70b": {"size": 900, "capabilities": chat},
        "cloud:480b": {"size": 1, "capabilities": tools, "remote_host": "https://ollama.com:443"},
        "broken:30b": {"size": 800, "capabilities": "broken"},
        "qwen3:4b": {"size": 300, "capabilities": tools},
        "llama3.2:3b": {"size": 300, "capabilities": tools},
        "small:1b": {"size": 100, "capabilities": tools},
        "embed": {"size": 2000, "capabilities": ["embedding"]},
    }
    with ollama(models) as address:
        assert choose_model({"OLLAMA_HOST": address}) == ModelChoice(
            kind="ollama",
            model_name="openai/llama3.2:3b",
            can_call_tools=True,
            explanation=f"llama3.2:3b of the Ollama server at http://{address}: no provider's key is set",
            api_base=f"http://{address}/v1",
            api_key="ollama",
        )


def test_an_ollama_without_such_a_model_gives_its_largest_that_chats() -> None:
    models = {"old:7b": {"size": 5}, "older:13b": {"size": 9}, "embed": {"size": 20, "capabilities": ["embedding"]}}
    with ollama(models) as address:
        choice = choose_model({"OLLAMA_HOST": f"http://{address}/"})
    assert (choice.model_name, choice.can_call_tools) == ("openai/older:13b", False)
    assert "cannot call tools" in choice.explanation


def test_a_key_goes_before_ollama() -> None:
    with ollama({"a": {"size": 1, "capabilities": ["completion", "tools"]}}) as address:
        assert choose_model({"OLLAMA_HOST": address, "XAI_API_KEY": "x"}).kind == "provider"


def test_an_address_to_listen_on_is_asked_on_this_machine() -> None:
    with ollama({"a": {"size": 1, "capabilities": ["completion", "tools"]}}) as address:
        port = address.rpartition(":")[2]
        for host in (f"0.0.0.0:{port}", f":{port}", f"http://0.0.0.0:{port}"):
            assert choose_model({"OLLAMA_HOST": host}).api_base == f"http://127.0.0.1:{port}/v1"


@pytest.mark.parametrize(
    "server",
    [
        {"models": {}},
        {"models": {}, "body": b"<html>a router</html>"},
        {"models": {}, "body": b"[]"},
        {"models": {}, "body": b'{"models": [{}]}'},
        {"models": {}, "body": b'{"models": null}'},
        {"models": {"a": {"size": 1}}, "status": 503},
        {"models": {"e": {"size": 1, "capabilities": ["embedding"]}}},
        {"models": {"a": {"size": "big"}}},
    ],
    ids=str,
)
def test_a_server_that_is_of_no_use_leaves_the_local_model(server: dict[str, Any]) -> None:
    with ollama(**server) as address:
        choice = choose_model({"OLLAMA_HOST": address})
    assert (choice.kind, choice.model_name, choice.can_call_tools) == ("local", LocalModel.model_name, False)
    assert choice.explanation.endswith(f"no Ollama server with a model answers at http://{address}")
    assert "\n" not in choice.explanation


@pytest.mark.parametrize("host", ["not a host", "http://[::1", "127.0.0.1:notaport", "127.0.0.1:99999999", "é\x00"])
def test_an_address_that_cannot_be_leaves_the_local_model(host: str) -> None:
    assert choose_model({"OLLAMA_HOST": host}).kind == "local"


def test_no_server_or_a_slow_one_costs_half_a_second_at_most() -> None:
    choose_model({"OLLAMA_HOST": unused_address()})  # imports
    with ollama({"a": {"size": 1}}, delay_s=30) as address:
        started = time.perf_counter()
        assert choose_model({"OLLAMA_HOST": address}).kind == "local"
        assert choose_model({"OLLAMA_HOST": unused_address()}).kind == "local"
        assert time.perf_counter() - started < 2  # 0.5 s, and room for a busy machine


def test_the_local_choice_has_an_address_while_it_is_ready() -> None:
    choice = choose_model({"OLLAMA_HOST": unused_address()})
    assert choice.api_base is None
    with choice.ready() as model:
        assert model.api_base is not None
        assert model.api_base.startswith("http://127.0.0.1:")
        assert model.api_key
        assert model.api_key not in repr(model)
        assert model.model_name == choice.model_name
