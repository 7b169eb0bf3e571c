"""The two tools, as an agent calls them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from lye import WEB_TOOLS, web_tools
from lye._web.fetch import Answer
from lye.web import file_name
from narrator.file_store import FileStore
from tests.lye.local_server import LocalServer
from tyler.tools import Tool, ToolContext, ToolResult, run_tool

FIELDS = (["url", "page", "links"], ["url", "filename"], ["query", "max_results"])
LOCAL = web_tools(allow_hosts=["127.0.0.1"])


async def call(tools: list[Tool], name: str, store: FileStore | None = None, **arguments: object) -> ToolResult:
    context = ToolContext(thread_id="t", owner=None, call_id="c", idempotency_key="k", file_store=store)
    return await run_tool({tool.name: tool for tool in tools}, name, json.dumps(arguments), context)


def test_the_tools_say_what_they_do_risk_and_take() -> None:
    assert [(tool.name, tool.risk, tool.effect) for tool in WEB_TOOLS] == [
        ("fetch_page", "external", "read"),
        ("download_file", "external", "idempotent"),
        ("search_web", "external", "read"),
    ]
    for tool, names in zip(WEB_TOOLS, FIELDS, strict=True):
        assert list(tool.parameters["properties"]) == names
        assert tool.parameters["required"] == names[:1]
        assert all("description" in field for field in tool.parameters["properties"].values())


def test_importing_lye_loads_nothing_heavy() -> None:
    code = "import lye, sys; print([m for m in ('httpx', 'trafilatura', 'lxml', 'idna', 'ssl') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("[]", "['ssl']")


async def test_fetch_page_gives_markdown_with_title_and_final_url(server: LocalServer) -> None:
    server.redirect("/old", "/new")
    server.serve("/new", "<title>News</title><article><h1>Today</h1><p>Rain.</p></article>")
    result = await call(LOCAL, "fetch_page", url=server.url("/old"))
    assert not result.failed
    assert result.content == f"Title: News\nURL: {server.url('/new')}\n\n# Today\n\nRain."


async def test_fetch_page_turns_pages(server: LocalServer) -> None:
    server.serve("/", "".join(f"line {i}\n" for i in range(4_000)), headers="Content-Type: text/plain")
    first = await call(LOCAL, "fetch_page", url=server.url())
    second = await call(LOCAL, "fetch_page", url=server.url(), page=2)
    third = await call(LOCAL, "fetch_page", url=server.url(), page=3)
    assert not first.failed
    assert "Page 1 of 2; call again with page=2 for more" in first.content
    assert second.content.endswith("line 3999")
    assert third.failed
    assert "call with page=1 to page=2" in third.content


async def test_fetch_page_names_the_tool_for_files(server: LocalServer) -> None:
    server.serve("/a.pdf", b"%PDF-1.7", headers="Content-Type: application/pdf")
    result = await call(LOCAL, "fetch_page", url=server.url("/a.pdf"))
    assert result.failed
    assert "call download_file" in result.content


@pytest.mark.parametrize("name", ["fetch_page", "download_file"])
async def test_the_tools_as_imported_refuse_private_places_in_words_for_the_model(
    server: LocalServer, name: str
) -> None:
    async with await FileStore.create() as store:
        for url in (server.url(), "http://127.0.0.1/", "http://169.254.169.254/", "file:///etc/passwd"):
            result = await call(WEB_TOOLS, name, store, url=url)
            assert result.failed
            assert "UrlRefused" in result.content
    assert server.requests == []


async def test_the_limits_are_the_developers(server: LocalServer) -> None:
    server.serve("/", "x" * 2_000)
    small = web_tools(allow_hosts=["127.0.0.1"], max_bytes=1_000, max_download_bytes=1_500)
    async with await FileStore.create() as store:
        assert "limit of 1,000 bytes" in (await call(small, "fetch_page", url=server.url())).content
        assert "limit of 1,500 bytes" in (await call(small, "download_file", store, url=server.url())).content
    for limit in ("max_bytes", "timeout_s", "max_download_bytes"):
        with pytest.raises(ValueError, match=f"{limit} is 0"):
            web_tools(**{limit: 0})  # type: ignore[arg-type]


async def test_a_download_is_kept_and_attached(server: LocalServer) -> None:
    server.serve(
        "/get?id=7",
        b"a,b\n1,2\n",
        headers='Content-Type: text/csv; charset=utf-8\r\nContent-Disposition: attachment; filename="table.csv"',
    )
    async with await FileStore.create() as store:
        result = await call(LOCAL, "download_file", store, url=server.url("/get?id=7"))
        (file,) = result.attachments
        assert (file.filename, file.mime_type, file.size_bytes) == ("table.csv", "text/csv", 8)
        assert await store.get(file.file_id) == b"a,b\n1,2\n"
        again = await call(LOCAL, "download_file", store, url=server.url("/get?id=7"), filename="mine.csv")
        assert (again.attachments[0].filename, again.attachments[0].file_id) == ("mine.csv", file.file_id)
    assert "'table.csv' (text/csv, 8 bytes)" in result.content


@pytest.mark.parametrize("declared", ["x y/z", "text/csv<b>", "text", "text/csv/x", "t" * 100 + "/x", "text/\u202ecsv"])
async def test_a_type_that_is_none_is_guessed_by_the_name(server: LocalServer, declared: str) -> None:
    server.serve("/a.csv", b"a,b\n", headers=f"Content-Type: {declared}")
    async with await FileStore.create() as store:
        result = await call(LOCAL, "download_file", store, url=server.url("/a.csv"))
    assert result.attachments[0].mime_type == "text/csv"


async def test_a_large_download_never_lies_in_memory(server: LocalServer, tmp_path: Path) -> None:
    def body() -> Iterator[bytes]:
        yield from (bytes([number]) * 1_000_000 for number in range(40))

    server.serve("/big", body(), headers="Content-Type: application/octet-stream")
    async with await FileStore.create(tmp_path / "files") as store:
        await call(LOCAL, "download_file", store, url=server.url("/nothing"))  # imports are not what is measured
        tracemalloc.start()
        try:
            result = await call(LOCAL, "download_file", store, url=server.url("/big"))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert result.attachments[0].size_bytes == 40_000_000
    assert peak < 15_000_000


async def test_no_download_leaves_a_temporary_file(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server.serve("/good", b"good")
    server.serve("/cut", b"not gzip", headers="Content-Encoding: gzip")
    async with await FileStore.create(max_file_bytes=3) as small, await FileStore.create() as store:
        assert not (await call(LOCAL, "download_file", store, url=server.url("/good"))).failed
        assert (await call(LOCAL, "download_file", store, url=server.url("/cut"))).failed
        too_large = await call(LOCAL, "download_file", small, url=server.url("/good"))
        assert too_large.failed
        assert "3 bytes" in too_large.content
    assert os.listdir(tmp_path) == []


async def test_a_cancelled_download_leaves_no_temporary_file_and_no_connection(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    hung_up = threading.Event()

    def endless(peer: socket.socket) -> None:
        peer.sendall(b"\r\n")
        try:
            while not server.stopping.is_set():
                peer.sendall(bytes(65_536))
        except OSError:
            hung_up.set()

    server.serve("/", endless)
    async with await FileStore.create() as store:
        task = asyncio.create_task(call(LOCAL, "download_file", store, url=server.url()))
        async with asyncio.timeout(30):
            while not any(path.stat().st_size for path in tmp_path.iterdir()):  # noqa: ASYNC240 - quick, and a test
                await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert os.listdir(tmp_path) == []
    assert await asyncio.to_thread(hung_up.wait, 5)


FULL_DISK = """
import asyncio, json, os, resource, sys, tempfile
from lye import web_tools
from narrator.file_store import FileStore
from tyler.tools import ToolContext, run_tool

async def main():
    tempfile.tempdir, url = sys.argv[1:]
    tools = {tool.name: tool for tool in web_tools(allow_hosts=["127.0.0.1"])}
    async with await FileStore.create() as store:
        context = ToolContext("t", None, "c", "k", store)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
        full = await run_tool(tools, "download_file", json.dumps({"url": url}), context)
        left = os.listdir(tempfile.tempdir)
        tempfile.tempdir += "/nowhere"
        missing = await run_tool(tools, "download_file", json.dumps({"url": url}), context)
    print(json.dumps([full.error_type, full.content, left, missing.error_type, missing.content]))

asyncio.run(main())
"""


async def test_a_disk_that_takes_no_more_is_a_failure_and_leaves_nothing(server: LocalServer, tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="Windows has no limit on a file's size")
    server.serve("/", bytes(3_000_000))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", FULL_DISK, str(tmp_path), server.url()), stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    full, said, left, missing, said_too = json.loads(output)
    assert (full, left, missing) == ("FetchFailed", [], "FetchFailed")
    assert "File too large" in said
    assert "No such file" in said_too
    assert str(tmp_path) not in said + said_too


@pytest.mark.parametrize(
    ("arguments", "inside"),
    [
        ({"url": "https://wiki.corp.example/a?q=1"}, True),
        ({"url": "HTTPS://WIKI.corp.example:443/"}, True),
        ({"url": "https://a.b.team.example/"}, True),
        ({"url": "http://10.0.0.5:9000/"}, True),
        ({"url": "http://0xa.5:9000/"}, True),
        ({"url": "http://localhost:8000/"}, True),
        ({"url": "http://localhost:8001/"}, False),
        ({"url": "http://localhost/"}, False),
        ({"url": "https://team.example/"}, False),
        ({"url": "https://evilteam.example/"}, False),
        ({"url": "https://wiki.corp.example.evil.example/"}, False),
        ({"url": "https://wiki.corp.example@evil.example/"}, False),
        ({"url": "https://evil.example\\@wiki.corp.example/"}, False),
        ({"url": "https://evil.example/#wiki.corp.example"}, False),
        ({"url": "https://example.com/"}, False),
        ({"url": "http://192.168.0.1/"}, False),
        ({"url": "http://[::1"}, False),
        ({"url": "http://wiki.corp.example:port/"}, False),
        ({"url": "wiki.corp.example"}, False),
        ({"url": ""}, False),
        ({"url": "\x00"}, False),
        ({"url": "\ud800"}, False),
        ({"url": "https://" + "a" * 100_000}, False),
        ({"url": None}, False),
        ({"url": 7}, False),
        ({"url": ["https://wiki.corp.example/"]}, False),
        ({"url": {"a": 1}}, False),
        ({"link": "https://wiki.corp.example/"}, False),
        ({}, False),
    ],
    ids=lambda value: repr(value)[:60],
)
@pytest.mark.parametrize("name", ["fetch_page", "download_file"])
def test_a_call_goes_outward_unless_the_developer_named_its_host(
    name: str, arguments: dict[str, object], inside: bool
) -> None:
    opened = ["wiki.corp.example", "*.team.example", "10.0.0.5", "localhost:8000"]
    (found,) = (tool for tool in web_tools(allow_hosts=opened, allow_private=True) if tool.name == name)
    assert found.touched(arguments) == ({"untrusted"} if inside else {"untrusted", "outward"})
    (shut,) = (tool for tool in WEB_TOOLS if tool.name == name)
    assert shut.touched(arguments) == {"untrusted", "outward"}


def test_a_search_goes_outward() -> None:
    assert WEB_TOOLS[2].touched({"query": "x"}) == {"untrusted", "outward"}


async def test_fetch_page_lists_links_and_pages_through_them(server: LocalServer) -> None:
    server.serve("/", "<title>T</title>" + "".join(f"<a href='/{i}/{'x' * 80}'>Link {i}</a>" for i in range(200)))
    first = await call(LOCAL, "fetch_page", url=server.url(), links=True)
    second = await call(LOCAL, "fetch_page", url=server.url(), links=True, page=2)
    assert f"\n1. [Link 0]({server.url('/0/')}" in first.content
    assert "call again with page=2 for more" in first.content
    assert f"\n200. [Link 199]({server.url('/199/')}" in second.content


async def test_without_a_file_store_nothing_is_sent_and_the_answer_says_what_to_do(server: LocalServer) -> None:
    result = await call(LOCAL, "download_file", url=server.url())
    assert result.failed
    assert "Agent(file_store=" in result.content
    assert server.requests == []


@pytest.mark.parametrize(
    ("url", "disposition", "wanted", "name"),
    [
        ("https://h/a/b.pdf?x=y.exe", "", None, "b.pdf"),
        ("https://h/", "", None, "download"),
        ("https://h/dir/", "", None, "dir"),
        ("https://h/a%2Fb%20c.txt", "", None, "b c.txt"),
        ("https://h/x", "attachment; filename=../../etc/passwd", None, "passwd"),
        ("https://h/x", 'attachment; filename="C:\\\\temp\\\\a.txt"', None, "a.txt"),
        ("https://h/x", "attachment; filename*=UTF-8''%e2%82%ac%20rates.csv; filename=a.csv", None, "€ rates.csv"),
        ("https://h/x", 'attachment; filename="..."', None, "x"),
        ("https://h/x", 'attachment; filename="a\x00\x1b\u202eb\n.txt"', None, "ab_.txt"),
        ("https://h/x", "", "../../../report.pdf", "report.pdf"),
        ("https://h/x", "", "..", "x"),
        ("https://h/x", "", " .hidden ", "hidden"),
        ("https://h/x", "", 'a<b>:"|?*.txt', "a_b_.txt"),
        ("https://h/x", "", "n" * 400 + ".tar.gz", "n" * 147 + ".gz"),
        ("https://h/" + "n" * 400, "", None, "n" * 150),
    ],
)
def test_a_files_name_is_plain_and_never_a_path(url: str, disposition: str, wanted: str | None, name: str) -> None:
    answer = Answer(url, "", disposition, body=None)  # type: ignore[arg-type]
    assert file_name(answer, wanted) == name


def test_the_blocks_of_the_docs_run() -> None:
    page = Path(__file__).parents[2] / "docs" / "web-tools.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        exec(compile(block, str(page), "exec"), {"__name__": "__docs__"})
