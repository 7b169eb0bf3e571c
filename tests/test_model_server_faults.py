"""Each fault that the model server can play, seen from a plain HTTP client."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.model_server import ModelServer, Reply, words

CALLS: list[tuple[str, dict[str, str]]] = [("search", {"q": "long enough"}), ("read", {"path": "a/b/c.txt"})]


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


def body(stream: bool = True, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hi"}]
    return {"model": "gpt-4", "messages": messages, "stream": stream, **fields}


def post(server: ModelServer, reply: Reply, stream: bool = False) -> httpx.Response:
    server.reply(reply)
    return httpx.post(f"{server.base_url}/chat/completions", json=body(stream), timeout=10)


def stream(server: ModelServer, reply: Reply, **fields: Any) -> list[Any]:
    """The data of each event until the end, [DONE] included as a string."""
    server.reply(reply)
    got: list[Any] = []
    url = f"{server.base_url}/chat/completions"
    with httpx.stream("POST", url, json=body(**fields), timeout=10) as response:
        assert response.headers["content-type"] == "text/event-stream"
        for line in response.iter_lines():
            if line:
                data = line.removeprefix("data: ")
                got.append(data if data == "[DONE]" else json.loads(data))
    return got


def deltas(events: list[Any]) -> list[dict[str, Any]]:
    return [event["choices"][0]["delta"] for event in events if event != "[DONE]" and event["choices"]]


def assembled(events: list[Any]) -> list[tuple[str, str]]:
    """Name and arguments of each call, joined by index."""
    calls: dict[int, tuple[str, str]] = {}
    for delta in deltas(events):
        for piece in delta.get("tool_calls", ()):
            name, arguments = calls.get(piece["index"], ("", ""))
            function = piece["function"]
            calls[piece["index"]] = (name + function.get("name", ""), arguments + function["arguments"])
    return list(calls.values())


@pytest.mark.parametrize("text", ["one two  three\n", "  lead", "", " ", "ünï 🙂 c"])
def test_streamed_text_joins_to_the_whole(server: ModelServer, text: str) -> None:
    events = stream(server, Reply(text))
    assert "".join(delta.get("content", "") for delta in deltas(events)) == text
    assert deltas(events)[0]["role"] == "assistant"
    assert events[-1] == "[DONE]"
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert all("usage" not in event for event in events[:-1])
    assert server.requests[0].finished


def test_usage_comes_last_when_asked_for(server: ModelServer) -> None:
    *chunks, last, done = stream(server, Reply("a b"), stream_options={"include_usage": True})
    assert done == "[DONE]"
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert [chunk["usage"] for chunk in chunks] == [None] * 3


def test_2000_chunks_of_text(server: ModelServer) -> None:
    assert sum("content" in delta for delta in deltas(stream(server, Reply(words(2000))))) == 2000


@pytest.mark.parametrize("way", ["split", "whole", "interleaved"])
def test_tool_calls_stream_in_every_way(server: ModelServer, way: Any) -> None:
    events = stream(server, Reply("let me see", tool_calls=CALLS, call_chunks=way))
    assert assembled(events) == [(name, json.dumps(arguments)) for name, arguments in CALLS]
    assert events[-2]["choices"][0]["finish_reason"] == "tool_calls"
    order = [piece["index"] for delta in deltas(events) for piece in delta.get("tool_calls", ())]
    assert (order == sorted(order)) is (way != "interleaved")
    assert (len(order) == 2) is (way == "whole")


def test_tool_call_chunks_without_index(server: ModelServer) -> None:
    events = stream(server, Reply(tool_calls=CALLS, call_chunks="no_index"))
    pieces = [piece for delta in deltas(events) for piece in delta.get("tool_calls", ())]
    assert all("index" not in piece for piece in pieces)
    assert [piece["function"]["name"] for piece in pieces if "id" in piece] == ["search", "read"]


@pytest.mark.parametrize("streaming", [True, False])
def test_cut_arguments_and_other_finish_reasons(server: ModelServer, streaming: bool) -> None:
    cut = Reply(tool_calls=[("search", '{"q": "unfin')], finish_reason="length")
    if streaming:
        events = stream(server, cut)
        assert assembled(events) == [("search", '{"q": "unfin')]
        assert events[-2]["choices"][0]["finish_reason"] == "length"
    else:
        assert post(server, cut).json()["choices"][0]["finish_reason"] == "length"
    filtered = post(server, Reply("", finish_reason="content_filter")).json()["choices"][0]
    assert (filtered["message"]["content"], filtered["finish_reason"]) == ("", "content_filter")


@pytest.mark.parametrize("streaming", [True, False])
def test_http_errors_have_openai_shape(server: ModelServer, streaming: bool) -> None:
    limited = post(server, Reply(status=429, retry_after=1.5), streaming)
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "1.5")
    assert limited.json()["error"]["code"] == "rate_limit_exceeded"
    assert "retry-after" not in post(server, Reply(status=429), streaming).headers
    for status in (500, 503):
        failed = post(server, Reply(status=status, error="out of order"), streaming)
        assert (failed.status_code, failed.json()["error"]["message"]) == (status, "out of order")
    too_long = post(server, Reply(status=400, error_code="context_length_exceeded"), streaming)
    assert too_long.json()["error"]["code"] == "context_length_exceeded"


def test_a_page_instead_of_an_answer(server: ModelServer) -> None:
    for status in (200, 502):
        page = post(server, Reply(html="<html>proxy</html>", status=status))
        assert (page.status_code, page.text) == (status, "<html>proxy</html>")
        assert page.headers["content-type"].startswith("text/html")


def test_empty_choices(server: ModelServer) -> None:
    assert post(server, Reply(empty_choices=True)).json()["choices"] == []
    chunk, done = stream(server, Reply(empty_choices=True))
    assert (chunk["choices"], done) == ([], "[DONE]")


def test_a_cut_stream_ends_in_order_but_too_early(server: ModelServer) -> None:
    events = stream(server, Reply("a b c d", broken="cut", broken_after=2))
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, None]
    assert not server.requests[0].finished
    with pytest.raises(json.JSONDecodeError):
        post(server, Reply("a b c d", broken="cut")).json()


def test_a_stream_may_lack_only_its_done(server: ModelServer) -> None:
    events = stream(server, Reply("a b", broken="cut", broken_after=3))
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


def test_an_error_object_in_mid_stream(server: ModelServer) -> None:
    events = stream(server, Reply("a b c", broken="error", broken_after=1, error="overloaded"))
    assert deltas(events[:1]) == [{"role": "assistant", "content": "a"}]
    assert events[1:] == [{"error": {"message": "overloaded", "type": "server_error", "param": None, "code": None}}]
    assert "error" in post(server, Reply("a", broken="error")).json()


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("how", "error"), [("close", httpx.RemoteProtocolError), ("reset", httpx.ReadError)])
def test_a_connection_lost_in_mid_body(
    server: ModelServer, how: Any, error: type[httpx.TransportError], streaming: bool
) -> None:
    server.reply("a b c d", broken=how, broken_after=1)
    got: list[bytes] = []
    url = f"{server.base_url}/chat/completions"
    with httpx.stream("POST", url, json=body(streaming), timeout=10) as response, pytest.raises(error):
        got.extend(response.iter_raw())
    assert b'"a"' in b"".join(got) or not streaming
    assert got
    assert not server.requests[0].finished


def test_delay_and_drip_take_their_time(server: ModelServer) -> None:
    begun = time.monotonic()
    stream(server, Reply("a b c", delay_s=0.05, drip_s=0.02))
    assert time.monotonic() - begun >= 0.05 + 3 * 0.02


def test_a_reply_is_held_in_mid_stream_until_released(server: ModelServer) -> None:
    server.reply("a b c", hold_after=2)
    url = f"{server.base_url}/chat/completions"
    with httpx.stream("POST", url, json=body(), timeout=10) as response:
        server.wait_for_held()
        lines = response.iter_lines()
        first = [next(lines) for _ in range(3)]
        assert ['"a"' in first[0], '" b"' in first[2]] == [True, True]
        assert not server.requests[0].finished
        server.release()
        assert list(lines)[-2:] == ["data: [DONE]", ""]


def test_a_client_that_hangs_up_is_noticed(server: ModelServer) -> None:
    server.reply("a b c", hold_after=1)
    url = f"{server.base_url}/chat/completions"
    with httpx.stream("POST", url, json=body(), timeout=10):
        server.wait_for_held()
    server.wait_for_hang_up()
    assert (server.requests[0].hung_up, server.requests[0].finished) == (True, False)
