"""The tools that read, as an agent calls them: lists, texts, tables, searches, their limits."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from lye import FILES_TOOLS, files_tools
from tests.lye.children import child_of, children_of, environment_of
from tests.lye.descriptors import no_descriptors
from tests.lye.files_calls import call
from tyler.tools import ToolResult

ROOT = Path(__file__).parents[2]
SECRET = "hunter2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "inside"
    (inside / "src" / "deep").mkdir(parents=True)
    (inside / "README.md").write_text("# Title\n\nHello, World\n")
    (inside / "src" / "a.py").write_text("import os\nhello = 1\n")
    (inside / "src" / "deep" / "b.py").write_text("x = 'hello'\n")
    return inside


async def listed(folder: Path, **arguments: object) -> list[str]:
    result = await call(files_tools(folder), "list_files", **arguments)
    assert not result.failed, result.content
    return result.content.partition("\n\n")[2].split("\n")


def test_the_tools_say_what_they_do_risk_and_take(folder: Path) -> None:
    assert [tool.name for tool in FILES_TOOLS] == ["list_files", "read_file", "search_files"]
    assert [tool.name for tool in files_tools(folder)] == ["list_files", "read_file", "search_files"]
    tools = files_tools(folder, write=True)
    assert [(tool.name, tool.risk, tool.effect) for tool in tools] == [
        ("list_files", "read", "read"),
        ("read_file", "read", "read"),
        ("search_files", "read", "read"),
        ("write_file", "write", "idempotent"),
        ("edit_file", "write", "once"),
    ]
    for tool in tools:
        assert tool.touches == {"private"}
        assert all("description" in field for field in tool.parameters["properties"].values())


async def test_the_list_as_imported_reads_where_the_program_stands(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert "Hello, World" in (await call(FILES_TOOLS, "read_file", path="README.md")).content
    for regex in (False, True):
        found = await call(FILES_TOOLS, "search_files", query="Hello", regex=regex)
        assert "README.md:3: Hello, World" in found.content
    assert (await call(FILES_TOOLS, "read_file", path="../inside/README.md")).failed
    assert (await call(FILES_TOOLS, "write_file", path="x", content="x")).error_type == "unknown_tool"


def test_limits_and_entries_are_checked_when_the_tools_are_made(folder: Path) -> None:
    names = ("max_text_bytes", "max_document_bytes", "max_entries", "max_matches", "timeout_s", "document_timeout_s")
    for name in names:
        with pytest.raises(ValueError, match=f"{name} is 0"):
            files_tools(folder, **{name: 0})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot be opened"):
        files_tools(folder / "nowhere")
    with pytest.raises(ValueError, match="pass a list"):
        files_tools(folder, deny="*.sql")


async def test_a_folder_is_listed_and_what_is_not_opened_is_marked(folder: Path) -> None:
    (folder / ".env").write_text(SECRET)
    (folder / "link").symlink_to("/etc")
    os.mkfifo(folder / "fifo")
    os.link(folder / "README.md", folder / "twin")
    assert await listed(folder) == [
        ".env  [may hold secrets, not opened]",
        "README.md  [hard link, not opened]",
        "fifo  [a FIFO, not opened]",
        "link  [a link, not opened]",
        "src/",
        "twin  [hard link, not opened]",
    ]


async def test_names_that_would_steer_a_reader_are_shown_escaped(folder: Path) -> None:
    for name in ("a\nREADME2.md  1 bytes", "b\x1b[2J", "c\u202egpj.exe", "d\u200b"):
        (folder / name).touch()
    try:
        os.close(os.open(os.fsencode(folder) + b"/e\xff", os.O_CREAT))
        shown = {r"'e\udcff'"}
    except OSError:  # this disk takes no such name
        shown = set()
    shown |= {r"'a\nREADME2.md  1 bytes'", r"'b\x1b[2J'", r"'c\u202egpj.exe'", r"'d\u200b'"}
    lines = await listed(folder)
    assert {line.partition("  [name with")[0] for line in lines if "control characters" in line} == shown
    assert (await call(files_tools(folder), "search_files", query="zzz")).failed is False


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"depth": 2}, ["README.md  22 bytes", "src/", "src/a.py  20 bytes", "src/deep/"]),
        ({"pattern": "*.py"}, ["src/a.py  20 bytes", "src/deep/b.py  12 bytes"]),
        ({"pattern": "*.py", "depth": 2}, ["src/a.py  20 bytes"]),
        ({"pattern": "src/*"}, ["src/a.py  20 bytes", "src/deep/"]),
        ({"pattern": "src/**/*.py"}, ["src/a.py  20 bytes", "src/deep/b.py  12 bytes"]),
        ({"pattern": "**/deep/**"}, ["src/deep/", "src/deep/b.py  12 bytes"]),
        ({"pattern": "*.rs"}, ["(nothing fits pattern='*.rs')"]),
        ({"path": "src/deep"}, ["src/deep/b.py  12 bytes"]),
        ({"path": "src", "pattern": "deep/*"}, ["src/deep/b.py  12 bytes"]),
    ],
)
async def test_lists_by_pattern_and_depth(folder: Path, arguments: dict[str, object], expected: list[str]) -> None:
    assert await listed(folder, **arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"path": "README.md"}, "is not a folder"),
        ({"path": "nowhere"}, "does not exist"),
        ({"path": "../"}, "'..'"),
        ({"path": ".git"}, "may hold secrets"),
        ({"depth": 0}, "depth=0"),
        ({"pattern": ""}, "no pattern"),
        ({"pattern": "../*"}, "no pattern"),
        ({"pattern": "*a" * 11}, "no pattern"),
        ({"pattern": "x" * 301}, "no pattern"),
    ],
)
async def test_what_cannot_be_listed(folder: Path, arguments: dict[str, object], words: str) -> None:
    (folder / ".git").mkdir()
    result = await call(files_tools(folder), "list_files", **arguments)
    assert result.failed
    assert words in result.content


async def test_a_huge_folder_costs_bounded_memory_and_text(folder: Path) -> None:
    huge = folder / "huge"
    huge.mkdir()
    fd = os.open(huge, os.O_RDONLY)
    for number in range(10_200):
        os.close(os.open(f"{number:06}-{'n' * 40}", os.O_CREAT, dir_fd=fd))
    os.close(fd)
    tools = files_tools(folder)
    tracemalloc.start()
    try:
        result = await call(tools, "list_files", path="huge")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "Only the first 1,000 are shown" in result.content
    assert "200 more names of very large folders were left out" in result.content
    assert result.content.count("\n") < 1_010
    assert peak < 5_000_000


async def test_a_listing_ends_when_its_time_is_up_and_says_so(folder: Path) -> None:
    result = await call(files_tools(folder, timeout_s=1e-9), "list_files", depth=3)
    assert "Not all was looked at: the time was up" in result.content


async def test_a_very_deep_tree_is_walked_to_a_limit(folder: Path) -> None:
    place = folder
    for _ in range(60):
        place = place / "d"
        place.mkdir()
    (place / "needle.txt").write_text("needle")
    assert len(await listed(folder, path="d", depth=1_000)) == 40
    assert "files searched: 3" in (await call(files_tools(folder), "search_files", query="needle")).content


async def test_a_text_is_read_in_pages_and_lines(folder: Path) -> None:
    (folder / "long.txt").write_text("".join(f"line {number}\n" for number in range(1, 5_001)))
    tools = files_tools(folder)

    async def read(**arguments: object) -> ToolResult:
        return await call(tools, "read_file", path="long.txt", **arguments)

    first = (await read()).content
    assert first.startswith("File: long.txt\nLines: 5,000\nPage 1 of 3; call again with page=2 for more\n\nline 1\n")
    assert (await read(page=3)).content.endswith("line 5000\n")
    assert (await read(first_line=4_999)).content == (
        "File: long.txt\nLines 4,999 to 5,000 of 5,000\n\nline 4999\nline 5000\n"
    )
    assert (await read(last_line=1)).content.endswith("Lines 1 to 1 of 5,000\n\nline 1\n")
    for wrong in (
        {"page": 4},
        {"page": 0},
        {"first_line": 5_001},
        {"first_line": 3, "last_line": 2},
        {"first_line": 0},
    ):
        result = await read(**wrong)
        assert result.failed
        assert "does not exist" in result.content or "do not exist" in result.content


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        ("Zoé 日本".encode(), None, "Zoé 日本"),
        (b"\xef\xbb\xbfmark", None, "mark"),
        ("\ufeffZoé".encode("utf-16-le"), None, "Zoé"),
        ("\ufeffZoé".encode("utf-16-be"), None, "Zoé"),
        ("\ufeffZoé".encode("utf-32-le"), None, "Zoé"),
        ("Zoé".encode("latin-1"), None, "Zoé"),
        ("Привет, мир".encode("cp1251"), "windows-1251", "Привет, мир"),
        ("日本語".encode("shift_jis"), "shift_jis", "日本語"),
        ("Zoé".encode("utf-16-le"), "utf-16-le", "Zoé"),
        (b"a\r\nb\rc\n", None, "a\nb\nc"),
        (b"plain text that is coloured \x1b[31mred\x1b[0m", None, "plain text that is coloured [31mred[0m"),
        ("a\u202eb\U000e0041c".encode(), None, "abc"),
        (b"", None, "(empty)"),
    ],
)
async def test_texts_are_read_in_their_charset_and_clean(
    folder: Path, data: bytes, encoding: str | None, text: str
) -> None:
    (folder / "f.txt").write_bytes(data)
    result = await call(files_tools(folder), "read_file", path="f.txt", encoding=encoding)
    assert result.content.partition("\n\n")[2].rstrip("\n") == text


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "a PNG image"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "a JPEG image"),
        (b"PK\x03\x04" + bytes(20), "a zip archive"),
        (b"\x7fELF" + bytes(20), "a Linux program"),
        (b"SQLite format 3\0" + bytes(20), "an SQLite database"),
        (b"\x1f\x8b\x08" + bytes(20), "a gzip archive"),
        (bytes(range(256)), "binary data"),
        (bytes(100_000), "binary data"),
    ],
)
async def test_binaries_are_refused_with_what_they_are(folder: Path, data: bytes, kind: str) -> None:
    (folder / "f.txt").write_bytes(data)
    result = await call(files_tools(folder), "read_file", path="f.txt")
    assert result.failed
    assert f"is {kind}" in result.content


async def test_an_unknown_charset_is_named(folder: Path) -> None:
    for encoding in ("klingon", "unicode_escape", "punycode", "rot13", "idna"):
        result = await call(files_tools(folder), "read_file", path="README.md", encoding=encoding)
        assert result.failed
        assert repr(encoding) in result.content


async def test_a_file_over_the_limit_is_not_read(folder: Path) -> None:
    (folder / "sparse.txt").touch()
    os.truncate(folder / "sparse.txt", 1 << 40)
    tools = files_tools(folder)
    tracemalloc.start()
    try:
        result = await call(tools, "read_file", path="sparse.txt")
        searched = await call(tools, "search_files", query="x", path="sparse.txt")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "1,099,511,627,776 bytes, over the limit of 10,000,000" in result.content
    assert searched.failed
    assert peak < 2_000_000


async def test_a_table_is_shown_by_its_first_rows(folder: Path) -> None:
    rows = "".join(f'{number};"a, b|c\nd";{number * 2}\n' for number in range(50))
    (folder / "t.csv").write_text("id;text;double\n" + rows)
    tools = files_tools(folder)
    shown = (await call(tools, "read_file", path="t.csv")).content
    assert "Table: 50 rows below the header, 3 columns, separator ;" in shown
    assert "| id | text | double |\n| --- | --- | --- |\n| 0 | a, b\\|c d | 0 |" in shown
    assert "| 19 | a, b" in shown
    assert "| 20 | a, b" not in shown
    assert "call again with first_line=1" in shown
    raw = (await call(tools, "read_file", path="t.csv", first_line=1, last_line=2)).content
    assert raw.endswith('id;text;double\n0;"a, b|c\n')


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("t.tsv", b"a\tb\n1\t2\n", "1 rows below the header, 2 columns, separator tab"),
        ("t.csv", b"a,b\n", "It has no rows"),
        ("t.csv", b"", "(empty)"),
        ("t.csv", b"a" * 200_000, "Lines: 1"),
        ("t.csv", b"," * 5_000 + b"\n1\n", "5,001 columns"),
        ("t.csv", b'a,b\n"never closed\n' + b"1,2\n" * 10, "1 rows below the header"),
    ],
)
async def test_odd_tables(folder: Path, name: str, data: bytes, words: str) -> None:
    (folder / name).write_bytes(data)
    result = await call(files_tools(folder), "read_file", path=name)
    assert not result.failed
    assert words in result.content
    assert len(result.content) < 25_000


async def test_no_refusal_tells_what_is_in_a_file(folder: Path) -> None:
    (folder / ".env").write_text(SECRET)
    os.link(folder / ".env", folder / "twin")
    (folder / "binary").write_bytes(bytes(9) + SECRET.encode())
    tools = files_tools(folder, write=True)
    for path in (".env", "twin", "binary", ".ENV"):
        for name, arguments in {
            "read_file": {},
            "search_files": {"query": "hunter"},
            "edit_file": {"old": "hunter2", "new": "x"},
        }.items():
            result = await call(tools, name, path=path, **arguments)
            assert result.failed
            assert "hunter2" not in result.content.replace("old='hunter2'", "")
    assert SECRET not in (await call(tools, "search_files", query="hunter")).content


@pytest.mark.parametrize("regex", [False, True])
async def test_lines_are_found_with_path_and_number(folder: Path, regex: bool) -> None:
    (folder / "binary.bin").write_bytes(bytes(10) + b"hello")
    (folder / "link").symlink_to("README.md")
    tools = files_tools(folder)

    async def found(query: str, **arguments: object) -> list[str]:
        result = await call(tools, "search_files", query=query, regex=regex, **arguments)
        assert not result.failed, result.content
        return result.content.partition("\n\n")[2].split("\n")

    in_source = ["src/a.py:2: hello = 1", "src/deep/b.py:1: x = 'hello'"]
    assert await found("hello", ignore_case=True) == ["README.md:3: Hello, World", *in_source]
    assert await found("hello", pattern="b*") == in_source[1:]
    if regex:
        return
    assert await found("hello") == in_source
    assert await found("hello", path="src/a.py") == in_source[:1]
    assert await found("hello", path="src/deep") == in_source[1:]
    assert await found("nothing like it") == ["(no match)"]


@pytest.mark.parametrize("regex", [False, True])
@pytest.mark.parametrize(
    ("arguments", "error_type"),
    [
        ({"query": ""}, "FileFailed"),
        ({"query": "a\nb"}, "FileFailed"),
        ({"query": "x" * 1_001}, "FileFailed"),
        ({"query": "x", "path": ".."}, "PathRefused"),
        ({"query": "x", "path": "link"}, "PathRefused"),
        ({"query": "x", "path": "link/etc"}, "PathRefused"),
        ({"query": "x", "path": ".env"}, "PathRefused"),
        ({"query": "x", "path": "nowhere"}, "FileFailed"),
        ({"query": "x", "pattern": ".."}, "FileFailed"),
    ],
)
async def test_what_cannot_be_searched(
    folder: Path, regex: bool, arguments: dict[str, object], error_type: str
) -> None:
    (folder / "link").symlink_to("/")
    (folder / ".env").write_text("x")
    result = await call(files_tools(folder), "search_files", regex=regex, **arguments)
    assert result.error_type == error_type


async def test_matches_are_limited_and_long_lines_cut(folder: Path) -> None:
    (folder / "many.txt").write_text("needle\n" * 500)
    (folder / "wide.txt").write_text("x" * 1_000_000 + "NEEDLE" + "y" * 1_000_000)
    tools = files_tools(folder)
    many = (await call(tools, "search_files", query="needle")).content
    assert "Lines with 'needle': 200" in many
    assert "There are more: these are the first" in many
    wide = (await call(tools, "search_files", query="NEEDLE")).content
    assert "wide.txt:1: ...xxx" in wide
    assert "NEEDLEyyy" in wide
    assert len(wide) < 1_000


@pytest.mark.parametrize("query", ["(", "(?<=a+)b", "(" * 500 + ")" * 500])
async def test_what_is_no_regular_expression_is_said(folder: Path, query: str) -> None:
    result = await call(files_tools(folder), "search_files", query=query, regex=True)
    assert result.failed
    assert "is no regular expression" in result.content


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("(a+)+$", "a" * 50 + "b"),
        pytest.param("(.*)*x$", "a" * 50, marks=pytest.mark.deep),
        ("((((a{0,65535}){0,65535}){0,65535}){0,65535})b", "a" * 50),
    ],
)
async def test_a_regular_expression_that_would_run_for_years_is_ended(folder: Path, query: str, line: str) -> None:
    (folder / "line.txt").write_text(line)
    loop, lags = asyncio.get_running_loop(), []

    async def watch() -> None:
        while True:
            due = loop.time() + 0.02
            await asyncio.sleep(0.02)
            lags.append(loop.time() - due)

    watcher = asyncio.create_task(watch())
    began = time.monotonic()
    result = await call(files_tools(folder, timeout_s=0.2), "search_files", query=query, regex=True)
    watcher.cancel()
    assert result.failed
    assert "make it simpler" in result.content or "memory" in result.content
    assert time.monotonic() - began < 6
    assert sorted(lags)[len(lags) // 2] < 0.1
    assert children_of("lye._files.text_search") == []


async def test_a_cancelled_search_leaves_no_process_and_no_thread_at_work(folder: Path) -> None:
    (folder / "line.txt").write_text("a" * 60 + "b")
    search_files = {tool.name: tool for tool in files_tools(folder)}["search_files"]
    task = asyncio.create_task(search_files("(a+)+$", regex=True))
    await child_of("lye._files.text_search")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children_of("lye._files.text_search") == []


async def test_the_searching_process_sees_no_secrets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    (folder / "line.txt").write_text("a" * 60 + "b")
    search_files = {tool.name: tool for tool in files_tools(folder)}["search_files"]
    task = asyncio.create_task(search_files("(a+)+$", regex=True))
    process = await child_of("lye._files.text_search")
    assert SECRET not in environment_of(process).values()
    task.cancel()
    await asyncio.wait([task])


PROGRAM = """
import asyncio, sys
sys.path.insert(0, {root!r})
from lye import files_tools
search_files = files_tools()[2]
sys.path.insert(0, "")  # as in a console, and with `python -c`
print(asyncio.run(search_files({query!r}, regex=True)))
"""


def test_no_module_of_the_opened_folder_is_run(folder: Path) -> None:
    for name in ("json.py", "re.py", "sitecustomize.py", "usercustomize.py", "asyncio.py"):
        (folder / name).write_text("open('was-run', 'w')")
    code = PROGRAM.format(root=str(ROOT), query="Hello,? W")
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert "README.md:3: Hello, World" in done.stdout
    assert not (folder / "was-run").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not end a process with its parent")
def test_when_the_program_is_killed_its_search_is_ended(folder: Path) -> None:
    (folder / "line.txt").write_text("a" * 60 + "b")
    code = PROGRAM.format(root=str(ROOT), query="(a+)+$")
    program = subprocess.Popen([sys.executable, "-P", "-c", code], cwd=folder)
    searching = f"/proc/{program.pid}/task/{program.pid}/children"
    until = time.monotonic() + 20
    try:
        while not (pids := Path(searching).read_text().split()):
            assert time.monotonic() < until
            time.sleep(0.01)
        # Before that it would end by itself, when it finds that its parent is another one.
        while not re.search(r"Max cpu time +60 ", Path(f"/proc/{pids[0]}/limits").read_text()):
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        program.kill()
        program.wait()
    while is_alive(int(pids[0])):
        assert time.monotonic() < until
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


CALLS = {
    "list": ("list_files", {"pattern": "**/*.py"}),
    "read": ("read_file", {"path": "src/a.py"}),
    "document": ("read_file", {"path": "src/a.pdf"}),
    "search": ("search_files", {"query": "hello"}),
    "regex": ("search_files", {"query": "hel+o", "regex": True}),
    "write": ("write_file", {"path": "src/new/b.txt", "content": "x"}),
    "edit": ("edit_file", {"path": "src/a.py", "old": "import os", "new": "x"}),
}


@pytest.mark.parametrize(("name", "arguments"), CALLS.values(), ids=CALLS)
async def test_without_descriptors_it_is_a_failure_in_words(
    folder: Path, name: str, arguments: dict[str, object]
) -> None:
    (folder / "src" / "a.pdf").write_bytes(b"%PDF-1.4")
    tools = files_tools(folder, write=True)
    await call(tools, "list_files")  # the loop's threads are there
    failures = []
    with no_descriptors() as held:
        for _ in range(9):
            result = await call(tools, name, **arguments)
            if "oo many" not in result.content:  # it worked, or read the document
                break
            failures.append(result.content)
            os.close(held.pop())
    assert len(failures) > 1
    assert [text for text in failures if "FileFailed" not in text] == []


async def test_a_literal_search_for_a_bad_case_is_quick(folder: Path) -> None:
    (folder / "a.txt").write_text("a" * 9_000_000)
    began = time.process_time()
    result = await call(files_tools(folder), "search_files", query="a" * 999 + "b", ignore_case=True)
    assert "(no match)" in result.content
    assert time.process_time() - began < 5


async def test_files_that_vanish_while_they_are_listed_and_searched_are_left_out(folder: Path) -> None:
    tools, gone = files_tools(folder), folder / "gone"
    stop = asyncio.Event()

    def churn() -> None:
        while not stop.is_set():
            gone.mkdir()
            (gone / "x.txt").write_text("hello")
            (gone / "x.txt").unlink()
            gone.rmdir()

    worker = asyncio.create_task(asyncio.to_thread(churn))
    try:
        for _ in range(60):
            assert not (await call(tools, "list_files", depth=3)).failed
            found = await call(tools, "search_files", query="hello")
            assert not found.failed
            assert "src/a.py:2: hello = 1" in found.content
    finally:
        stop.set()
        await worker
