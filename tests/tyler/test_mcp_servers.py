"""The MCP client against real servers: time and git over stdio, "everything" over stdio and streamable HTTP."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from narrator import Message, Thread, ThreadStore
from tests.tyler.raw_mcp import RawServer, call, context, offer
from tyler import Agent, McpUnavailable
from tyler.mcp import McpServer
from tyler.testing import ScriptedModel, calls

EVERYTHING = ("npx", "-y", "@modelcontextprotocol/server-everything")


def has_everything() -> bool:
    """Whether npx can start the server here: it needs node, and the package in its cache or a registry."""
    if shutil.which("npx") is None:
        return False
    try:
        command = [*EVERYTHING, "--help"]
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode in (0, 1)
    except subprocess.TimeoutExpired:
        return False


@asynccontextmanager
async def everything_over_http() -> AsyncIterator[str]:
    """The server on a free port; its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = await asyncio.create_subprocess_exec(
        *EVERYTHING,
        "streamableHttp",
        env={**os.environ, "PORT": str(port)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(60):
            while program.returncode is None:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    await writer.wait_closed()
                    break
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        os.killpg(program.pid, 9)
        await program.wait()


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


async def test_the_git_server_reads_a_repository(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "--initial-branch", "main")
    (tmp_path / "a.txt").write_text("hello\n")
    git("add", ".")
    git("commit", "-m", "The first of all")
    server = McpServer.stdio(
        sys.executable, "-m", "mcp_server_git", "--repository", str(tmp_path), include=["git_log", "git_status"]
    )
    async with server:
        tools = await server.tools()
        assert sorted(tool.name for tool in tools) == ["git_log", "git_status"]
        log = await call(tools, "git_log", repo_path=str(tmp_path))
        assert "The first of all" in log.content
        assert (await call(tools, "git_status", repo_path="/nowhere")).failed


async def test_the_everything_server_over_stdio_and_http() -> None:
    if not await asyncio.to_thread(has_everything):
        pytest.skip("npx cannot start @modelcontextprotocol/server-everything here: no node, or no package registry")
    async with everything_over_http() as url:
        for server in (McpServer.stdio(*EVERYTHING, timeout_s=60), McpServer.http(url, timeout_s=60)):
            progress: list[object] = []
            async with server:
                tools = await server.tools()
                assert (await call(tools, "echo", message="hi")).content == "Echo: hi"
                picture = await call(tools, "get-tiny-image")
                assert [file.mime_type for file in picture.attachments] == ["image/png"]
                ctx = context(on_progress=progress.append)
                await call(tools, "trigger-long-running-operation", ctx, duration=0.2, steps=2)
                assert len(progress) >= 1


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
