"""What an MCP server offers becomes Tools: chosen, named, rated, bounded; a hostile server's offer too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from narrator.errors import ConfigurationError
from tests.tyler.raw_mcp import RawServer, call, offer
from tyler import McpToolsRefused, McpUnavailable, Tool
from tyler.mcp import McpServer
from tyler.tools import collect


@pytest.fixture
def raw(tmp_path: Path) -> RawServer:
    return RawServer(tmp_path)


async def load(raw: RawServer, mode: str = "", **options: Any) -> list[Tool]:
    async with raw.server(mode, **options) as server:
        return await server.tools()


async def test_a_tool_is_described_as_the_server_describes_it(raw: RawServer) -> None:
    raw.offers(offer("look", {"at": {"type": "string", "description": "What"}}), offer("nap", title="Nap"))
    look, nap = await load(raw)
    schema = {"type": "object", "properties": {"at": {"type": "string", "description": "What"}}}
    function = {"name": "look", "description": "It will look.", "parameters": schema}
    assert look.definition() == {"type": "function", "function": function}
    assert nap.parameters == {"type": "object", "properties": {}}
    assert look.timeout_s == 30


async def test_names_become_ones_that_providers_take(raw: RawServer) -> None:
    raw.offers(offer("a.b/c d"), offer("x" * 100), offer("größe"))
    names = [tool.name for tool in await load(raw, prefix="my ")]
    assert names == ["my_a_b_c_d", "my_" + "x" * 61, "my_gr__e"]


async def test_the_server_is_called_by_its_own_name(raw: RawServer) -> None:
    raw.offers(offer("a.b"))
    async with raw.server(prefix="p_") as server:
        assert not (await call(await server.tools(), "p_a_b")).failed
    assert [params["name"] for params in raw.heard("tools/call")] == ["a.b"]


async def test_names_that_clash_after_cleaning_are_refused_with_the_way_out(raw: RawServer) -> None:
    raw.offers(offer("a.b"), offer("a_b"))
    with pytest.raises(McpToolsRefused, match=r"'a\.b' and 'a_b' would both be named 'a_b'; .*exclude=.*prefix="):
        await load(raw)
    assert [tool.name for tool in await load(raw, exclude=["a_b"])] == ["a_b"]


async def test_tools_of_two_servers_that_clash_are_told_to_use_a_prefix(raw: RawServer) -> None:
    tools = await load(raw)
    with pytest.raises(ValueError, match=r"two tools are named 'echo': MCP server '.*' \(give its tools a prefix=\)"):
        collect([tools, tools[:]])


async def test_tools_are_chosen_by_names_and_patterns(raw: RawServer) -> None:
    raw.offers(*map(offer, ["read_file", "read_link", "write_file", "stat"]))
    assert [t.name for t in await load(raw, include=["read_*", "stat"], exclude=["*_link"])] == ["read_file", "stat"]
    assert [t.name for t in await load(raw, exclude=["read_*", "nothing"])] == ["write_file", "stat"]
    assert await load(raw, include=[]) == []


async def test_an_include_that_matches_nothing_names_what_there_is(raw: RawServer) -> None:
    raw.offers(offer("read_file"), offer("stat"))
    with pytest.raises(McpToolsRefused, match=r"include='raed_\*'; it has: 'read_file', 'stat'"):
        await load(raw, include=["stat", "raed_*"])


READS = {"readOnlyHint": True}
REPEATS = {"idempotentHint": True}
CLOSED = {"openWorldHint": False}


@pytest.mark.parametrize(
    ("hints", "options", "expected"),
    [
        ({}, {}, ("external", "once")),
        (READS | CLOSED, {}, ("external", "once")),
        (READS | CLOSED, {"trust_annotations": True}, ("read", "read")),
        (READS, {"trust_annotations": True}, ("external", "read")),
        (REPEATS | CLOSED, {"trust_annotations": True}, ("write", "idempotent")),
        (REPEATS | {"readOnlyHint": False}, {"trust_annotations": True}, ("external", "idempotent")),
        ({}, {"trust_annotations": True}, ("external", "once")),
        (READS | CLOSED, {"trust_annotations": True, "risk": "exec"}, ("exec", "read")),
        ({}, {"risk": "read", "effect": "idempotent"}, ("read", "idempotent")),
    ],
)
async def test_risk_and_effect_are_careful_unless_the_developer_says_so(
    raw: RawServer, hints: dict[str, bool], options: dict[str, Any], expected: tuple[str, str]
) -> None:
    raw.offers(offer("do", annotations=hints))
    (tool,) = await load(raw, **options)
    assert (tool.risk, tool.effect) == expected


async def test_words_are_cleaned_and_capped(raw: RawServer) -> None:
    hidden = "Look.\x1b[2J\u202eevil\U000e0041\x00\n\tSecond line: 👨\u200d👩"
    schema = {"at": {"type": "string", "description": "a\x07b"}, "description": {"type": "string"}}
    raw.offers(offer("look", schema, description=hidden), offer("talk", description="x" * 100_000))
    look, talk = await load(raw)
    assert look.description == "Look.[2Jevil\n\tSecond line: 👨\u200d👩"
    assert look.parameters["properties"]["at"]["description"] == "ab"
    assert "description" in look.parameters["properties"]
    assert len(talk.description) <= 8_000


def nested(depth: int) -> dict[str, Any]:
    return {"not": nested(depth - 1)} if depth else {}


@pytest.mark.parametrize("schema", [{}, {"type": "array"}, {"type": "object", "properties": 5}, [], None])
async def test_a_listing_that_breaks_the_protocol_is_refused(raw: RawServer, schema: Any) -> None:
    raw.offers(offer("good"), offer("bad", inputSchema=schema))
    with pytest.raises(McpToolsRefused, match=r"its list of tools breaks the protocol at tools\.1\.inputSchema"):
        await load(raw)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "object", "properties": {"a": {"type": 5}}}, "no valid JSON schema: 5 is not"),
        ({"type": "object", "allOf": [{"required": [{"a": i} for i in range(2_000)]}]}, "no valid JSON schema"),
        ({"type": "object", "not": nested(80)}, "nested over 50 deep"),
        ({"type": "object", "description": "x" * 60_000}, "characters; at most 50,000"),
    ],
)
async def test_a_schema_that_no_model_can_be_given_is_refused_by_name(
    raw: RawServer, schema: dict[str, Any], words: str
) -> None:
    raw.offers(offer("good"), offer("bad", inputSchema=schema))
    with pytest.raises(McpToolsRefused, match=f"the tool 'bad' cannot be taken: .*{words}.*exclude="):
        await load(raw)
    assert [tool.name for tool in await load(raw, exclude=["bad"])] == ["good"]


async def test_tools_without_end_are_refused(raw: RawServer) -> None:
    with pytest.raises(McpToolsRefused, match="more than 100 pages"):
        await load(raw, "endless")
    raw.offers(*(offer(f"t{number}") for number in range(1_001)))
    with pytest.raises(McpToolsRefused, match="more than 1,000 tools"):
        await load(raw)
    raw.offers(offer("same"), offer("same"))
    with pytest.raises(McpToolsRefused, match="two tools named 'same'"):
        await load(raw)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "'city' is a required property"),
        ({"city": 5}, "city: 5 is not of type 'string'"),
        ({"city": "Oslo", "days": [1, "two"]}, "days.1: 'two' is not of type 'integer'"),
        ({"city": "Oslo", "country": "no"}, "'country' was unexpected"),
    ],
)
async def test_wrong_arguments_are_not_sent_and_the_model_is_told(
    raw: RawServer, arguments: dict[str, Any], words: str
) -> None:
    properties = {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}}
    schema = {"type": "object", "properties": properties, "required": ["city"], "additionalProperties": False}
    raw.offers(offer("weather", inputSchema=schema))
    async with raw.server() as server:
        result = await call(await server.tools(), "weather", **arguments)
    assert result.failed
    assert "weather was not run, its arguments are wrong" in result.content
    assert words in result.content
    assert raw.heard("tools/call") == []


async def test_hostile_schemas_cost_no_time_and_fetch_nothing(raw: RawServer) -> None:
    chain = {f"x{i}": {"anyOf": [{"$ref": f"#/$defs/x{i + 1}"}] * 2} for i in range(40)} | {"x40": {"type": "string"}}
    properties = {
        "pattern": {"pattern": "(a+)+$", "patternProperties": {"(a+)+$": {}}, "additionalProperties": False},
        "chain": {"$ref": "#/$defs/x0"},
        "far": {"$ref": "http://127.0.0.1:9/schema.json"},
        "loop": {"$ref": "#/properties/loop"},
    }
    raw.offers(offer("echo", inputSchema={"type": "object", "properties": properties, "$defs": chain}))
    async with raw.server() as server:
        tools = await server.tools()
        for name, value in (("pattern", "a" * 40 + "!"), ("chain", 1), ("far", 1), ("loop", 1)):
            assert not (await call(tools, "echo", **{name: value})).failed
        assert not (await call(tools, "echo", pattern={"a" * 40 + "!": 1})).failed


def test_nonsense_in_the_options_is_refused() -> None:
    for options in ({"risk": "none"}, {"effect": "twice"}, {"timeout_s": 0}, {"include": "echo"}):
        with pytest.raises(ConfigurationError, match=repr(next(iter(options.values())))):
            McpServer.stdio("x", **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no option 'inculde'; it takes include"):
        McpServer.stdio("x", inculde=["echo"])  # type: ignore[call-arg]
    for url in ("localhost:8000/mcp", "file:///etc/passwd", "http://"):
        with pytest.raises(ConfigurationError, match="pass a URL such as"):
            McpServer.http(url)


def test_secrets_are_in_no_repr() -> None:
    stdio = McpServer.stdio("npx", "-y", "server", "--key", "s3cret", "more", env={"TOKEN": "s3cret"})
    assert repr(stdio) == "McpServer('npx -y server ...')"
    http = McpServer.http("https://ann:s3cret@host:8/mcp?key=s3cret", headers={"Authorization": "Bearer s3cret"})
    assert repr(http) == "McpServer('https://host:8/mcp')"
    assert "s3cret" not in f"{vars(stdio)} {vars(http)}"


def test_without_the_extra_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)  # as if it were not installed
    with pytest.raises(McpUnavailable, match=r"pip install 'tyler-narrator-lye\[mcp\]'"):
        McpServer.http("https://host/mcp")
