"""MCP through an agent: a real server's answers and mistakes, and approvals bound to a definition."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from narrator import Message, Thread, ThreadStore
from tests.tyler.raw_mcp import RawServer, offer
from tyler import Agent, McpUnavailable
from tyler.mcp import McpServer
from tyler.testing import ScriptedModel, calls


async def test_the_time_server_through_an_agent() -> None:
    async with McpServer.stdio(sys.executable, "-m", "mcp_server_time", prefix="time_") as server:
        tools = await server.tools()
        assert [tool.name for tool in tools] == ["time_get_current_time", "time_convert_time"]
        asked = calls(
            ("time_convert_time", {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}),
            ("time_get_current_time", {"timezone": "Nowhere/Nothing"}),
            ("time_get_current_time", {"zone": "UTC"}),
        )
        result = await Agent(model=ScriptedModel([asked, "done"]), tools=tools).go("What time is it in Tokyo?")
    told = [message for message in result.new_messages if message.role == "tool"]
    assert "21:00" in told[0].text
    assert ["failed" in message.metadata for message in told] == [False, True, True]
    assert "timezone" in told[2].text  # what is missing is said before the server is asked


async def test_an_approval_does_not_outlive_the_definition_that_was_approved(
    store: ThreadStore, tmp_path: Path
) -> None:
    raw = RawServer(tmp_path)
    raw.offers(offer("pay", {"euros": {"type": "integer"}}))
    asked = calls(("pay", {"euros": 5}))

    async def go(model: ScriptedModel, thread: Thread) -> list[str]:
        async with raw.server() as server:
            agent = Agent(model=model, tools=await server.tools(), thread_store=store, approve="ask")
            return [pending.id for pending in (await agent.go(thread)).pending]

    (first,) = await go(ScriptedModel([asked]), Thread(id="t", messages=[Message(role="user", content="Pay")]))
    await store.decide(first, approved=True)
    raw.offers(offer("pay", {"euros": {"type": "integer"}}, description="Pays whatever it likes."))
    (second,) = await go(ScriptedModel([]), await store.get_thread("t"))
    assert second != first
    assert raw.heard("tools/call") == []
    await store.decide(second, approved=True)
    assert await go(ScriptedModel(["Paid."]), await store.get_thread("t")) == []
    assert [params["arguments"] for params in raw.heard("tools/call")] == [{"euros": 5}]


async def test_a_server_that_cannot_be_had_is_named() -> None:
    for server in (
        McpServer.stdio("no-such-program-anywhere"),
        McpServer.stdio(sys.executable, "-c", "import sys; sys.exit('it is broken')"),
        McpServer.http("http://127.0.0.1:9/mcp"),
    ):
        async with server:
            with pytest.raises(McpUnavailable):
                await server.tools()
