"""What we are held against: the same requests over bare httpx, and over litellm alone.

Both stream, as our agent does, and read every piece of the answer.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx

from benchmarks.harness.model_server import ANSWER, TOOL
from tyler import Agent, tool

MODEL = "openai/bench"
QUESTION = "Where is my order 7?"
RESULT = "order 7 is in the post"

Messages = list[dict[str, Any]]
Ask = Callable[[Messages], Awaitable[str]]


@tool(effect="read")
async def order_status(order: int) -> str:
    """Where an order is.

    Args:
        order: Its number
    """
    return f"order {order} is in the post"


TOOLS = [order_status.definition()]


def litellm_module() -> Any:
    """litellm as our own model client imports it: without the network."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    litellm: Any = importlib.import_module("litellm")
    litellm.suppress_debug_info = True
    return litellm


def agent(base_url: str, **options: Any) -> Agent:
    """Our agent with one tool."""
    return Agent(
        model_name=MODEL, purpose="To help.", tools=[order_status], api_base=base_url, api_key="none", **options
    )


@asynccontextmanager
async def bare_client() -> AsyncIterator[httpx.AsyncClient]:
    """For one request at a time."""
    async with httpx.AsyncClient(timeout=600, verify=False, trust_env=False) as client:
        yield client


@asynccontextmanager
async def bare_clients(count: int) -> AsyncIterator[list[httpx.AsyncClient]]:
    """One for each run that is under way: httpx's pool looks through all its connections for every request."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(bare_client()) for _ in range(count)]


def over_httpx(client: httpx.AsyncClient, base_url: str) -> Ask:
    """The text of a streamed answer, with nothing between httpx and the caller."""

    async def ask(messages: Messages) -> str:
        body = {"model": "bench", "messages": messages, "tools": TOOLS, "stream": True}
        text = ""
        async with client.stream("POST", f"{base_url}/chat/completions", json=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {") and (choices := json.loads(line[6:])["choices"]):
                    text += choices[0]["delta"].get("content", "")
        return text

    return ask


async def litellm_stream(base_url: str, messages: Messages, **options: Any) -> Any:
    """litellm's chunks, called with what our own client calls it with."""
    return await litellm_module().acompletion(
        model=MODEL,
        messages=messages,
        stream=True,
        stream_options={"include_usage": True},
        api_base=base_url,
        api_key="none",
        num_retries=0,
        max_retries=0,
        timeout=600,
        **options,
    )


def over_litellm(base_url: str) -> Ask:
    """The text of a streamed answer, from litellm alone."""
    litellm_module()  # its import is no part of the first request

    async def ask(messages: Messages) -> str:
        chunks = await litellm_stream(base_url, messages, tools=TOOLS)
        return "".join([c.choices[0].delta.content or "" async for c in chunks if c.choices])

    return ask


async def conversation(ask: Ask, tool_rounds: int) -> None:
    """A run by hand: the question, so many tool calls and their results, the answer."""
    messages: Messages = [{"role": "system", "content": "To help."}, {"role": "user", "content": QUESTION}]
    for number in range(tool_rounds):
        await ask(messages)
        function = {"name": TOOL, "arguments": '{"order": 7}'}
        call = {"id": f"call_{number}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": RESULT})
    text = await ask(messages)
    if text != ANSWER:
        raise AssertionError(f"the model server answered {text!r}, not {ANSWER!r}")
