"""One scripted answer of the model server, its faults, and its rendering in the chat completion format.

Rendering is pure: a Reply, the request and two ids give bytes. When and how those bytes travel (delays,
holds, broken connections) is the server's job.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import zip_longest
from typing import Any, Literal

Broken = Literal["cut", "close", "reset", "error"]
CallChunks = Literal["split", "whole", "interleaved", "no_index"]
# A dict is sent as its JSON text; a string is sent as it is, so that a script can hold malformed arguments.
CallSpec = Sequence[Any]  # (name, arguments) or (name, arguments, call id)

CREATED = 1_700_000_000  # fixed, so that two runs give equal bytes
PIECE = 8  # characters of arguments in one streamed piece
ERROR_TYPES = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answers to one valid request: an assistant message, and optionally how that goes wrong.

    A chunk is one SSE event that carries something of the message; `*_after` counts them (0 = before the
    first byte of the body). In an answer that is not streamed the body's first half stands for the chunks.

    - `finish_reason`: by default "tool_calls" or "stop". With "length", give the arguments as a cut string.
    - `usage`: (prompt, completion) tokens; by default the words of the request and of the answer.
    - `status`, `retry_after`, `error`, `error_code`: an HTTP error in OpenAI's shape when status is not 200.
    - `html`: this text as text/html, with `status`: what a proxy in between answers.
    - `empty_choices`: a well-formed answer without choices.
    - `delay_s`, `drip_s`: seconds before the first byte, and between chunks.
    - `hold_after`: wait for `server.release()` after so many chunks.
    - `broken`, `broken_after`: "cut" ends the body in order but too early (no [DONE]), "close" closes the
      connection in mid-body, "reset" resets it, "error" sends an error object instead of the rest.
    - `call_chunks`: how tool calls are streamed: in pieces, whole, the pieces of several calls in turns,
      without index.
    """

    text: str | None = None
    _: KW_ONLY
    tool_calls: Sequence[CallSpec] = ()
    finish_reason: str | None = None
    usage: tuple[int, int] | None = None
    status: int = 200
    retry_after: float | None = None
    error: str = "scripted failure"
    error_code: str | None = None
    html: str | None = None
    empty_choices: bool = False
    delay_s: float = 0.0
    drip_s: float = 0.0
    hold_after: int | None = None
    broken: Broken | None = None
    broken_after: int = 1
    call_chunks: CallChunks = "split"

    @property
    def is_completion(self) -> bool:
        """Whether a chat completion is sent, rather than an error or a page."""
        return self.status == 200 and self.html is None


def words(count: int) -> str:
    """A text that streams as exactly `count` chunks."""
    return " ".join(f"w{index}" for index in range(count))


def error_body(message: str, status: int, code: str | None = None) -> dict[str, Any]:
    """OpenAI's error object for an HTTP status."""
    kind, usual_code = ERROR_TYPES.get(status, ("server_error", None))
    return {"error": {"message": message, "type": kind, "param": None, "code": code or usual_code}}


def last_user_text(request: Mapping[str, Any]) -> str:
    """The text of the newest user message, its text parts joined; empty when there is none."""
    for message in reversed(request["messages"]):
        if message["role"] == "user":
            return _content_text(message.get("content"))
    return ""


class Rendering:
    """A Reply made concrete for one request: ids given, arguments as text, usage counted."""

    def __init__(self, reply: Reply, request: Mapping[str, Any], completion_id: str) -> None:
        self.reply = reply
        self.calls = [_call(spec, f"{completion_id}_{index}") for index, spec in enumerate(reply.tool_calls)]
        self.finish_reason = reply.finish_reason or ("tool_calls" if self.calls else "stop")
        options = request.get("stream_options") or {}
        self.wants_usage = bool(options.get("include_usage"))
        self._envelope = {"id": f"chatcmpl-{completion_id}", "created": CREATED, "model": request["model"]}
        self._request = request

    def body(self) -> bytes:
        """The whole answer as one JSON document."""
        message: dict[str, Any] = {"role": "assistant", "content": self.reply.text, "refusal": None}
        if self.calls:
            message["tool_calls"] = self.calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
        choices = [] if self.reply.empty_choices else [choice]
        document = {
            **self._envelope,
            "object": "chat.completion",
            "choices": choices,
            "usage": self._usage(),
        }
        return json.dumps(document).encode()

    def chunks(self) -> Iterator[bytes]:
        """The SSE events that carry the message, in order, without the closing ones."""
        if self.reply.empty_choices:
            yield self._event([])
            return
        first: dict[str, Any] = {"role": "assistant", "content": None if self.calls else ""}
        for delta in self._deltas():
            yield self._event([_choice({**first, **delta})])
            first = {}
        yield self._event([_choice(first, self.finish_reason)])

    def closing(self) -> Iterator[bytes]:
        """The usage chunk, if it was asked for, and [DONE]."""
        if self.wants_usage:
            yield self._event([], self._usage())
        yield b"data: [DONE]\n\n"

    def _event(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
        chunk: dict[str, Any] = {**self._envelope, "object": "chat.completion.chunk", "choices": choices}
        if self.wants_usage:
            chunk["usage"] = usage
        return sse(chunk)

    def _deltas(self) -> Iterator[dict[str, Any]]:
        for piece in re.findall(r"\s*\S+(?:\s+\Z)?|\s+\Z", self.reply.text or ""):
            yield {"content": piece}
        pieces = [list(self._call_pieces(index, call)) for index, call in enumerate(self.calls)]
        if self.reply.call_chunks == "interleaved":
            for turn in zip_longest(*pieces):
                yield from ({"tool_calls": [piece]} for piece in turn if piece is not None)
            return
        for of_one_call in pieces:
            yield from ({"tool_calls": [piece]} for piece in of_one_call)

    def _call_pieces(self, index: int, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
        place = {} if self.reply.call_chunks == "no_index" else {"index": index}
        if self.reply.call_chunks == "whole":
            yield {**place, **call}
            return
        function = call["function"]
        yield {**place, **call, "function": {**function, "arguments": ""}}
        for start in range(0, len(function["arguments"]), PIECE):
            yield {**place, "function": {"arguments": function["arguments"][start : start + PIECE]}}

    def _usage(self) -> dict[str, int]:
        prompt, completion = self.reply.usage or (
            sum(_message_words(message) for message in self._request["messages"]),
            _message_words({"content": self.reply.text, "tool_calls": self.calls}),
        )
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }


def sse(document: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def _choice(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _call(spec: CallSpec, default_id: str) -> dict[str, Any]:
    name, arguments, call_id = (*spec, f"call_{default_id}")[:3]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


def _content_text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def _message_words(message: Mapping[str, Any]) -> int:
    texts = [_content_text(message.get("content"))]
    texts += [call["function"]["arguments"] for call in message.get("tool_calls") or ()]
    return sum(len(text.split()) for text in texts)
