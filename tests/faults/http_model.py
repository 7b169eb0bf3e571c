"""A model that asks the strict server over real HTTP, without litellm's 3 to 8 s of import in every process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import httpx

from narrator import ToolCall
from tests.faults.processes import PATIENCE_S
from tyler.errors import ModelRefused
from tyler.model import Reply, Request, estimated_tokens


class HttpModel:
    """Asks `<base_url>/chat/completions` for each answer; a refused request is ModelRefused, never tried again."""

    name = "strict"

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    async def takes_images(self) -> bool:
        """It does not."""
        return False

    async def count_tokens(self, messages: Sequence[dict[str, Any]]) -> int:
        """An estimate."""
        return estimated_tokens(messages)

    async def stream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """The whole answer in one piece."""
        messages = [{key: chat[key] for key in chat if key != "reasoning"} for chat in request.messages]
        body = {"model": "gpt-4", "messages": messages} | ({"tools": request.tools} if request.tools else {})
        async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False, verify=False) as client:
            response = await client.post(f"{self._base_url}/chat/completions", json=body)
        if response.status_code != 200:
            raise ModelRefused(response.text)
        message = response.json()["choices"][0]["message"]
        asked = [ToolCall.model_validate(call) for call in message.get("tool_calls") or ()]
        yield Reply(content=message["content"], tool_calls=asked)
