"""What the provider itself says in its stream: read before litellm maps, invents or drops it.

litellm calls every reason that it does not know "stop", invents one for a stream that was cut off, and leaves out
pieces that are not in the format (seen in 1.105). Each of these makes a whole answer out of a broken one. So the
reasons are read, and the pieces checked, one step before. How an answer ended is judged in `_answer.py`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

# Where the providers' events have the reason: beside the choice (OpenAI's format), the candidate (Gemini), in the
# delta (Anthropic, Cohere), in the event (Ollama); Gemini blocks a whole prompt in a place of its own. Not deeper, for
# a tool's arguments may have such names too.
_REASON_KEYS = ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason", "blockReason")
_CONTAINERS = ("choices", "candidates", "delta", "promptFeedback")
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")


class MalformedPiece(ValueError):
    """A piece of an answer that is not in the format, so that nobody knows what is missing."""


class ProviderStream:
    """Watches the stream inside one of litellm's; to be made before the first chunk is read.

    `chunks`: what to read. With `plain` that is, in OpenAI's format, the provider's own chunks: litellm makes others of
    the same fields out of them, 0.4 ms each, and after the last one a whole answer once more, for its callbacks.
    """

    def __init__(self, stream: Any, *, plain: bool = False) -> None:
        self._stream = stream
        self.chunks = stream
        self._reasons: list[object] = []
        self._has_field = False
        inner, make_call = getattr(stream, "completion_stream", None), getattr(stream, "make_call", None)
        if inner is not None:
            stream.completion_stream = watched = self._watched(inner)
            if plain and isinstance(watched, AsyncGenerator):
                self.chunks = self._plain(watched)
        elif make_call is not None:  # the request is sent when the first chunk is asked for (Gemini)

            async def watched_call(client: object) -> Any:
                # None: a client of this event loop, which is closed with the others. litellm's is one for all loops.
                return self._watched(await make_call(client=None))

            stream.make_call = watched_call

    @property
    def reasons(self) -> list[object]:
        """Each reason that the provider gave for the end of its answer; none: it gave none.

        Where litellm hides the provider's events, its own record, which has the provider's word or its own for it.
        """
        if self._has_field:
            return self._reasons
        received = getattr(self._stream, "received_finish_reason", None)
        return [] if received is None else [received]

    async def _plain(self, watched: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        """The chunks. A connection that fails is litellm's error, as it would be without us."""
        import litellm
        from aiohttp import ClientError
        from httpx import HTTPError, ReadError, RemoteProtocolError
        from openai import OpenAIError

        try:
            async with aclosing(watched):
                async for chunk in watched:
                    yield chunk
        except (HTTPError, ClientError, OpenAIError, OSError) as error:
            if isinstance(error, ReadError | RemoteProtocolError) and self._reasons:
                return  # the answer had come to its end
            model, provider = self._stream.model, self._stream.custom_llm_provider
            litellm.exception_type(model, error, provider, completion_kwargs={}, extra_kwargs={})
            raise  # not reached: exception_type raises

    def _watched(self, inner: Any) -> Any:
        from openai import AsyncStream

        if isinstance(inner, AsyncStream):
            return self._checked(inner)
        parse = getattr(inner, "chunk_parser", None)  # litellm's parser of one event: Anthropic, Gemini, Cohere, ...
        if parse is not None:

            def watching(chunk: Any) -> Any:
                self._read(chunk)
                return parse(chunk)

            inner.chunk_parser = watching
        return inner

    def _read(self, event: Any) -> None:
        places = [event]
        for key in _CONTAINERS:
            found = event.get(key) if isinstance(event, dict) else None
            places += found if isinstance(found, list) else [found]
        for place in places:
            for key in _REASON_KEYS:
                if isinstance(place, dict) and key in place:
                    self._note(place[key])

    def _note(self, reason: object) -> None:
        self._has_field = True
        if reason not in (None, ""):
            self._reasons.append(reason)

    async def _checked(self, inner: Any) -> AsyncGenerator[Any, None]:
        """The chunks in OpenAI's format, mended where it is plain what is meant. Raises MalformedPiece."""
        try:
            async for chunk in inner:
                if not hasattr(chunk, "__dict__"):
                    raise MalformedPiece("a chunk is no object")
                choices = getattr(chunk, "choices", None) or []
                if not isinstance(choices, list):
                    raise MalformedPiece("choices is no list")
                for choice in choices:
                    self._check(choice)
                if not _is_usage(getattr(chunk, "usage", None)):
                    chunk.usage = None
                yield chunk
        finally:
            await inner.close()

    def _check(self, choice: Any) -> None:
        if not hasattr(choice, "__dict__"):
            raise MalformedPiece("a choice is no object")
        reason = getattr(choice, "finish_reason", None)
        self._note(reason)
        if reason is not None:
            choice.finish_reason = "stop"  # litellm logs, or fails for, what it does not know; the reason is kept here
        delta = getattr(choice, "delta", None)
        if delta is None:
            return
        if not hasattr(delta, "__dict__"):
            raise MalformedPiece("a delta is no object")
        delta.content = _text(getattr(delta, "content", None)) or getattr(delta, "refusal", None)
        calls = getattr(delta, "tool_calls", None)
        if calls is not None and not isinstance(calls, list):
            raise MalformedPiece("tool_calls is no list")
        for piece in calls or ():
            _check_call(piece)
        for number, piece in enumerate(piece for piece in calls or () if piece.index is None):
            piece.index = number


def _text(content: object) -> str | None:
    """The text of a piece; some servers send a list of parts."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise MalformedPiece("content is no text")
    return "".join(str(part.get("text", "")) for part in content if part.get("type") == "text")


def _check_call(piece: Any) -> None:
    function: Any = getattr(piece, "function", None)
    if not hasattr(function, "__dict__"):
        raise MalformedPiece("a tool call has no function")
    if isinstance(getattr(piece, "id", None), int):
        piece.id = str(piece.id)
    if isinstance(getattr(function, "arguments", None), dict):
        function.arguments = json.dumps(function.arguments, ensure_ascii=False)
    for value in (getattr(piece, "id", None), getattr(function, "name", None), getattr(function, "arguments", None)):
        if value is not None and not isinstance(value, str):
            raise MalformedPiece("a tool call's id, name or arguments is no text")
    piece.index = getattr(piece, "index", None)
    if not isinstance(piece.index, int | None):
        raise MalformedPiece("a tool call's index is no number")


def _is_usage(usage: Any) -> bool:
    """Whether all that it counts are numbers of tokens; litellm fails for others, behind a whole answer."""
    if usage is None:
        return True
    details = [part for name in _DETAILS if (part := getattr(usage, name, None)) is not None]
    if not all(hasattr(part, "__dict__") for part in (usage, *details)):
        return False
    counts = [getattr(usage, name, None) for name in _COUNTS]
    counts += [count for part in details for count in vars(part).values()]
    return all(count is None or (type(count) is int and count >= 0) for count in counts)
