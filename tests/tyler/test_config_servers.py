"""The keys of a configuration file for windows, fallbacks and MCP servers, and open_agent."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from narrator.errors import ConfigurationError
from tyler import Agent, FallbackModel
from tyler.context import ContextWindow
from tyler.errors import McpUnavailable
from tyler.open_agent import open_agent
from tyler.testing import ScriptedModel, calls


def written(folder: Path, text: str) -> Path:
    path = folder / "agent.yaml"
    path.write_text(dedent(text), encoding="utf-8")
    return path


def test_a_window_and_fallbacks(tmp_path: Path) -> None:
    agent = Agent.from_config(
        written(
            tmp_path,
            """
            model: gpt-4o
            fallback_models: [anthropic/claude-sonnet-4-5, openai/other]
            context: {max_tokens: 9000, summarize: gpt-4o-mini, keep: 0.4, tool_output_chars: 2000}
            """,
        )
    )
    assert isinstance(agent.model, FallbackModel)
    assert agent.context == ContextWindow(9000, summarize="gpt-4o-mini", keep=0.4, tool_output_chars=2000)
    assert Agent.from_config(written(tmp_path, "{model: m/m, context: {max_tokens: 5, summarize: true}}")).context == (
        ContextWindow(5, summarize=True)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("context: {}", "agent.yaml:2: context: max_tokens is missing"),
        ("context: {max_tokens: null}", "context: max_tokens is missing"),
        ("context: {max_tokens: 0}", "context: ContextWindow(max_tokens=0) must be above 0"),
        ("context: {max_tokens: 1.5}", "context.max_tokens: must be a whole number"),
        ("context: {max_tokens: 9, keep: 2}", "context: ContextWindow(keep=2)"),
        ("context: {max_tokens: 9, keep: null}", "context: "),
        ("context: {max_tokns: 9}", "did you mean 'max_tokens'?"),
        ("context: {max_tokens: 9, summarize: [a]}", "context.summarize: must be text"),
        ("fallback_models: 7", "fallback_models: must be text"),
        ("fallback_models: ['']", "fallback_models[0]: is blank"),
        ("mcp_servers: {}", "mcp_servers: must be a list"),
        ("mcp_servers: [time]", "mcp_servers[0]: must be a mapping"),
        ("mcp_servers: [{command: x}]", "open_agent"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        Agent.from_config(written(tmp_path, f"model: gpt-4o\n{text}\n"))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ("{}", "mcp_servers[0]: needs command: for a program, or url:"),
        ("{command: x, url: 'http://h/mcp'}", "mcp_servers[0]: needs command: for a program, or url:"),
        ("{url: 'http://h/mcp', args: [a]}", "mcp_servers[0].args: does not go with url"),
        ("{command: x, headers: {A: b}}", "mcp_servers[0].headers: does not go with command"),
        ("{command: x, env: {API_KEY: abc}}", "mcp_servers[0].env.API_KEY: is a secret in clear"),
        ("{command: x, env: {A: 5}}", "mcp_servers[0].env.A: must be text"),
        ("{url: ftp://h}", "mcp_servers[0]"),
        ("{command: x, risk: huge}", "mcp_servers[0]"),
        ("{command: x, timeout_s: 0}", "mcp_servers[0]"),
        ("{comand: x}", "did you mean 'command'?"),
        ("{command: x, args: ['${NOT_SET_ANYWHERE}']}", "NOT_SET_ANYWHERE is not set"),
    ],
)
async def test_servers_that_cannot_be_opened_are_named(tmp_path: Path, server: str, message: str) -> None:
    path = written(tmp_path, f"model: gpt-4o\nmcp_servers: [{server}]\n")
    with pytest.raises(ConfigurationError) as error:
        async with open_agent(path):
            raise AssertionError("it was opened")
    assert message in str(error.value)
    assert "abc" not in str(error.value)


async def test_an_agent_with_an_mcp_server_from_a_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"""
        model: gpt-4o
        mcp_servers:
          - command: {sys.executable}
            args: [-m, mcp_server_time, --local-timezone, UTC]
            include: [get_*]
            prefix: time_
            risk: read
        approve: {{time_get_current_time: auto}}
        """,
    )
    call: dict[str, Any] = {"timezone": "UTC"}
    async with open_agent(path, model=ScriptedModel([calls(("time_get_current_time", call)), "done"])) as agent:
        assert list(agent.tools_by_name) == ["time_get_current_time"]
        result = await agent.go("What time is it?")
    assert '"timezone": "UTC"' in result.new_messages[1].text


@pytest.mark.parametrize("wrong", ["modle: x", "budget: 5", "skills: 5"])
async def test_no_server_is_started_for_a_file_that_is_wrong(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=r"agent\.yaml:3"):  # to start it would be McpUnavailable
        async with open_agent(written(tmp_path, f"model: m\nmcp_servers: [{{command: /nowhere}}]\n{wrong}\n")):
            raise AssertionError("it was opened")


async def test_a_servers_folder_starts_from_the_files(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    code = "import pathlib; pathlib.Path('started').touch()"  # and no server
    command = f'{{command: {sys.executable}, args: [-c, "{code}"], cwd: inner}}'
    with pytest.raises(McpUnavailable):
        async with open_agent(written(tmp_path, f"model: m\nmcp_servers: [{command}]\n")):
            raise AssertionError("it was opened")
    assert (tmp_path / "inner" / "started").exists()


async def test_without_servers_it_is_from_config(tmp_path: Path) -> None:
    async with open_agent(written(tmp_path, "model: gpt-4o\nmcp_servers: []\n"), name="n") as agent:
        assert (agent.name, agent.tools_by_name) == ("n", {})
