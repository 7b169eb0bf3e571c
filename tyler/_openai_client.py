"""A client for OpenAI's format that one call owns: its answer is bounded, its connection ends with the call.

litellm's own clients are shared by all calls of an event loop, read whatever comes, and live until the agent closes.
Imported when a call is made: httpx and openai are heavy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import httpx
import openai.resources  # noqa: F401  else the first call imports it, for a second, in the event loop
from openai import AsyncOpenAI

from tyler._chat_client import openai_address
from tyler.errors import ModelAnswerBroken


class Arriving:
    """What arrives for one call, at most `max_bytes` of it. `whole`: an answer of status 2xx came to its end."""

    def __init__(self, model: str, max_bytes: int) -> None:
        self.whole = False
        self.refused: ModelAnswerBroken | None = None
        self._model = model
        self._max_bytes = max_bytes

    async def check(self, response: httpx.Response) -> None:
        """httpx's hook between an answer's head and its body."""
        length = response.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > self._max_bytes:
            raise self._refuse(f"more than {self._max_bytes:,} bytes")
        # Nothing compressed was asked for; a few bytes of it can be gigabytes.
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            raise self._refuse(f"a body in the encoding {encoding[:20]!r}, which was not asked for")
        response.stream = _Bounded(self, response)

    async def pieces(self, response: httpx.Response, stream: httpx.AsyncByteStream) -> AsyncIterator[bytes]:
        """The body, to its end or to the limit."""
        size = 0
        async for piece in stream:
            size += len(piece)
            if size > self._max_bytes:
                raise self._refuse(f"more than {self._max_bytes:,} bytes")
            yield piece
        self.whole = response.is_success

    def _refuse(self, what: str) -> ModelAnswerBroken:
        """Kept as well as raised: the layers above make an error of their own of it."""
        self.refused = ModelAnswerBroken(f"model {self._model!r} answered with {what}; check its address")
        return self.refused


class _Bounded(httpx.AsyncByteStream):
    def __init__(self, arriving: Arriving, response: httpx.Response) -> None:
        stream = response.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError(f"{stream!r} is not the body of an asynchronous answer")
        self._stream = stream
        self._pieces = arriving.pieces(response, stream)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces

    async def aclose(self) -> None:
        await self._stream.aclose()


class _OneTry(AsyncOpenAI):
    """A client that never repeats a request, whatever litellm sets: for images that is always 2 more tries."""

    @property
    def max_retries(self) -> int:
        return 0

    @max_retries.setter
    def max_retries(self, tries: int) -> None:
        pass


@asynccontextmanager
async def openai_client(
    litellm: ModuleType, arriving: Arriving, api_key: str | None, api_base: str | None
) -> AsyncIterator[Any]:
    """An AsyncOpenAI with the key and address that litellm would use. Raises openai's OpenAIError without a key."""
    # Not followed anywhere: a redirect would carry what is sent, a user's file perhaps, to another place. Made in a
    # thread: reading the certificates takes 20 ms.
    connections = await asyncio.to_thread(
        httpx.AsyncClient,
        headers={"Accept-Encoding": "identity"},
        follow_redirects=False,
        timeout=None,
        event_hooks={"response": [arriving.check]},
    )
    async with connections:
        address = openai_address(litellm, api_key, api_base)
        yield _OneTry(
            api_key=address["api_key"],
            base_url=address["api_base"],
            organization=address["organization"],
            http_client=connections,
        )
