"""litellm's client for OpenAI's chat format, sending the messages as they are.

The openai package walks through all that is sent and holds it against its typed parameters: 0.16 ms a message, 1.6 s
for 10,000. litellm has put it into the wire's form already, so there is nothing to find: the body is the same.
Imported with litellm: openai is heavy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from openai import AsyncOpenAI
from openai.resources.chat import AsyncChat, AsyncCompletions


class _Completions(AsyncCompletions):
    async def create(  # type: ignore[override]  # the package's has forty parameters, in three overloads
        self, *, extra_body: Mapping[str, object] | None = None, **arguments: Any
    ) -> Any:
        # What is in `extra_body` is put over the body, and nobody looks at it.
        body = {name: arguments.pop(name) for name in arguments.keys() - _NOT_IN_THE_BODY}
        return await super().create(messages=[], extra_body={**body, **(extra_body or {})}, **arguments)


_NOT_IN_THE_BODY = {"model", "stream", "extra_headers", "extra_query", "timeout"}


class _Chat(AsyncChat):
    @property
    def completions(self) -> _Completions:
        return _Completions(self._client)


def openai_address(litellm: ModuleType, api_key: str | None, api_base: str | None) -> dict[str, str | None]:
    """Key, address and organization of an OpenAI client, as litellm would choose them."""
    return {
        "api_key": api_key or litellm.api_key or litellm.openai_key or _variable("OPENAI_API_KEY"),
        "api_base": api_base or litellm.api_base or _variable("OPENAI_BASE_URL") or _variable("OPENAI_API_BASE"),
        "organization": litellm.organization or _variable("OPENAI_ORGANIZATION"),
    }


def chat_client(litellm: ModuleType, api_key: str | None, api_base: str | None) -> AsyncOpenAI:
    """For `acompletion(client=)`; litellm keeps it, one for each address and event loop, and `close` ends it.

    Raises openai's OpenAIError without a key.
    """
    client: AsyncOpenAI = litellm.main.openai_chat_completions._get_openai_client(
        is_async=True, max_retries=0, **openai_address(litellm, api_key, api_base)
    )
    vars(client)["chat"] = _Chat(client)  # the place of a cached property
    return client


def _variable(name: str) -> str | None:
    return os.environ.get(name) or None
