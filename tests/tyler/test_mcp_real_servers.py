"""MCP servers that others wrote: Python's for git, and the reference server on Node, over both transports.

The third, mcp-server-time, is used in docs/mcp.md and examples/mcp_time.py, which run in the tests too.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.tyler.raw_mcp import call, context
from tyler.mcp import McpServer

EVERYTHING = "@modelcontextprotocol/server-everything"
VERSION = "2026.8.31"
INSTALL_S = 90


@pytest.fixture(scope="module")
def everything() -> str:
    """The reference server's program. npm installs it once into the virtual environment; `make clean` removes it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node and npm here: the reference MCP server needs them")
    home = Path(sys.prefix) / "mcp-everything"
    program = home / "node_modules" / EVERYTHING / "dist" / "index.js"
    if not program.exists():
        with tempfile.TemporaryDirectory(dir=sys.prefix) as folder:
            command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, f"{EVERYTHING}@{VERSION}"]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_S)
            except subprocess.TimeoutExpired:
                pytest.skip(f"npm did not install {EVERYTHING} within {INSTALL_S} s")
            if done.returncode:
                pytest.skip(f"npm cannot install {EVERYTHING} here: {done.stderr.strip()[-200:]}")
            with suppress(OSError):  # another test process was faster
                Path(folder).rename(home)
                Path(folder).mkdir()
    return str(program)


async def use_everything(server: McpServer) -> None:
    reports: list[object] = []
    async with server:
        tools = await server.tools()
        assert (await call(tools, "echo", message="hi")).content == "Echo: hi"
        assert (await call(tools, "get-sum", a=2, b=3)).content == "The sum of 2 and 3 is 5."
        assert (await call(tools, "get-sum", a="two", b=3)).failed
        image = await call(tools, "get-tiny-image")
        assert [file.mime_type for file in image.attachments] == ["image/png"]
        assert image.attachments[0].content is not None
        assert image.attachments[0].content.startswith(b"\x89PNG")
        listening = context(on_progress=reports.append)
        long = await call(tools, "trigger-long-running-operation", listening, duration=0.1, steps=2)
        assert long.content.startswith("Long running operation completed.")
        assert reports == [{"progress": float(step), "total": 2.0, "message": None} for step in (1, 2)]
        weather = await call(tools, "get-structured-content", location="Chicago")
        assert '"conditions"' in weather.content


async def test_the_reference_server_over_stdio(everything: str) -> None:
    await use_everything(McpServer.stdio("node", everything, "stdio"))


@pytest.fixture
def everything_url(everything: str) -> Iterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with subprocess.Popen(
        ["node", everything, "streamableHttp"],
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/mcp"
        process.kill()


async def test_the_reference_server_over_http(everything_url: str) -> None:
    await use_everything(McpServer.http(everything_url))


@pytest.fixture
def repository(tmp_path: Path) -> str:
    subprocess.run(["git", "init", "-q", "-b", "trunk", tmp_path], check=True)
    (tmp_path / "new.txt").write_text("new\n", encoding="utf-8")
    return str(tmp_path)


async def test_git_is_read_through_its_server(repository: str) -> None:
    command = [sys.executable, "-m", "mcp_server_git", "--repository", repository]
    async with McpServer.stdio(*command, include=["git_status", "git_log"], trust_annotations=True) as server:
        tools = {tool.name: tool for tool in await server.tools()}
        status = await call([*tools.values()], "git_status", repo_path=repository)
        assert "new.txt" in status.content
        log = await call([*tools.values()], "git_log", repo_path=repository)
        assert log.failed  # there is no commit yet
    assert (tools["git_status"].effect, tools["git_status"].risk) in {("read", "read"), ("read", "external")}
