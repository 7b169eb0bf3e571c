"""The model server is itself held to its promises: a lenient or flaky one would hide faults everywhere else."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.model_server import ModelServer, Reply, fixtures, words

model_server = fixtures.model_server  # by assignment: the tests of it need no conftest
ROOT = Path(__file__).parent.parent


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture
def client(server: ModelServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=10) as opened:
        yield opened


@pytest.fixture
async def async_client(server: ModelServer) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=300)
    async with httpx.AsyncClient(base_url=server.base_url, timeout=30, limits=limits) as opened:
        yield opened


def ask(text: str = "hi", **fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4", "messages": [{"role": "user", "content": text}], **fields}


def post(client: httpx.Client, text: str = "hi", **fields: Any) -> httpx.Response:
    return client.post("/chat/completions", json=ask(text, **fields))


def test_default_answer_echoes_and_counts_words(client: httpx.Client) -> None:
    answer = post(client, "one two three").json()
    assert answer["choices"][0]["message"] == {
        "role": "assistant",
        "content": "echo: one two three",
        "refusal": None,
    }
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def test_script_is_answered_in_order_then_respond(server: ModelServer, client: httpx.Client) -> None:
    server.respond = lambda request: f"{len(request['messages'])} seen"
    server.reply("first")
    server.reply(Reply("second", usage=(100, 20)))
    assert server.unused == 2
    answers = [post(client).json() for _ in range(3)]
    assert [a["choices"][0]["message"]["content"] for a in answers] == ["first", "second", "1 seen"]
    assert answers[1]["usage"]["total_tokens"] == 120
    assert server.unused == 0


def test_tool_calls_get_unique_ids_unless_given(server: ModelServer, client: httpx.Client) -> None:
    for _ in range(2):
        server.reply(tool_calls=[("search", {"q": "x"}), ("search", '{"q": ', "mine")])
    messages = [post(client).json()["choices"][0]["message"] for _ in range(2)]
    (first, given), (second, _) = (message["tool_calls"] for message in messages)
    assert first["id"] != second["id"]
    assert given == {"id": "mine", "type": "function", "function": {"name": "search", "arguments": '{"q": '}}
    assert messages[0]["content"] is None


def test_a_bad_request_is_refused_and_takes_no_reply(server: ModelServer, client: httpx.Client) -> None:
    server.reply("kept")
    refused = client.post("/chat/completions", json={"model": "gpt-4", "messages": []})
    assert refused.status_code == 400
    assert refused.json()["error"]["type"] == "invalid_request_error"
    assert "messages: must be a non-empty list" in refused.json()["error"]["message"]
    assert [r.violations for r in server.refused] == [["messages: must be a non-empty list"]]
    assert post(client).json()["choices"][0]["message"]["content"] == "kept"
    assert [r.status for r in server.requests] == [400, 200]


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[]", b'{"model": "m", "messages": [NaN]}', b'"\\ud800"'])
def test_a_body_that_is_no_json_object_is_refused(server: ModelServer, client: httpx.Client, body: bytes) -> None:
    assert client.post("/chat/completions", content=body).status_code == 400
    assert len(server.refused) == 1


def test_key_model_and_route_are_checked(server: ModelServer, client: httpx.Client) -> None:
    server.api_key, server.models = "right", {"gpt-4"}
    right = {"Authorization": "Bearer right"}
    assert client.post("/chat/completions", json=ask()).json()["error"]["code"] == "invalid_api_key"
    unknown = client.post("/chat/completions", json=ask() | {"model": "gpt-9"}, headers=right)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert client.post("/chat/completions", json=ask(), headers=right).status_code == 200
    assert client.get("/models").json()["data"][0]["id"] == "gpt-4"
    assert client.get("/nowhere").status_code == 404
    assert server.refused == []
    assert server.requests[2].headers["authorization"] == "Bearer right"


def test_a_failing_respond_is_raised_to_the_test() -> None:
    def broken(request: dict[str, Any]) -> str:
        raise ZeroDivisionError(request["model"])

    with pytest.raises(ZeroDivisionError), ModelServer() as server:  # noqa: PT012 - the exit is what raises
        server.respond = broken
        assert httpx.post(f"{server.base_url}/chat/completions", json=ask()).status_code == 400


async def test_256_requests_at_once(server: ModelServer, async_client: httpx.AsyncClient) -> None:
    server.hold()
    asking = [async_client.post("/chat/completions", json=ask(f"n{i}")) for i in range(256)]
    running = asyncio.gather(*asking)
    await asyncio.to_thread(server.wait_for_held, 256)
    server.release()
    texts = [answer.json()["choices"][0]["message"]["content"] for answer in await running]
    assert texts == [f"echo: n{i}" for i in range(256)]


async def test_waiting_in_a_coroutine_is_refused_with_the_way_out(server: ModelServer) -> None:
    with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
        server.wait_for_requests(1)


def test_a_wait_that_fails_tells_what_was_seen(server: ModelServer, client: httpx.Client) -> None:
    post(client)
    assert len(server.wait_for_requests(1)) == 1
    with pytest.raises(TimeoutError, match=r"for 2 requests; so far 1 requests \(0 refused\), 0 held"):
        server.wait_for_requests(2, timeout_s=0.01)


def test_a_taken_port_fails_at_start(server: ModelServer) -> None:
    port = int(server.base_url.rsplit(":", 1)[1].removesuffix("/v1"))
    with pytest.raises(OSError, match="address already in use"):
        ModelServer(port=port).start()


async def test_close_breaks_off_answers_under_way(async_client: httpx.AsyncClient) -> None:
    server = ModelServer()
    server.start()
    server.hold()
    running = asyncio.create_task(async_client.post(f"{server.base_url}/chat/completions", json=ask()))
    await asyncio.to_thread(server.wait_for_held)
    await asyncio.to_thread(server.close)
    with pytest.raises(httpx.RemoteProtocolError):
        await running
    server.close()
    server.release()


def test_fixture_sets_the_environment(model_server: ModelServer) -> None:
    assert os.environ["OPENAI_BASE_URL"] == os.environ["OPENAI_API_BASE"] == model_server.base_url
    assert model_server.env().items() <= os.environ.items()


def test_another_process_can_serve_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('["hello", {"tool_calls": [["search", {"q": "x"}]]}, {"status": 503}]', encoding="utf-8")
    command = [sys.executable, "-m", "tests.model_server", "--script", str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        with httpx.Client(base_url=base_url) as client:
            answers = [post(client) for _ in range(3)]
            asked = client.get(base_url.removesuffix("/v1") + "/requests").json()
        process.terminate()
        assert process.wait(10) == 0
    assert answers[0].json()["choices"][0]["message"]["content"] == "hello"
    assert answers[1].json()["choices"][0]["finish_reason"] == "tool_calls"
    assert answers[2].status_code == 503
    assert [(r["status"], r["body"]["model"]) for r in asked] == [(200, "gpt-4")] * 2 + [(503, "gpt-4")]


def test_a_long_conversation_fits(client: httpx.Client) -> None:
    assert post(client, words(1_000_000)).json()["usage"]["prompt_tokens"] == 1_000_000
