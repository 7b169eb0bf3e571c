"""Writing and editing: whole or not at all, beneath the folder only, whatever fails."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lye import files_tools
from lye._files.atomic_write import place_of, write_at
from lye._files.path import FilePath
from lye._files.root import OpenRoot, Root
from lye._files.secrets import Secrets
from lye._files.stoppable import Stop, Stopped
from lye.errors import FileFailed
from tests.lye.files_calls import call, everything_in, ordinary_user


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "private.txt").write_bytes(b"private")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "a.txt").write_bytes(b"one\ntwo\n")
    return inside


async def test_a_new_file_is_written_with_its_folders(folder: Path) -> None:
    result = await call(files_tools(folder, write=True), "write_file", path="x/y/b.txt", content="Zoé\n")
    assert result.content == "Wrote the new file 'x/y/b.txt', 5 bytes."
    assert (folder / "x" / "y" / "b.txt").read_bytes() == "Zoé\n".encode()


async def test_a_file_is_replaced_and_keeps_its_mode(folder: Path) -> None:
    (folder / "a.txt").chmod(0o4751)
    result = await call(files_tools(folder, write=True), "write_file", path="a.txt", content="new")
    assert result.content == "Wrote 'a.txt', 3 bytes in place of 8."
    assert stat.S_IMODE((folder / "a.txt").stat().st_mode) == 0o751
    assert everything_in(folder) == {"a.txt": b"new"}


async def test_written_twice_is_written_once(folder: Path) -> None:
    tools = files_tools(folder, write=True)
    for _ in range(2):
        assert not (await call(tools, "write_file", path="b/c.txt", content="same")).failed
    assert everything_in(folder)["b/c.txt"] == b"same"


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        (b"one\ntwo\n", "two", "2", b"one\n2\n"),
        (b"one\r\ntwo\r\n", "one\ntwo", "1\n2", b"1\r\n2\r\n"),
        (b"\xef\xbb\xbfa\n", "a", "b", b"\xef\xbb\xbfb\n"),
        ("\ufeffä\r\n".encode("utf-16-le"), "ä", "ö", "\ufeffö\r\n".encode("utf-16-le")),
        ("\ufeffä".encode("utf-16-be"), "ä", "ö", "\ufeffö".encode("utf-16-be")),
        (b"caf\xe9 one\n", "one", "zw\xf6lf", b"caf\xe9 zw\xf6lf\n"),
        (b"bad \x81\xff one\n", "one", "two", b"bad \x81\xff two\n"),
        (b"a bell rings here: \x07 one\n", "\x07 one", "two", b"a bell rings here: two\n"),
    ],
    ids=["lf", "crlf", "utf-8 mark", "utf-16-le", "utf-16-be", "windows-1252", "not utf-8", "control character"],
)
async def test_an_edit_keeps_all_other_bytes(folder: Path, before: bytes, old: str, new: str, after: bytes) -> None:
    (folder / "f.txt").write_bytes(before)
    result = await call(files_tools(folder, write=True), "edit_file", path="f.txt", old=old, new=new)
    assert not result.failed, result.content
    assert (folder / "f.txt").read_bytes() == after


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (b"one one", {"old": "one", "new": "x"}, "2 times"),
        (b"one", {"old": "two", "new": "x"}, "is not in"),
        (b"caf\xe9", {"old": "caf", "new": "日"}, "has no '日'"),
        ("\ufeffa".encode("utf-16-le") + b"x", {"old": "a", "new": "b"}, "no sound utf-16-le"),
        (b"\x89PNG\r\n\x1a\n\0\0", {"old": "P", "new": "x"}, "a PNG image"),
        (b"a\0b", {"old": "a", "new": "x"}, "binary data"),
        (b"x" * 900, {"old": "x" * 900, "new": "y" * 1_001}, "over the limit of 1,000"),
        (b"x" * 1_001, {"old": "x", "new": "y"}, "over the limit of 1,000"),
    ],
)
async def test_an_edit_that_fails_changes_nothing(
    folder: Path, content: bytes, arguments: dict[str, str], words: str
) -> None:
    (folder / "f.txt").write_bytes(content)
    before = everything_in(folder)
    result = await call(files_tools(folder, write=True, max_text_bytes=1_000), "edit_file", path="f.txt", **arguments)
    assert result.failed
    assert words in result.content
    assert everything_in(folder) == before


REFUSED = {
    "outside": "../outside/private.txt",
    "absolute": "/etc/lye-test",
    "through a link": "link/private.txt",
    "through a link, new folder": "link/new/x.txt",
    "onto a link": "file-link",
    "onto a dangling link": "dangling",
    "onto a hard link": "hard.txt",
    "onto a FIFO": "fifo",
    "onto a folder": "sub",
    "onto the folder": ".",
    "below a file": "a.txt/x",
    "a secret": "sub/.ENV",
    "in a secret folder": ".git/hooks/post-commit",
    "a newline": "a\nb.txt",
    "a direction override": "a\u202etxt.exe",
    "too long": "x" * 300,
    "too long below new folders": "new/folder/" + "x" * 300,
}


@pytest.mark.parametrize("path", REFUSED.values(), ids=REFUSED)
async def test_what_may_not_be_written_leaves_everything_as_it_was(folder: Path, tmp_path: Path, path: str) -> None:
    (folder / "link").symlink_to("../outside")
    (folder / "file-link").symlink_to("../outside/private.txt")
    (folder / "dangling").symlink_to("../outside/new.txt")
    os.link(tmp_path / "outside" / "private.txt", folder / "hard.txt")
    os.mkfifo(folder / "fifo")
    (folder / "sub").mkdir()
    before = everything_in(tmp_path)
    tools = files_tools(folder, write=True)
    written = await call(tools, "write_file", path=path, content="hostile")
    edited = await call(tools, "edit_file", path=path, old="private", new="hostile")
    assert written.failed
    assert edited.failed
    assert written.error_type in ("PathRefused", "FileFailed")
    assert everything_in(tmp_path) == before


async def test_half_a_character_and_too_much_are_not_written(folder: Path) -> None:
    tools = files_tools(folder, write=True, max_text_bytes=100)
    write_file = {tool.name: tool for tool in tools}["write_file"]
    with pytest.raises(FileFailed, match="half a character"):
        await write_file("b.txt", "a\udcffb")
    with pytest.raises(FileFailed, match="limit of 100"):
        await write_file("b.txt", "é" * 51)
    assert everything_in(folder) == {"a.txt": b"one\ntwo\n"}


async def test_edits_at_once_are_all_made(folder: Path) -> None:
    (folder / "f.txt").write_text("".join(f"<{number}>\n" for number in range(30)))
    tools, others = files_tools(folder, write=True), files_tools(folder, write=True)
    results = await asyncio.gather(
        *(
            call(tools if number % 2 else others, "edit_file", path="f.txt", old=f"<{number}>", new=f"[{number}]")
            for number in range(30)
        )
    )
    assert [result.content for result in results if result.failed] == []
    assert (folder / "f.txt").read_text() == "".join(f"[{number}]\n" for number in range(30))


def test_a_file_that_others_changed_meanwhile_is_not_overwritten(folder: Path) -> None:
    stop = Stop()
    with (
        Root.of(folder, Secrets(), False).opened() as root,
        place_of(root, FilePath(("a.txt",)), stop, make_folders=False) as place,
    ):
        (folder / "a.txt").write_bytes(b"theirs")
        with pytest.raises(FileFailed, match="changed by somebody else"):
            write_at(place, b"ours", stop)
    assert everything_in(folder) == {"a.txt": b"theirs"}


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """As on a disk that is full: the system takes no more than so many bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_disk_that_takes_no_more_leaves_the_old_file(folder: Path) -> None:
    tools = files_tools(folder, write=True)
    with file_size_limit(100_000):
        replaced = await call(tools, "write_file", path="a.txt", content="x" * 200_000)
        created = await call(tools, "write_file", path="new/folder/b.txt", content="x" * 200_000)
    for result in (replaced, created):
        assert result.failed
        assert "larger than this program may write" in result.content
    assert everything_in(folder) == {"a.txt": b"one\ntwo\n"}


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="only root mounts a small disk")
def test_a_full_disk_leaves_the_old_file(folder: Path) -> None:
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        (disk / "a.txt").write_bytes(b"old")
        result = asyncio.run(call(files_tools(disk, write=True), "write_file", path="a.txt", content="x" * 200_000))
        assert "disk is full" in result.content
        assert everything_in(disk) == {"a.txt": b"old"}
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("path", ["shut/new.txt", "shut/x/new.txt", "shut/old.txt", "fixed.txt"])
def test_folders_and_files_without_permission_stay_as_they_are(folder: Path, path: str) -> None:
    (folder / "shut").mkdir()
    for name in ("shut/old.txt", "fixed.txt"):
        (folder / name).write_text("old")
    (folder / "shut" / "old.txt").chmod(0o666)
    (folder / "fixed.txt").chmod(0o444)
    (folder / "shut").chmod(0o555)
    folder.chmod(0o777)
    before = everything_in(folder)
    names = FilePath(tuple(path.split("/")))

    def write(root: OpenRoot) -> None:
        with place_of(root, names, Stop(), make_folders=True) as place:
            write_at(place, b"hostile", Stop())

    with (
        Root.of(folder, Secrets(), False).opened() as root,
        ordinary_user(),
        pytest.raises(FileFailed, match="by this program"),
    ):
        write(root)
    assert everything_in(folder) == before
    (folder / "shut").chmod(0o755)


@pytest.mark.parametrize("make_folders", [True, False])
def test_a_write_that_is_stopped_leaves_nothing(folder: Path, make_folders: bool) -> None:
    path = FilePath(("n", "b.txt") if make_folders else ("a.txt",))
    stop = Stop()

    def write() -> None:
        with Root.of(folder, Secrets(), False).opened() as root, place_of(root, path, stop, make_folders) as place:
            stop.cancelled.set()
            write_at(place, b"x" * 3_000_000, stop)

    with pytest.raises(Stopped):
        write()
    assert everything_in(folder) == {"a.txt": b"one\ntwo\n"}


async def test_a_cancelled_write_is_over_when_the_cancellation_leaves(folder: Path) -> None:
    write_file = {tool.name: tool for tool in files_tools(folder, write=True)}["write_file"]
    for delay_s in (0.0, 0.001, 0.003, 0.01, 0.02):
        task = asyncio.create_task(write_file("a.txt", "x" * 9_000_000))
        await asyncio.wait([task], timeout=delay_s)
        task.cancel()
        await asyncio.wait([task])
        left = everything_in(folder)
        assert list(left) == ["a.txt"]
        assert left["a.txt"] in (b"one\ntwo\n", b"x" * 9_000_000)


async def test_a_write_that_waits_for_another_can_be_cancelled(folder: Path) -> None:
    write_file = {tool.name: tool for tool in files_tools(folder, write=True)}["write_file"]
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        task = asyncio.create_task(write_file("a.txt", "x"))
        await asyncio.wait([task], timeout=0.05)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()
    finally:
        os.close(fd)
    assert everything_in(folder) == {"a.txt": b"one\ntwo\n"}


async def test_a_folder_swapped_for_a_link_never_leads_a_write_out(folder: Path, tmp_path: Path) -> None:
    (folder / "sub").mkdir()
    for place in (folder / "sub", tmp_path / "outside"):
        (place / "w.txt").write_text("0")
    (folder / "swapped").symlink_to("../outside")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(folder / "sub", folder / "real")
            os.rename(folder / "swapped", folder / "sub")
            os.rename(folder / "sub", folder / "swapped")
            os.rename(folder / "real", folder / "sub")

    tools, results = files_tools(folder, write=True), []
    worker = threading.Thread(target=swap)
    worker.start()
    try:
        for number in range(200):
            new = {"path": "sub/w.txt", "old": f"{number % 2}", "new": f"{(number + 1) % 2}"}
            results.append(await call(tools, "edit_file", **new))
    finally:
        stop.set()
        worker.join()
    assert everything_in(tmp_path / "outside") == {"private.txt": b"private", "w.txt": b"0"}
    assert {result.failed for result in results} == {True, False}


WRITES = """
import sys
sys.path.insert(0, {root!r})
from lye import files_tools
import asyncio
write_file = files_tools(sys.argv[1], write=True)[3]
try:
    asyncio.run(write_file("a.txt", "new" * 1_000))
except Exception as error:
    print(type(error).__name__, error)
"""
DISK_FAULTS = {
    "not-synced": ("fsync:error=EIO", "FileFailed 'a.txt' could not be used (Input/output error)"),
    "killed-in-the-rename": ("renameat:signal=SIGKILL", ""),
    "full-in-the-rename": ("renameat:error=ENOSPC", "FileFailed 'a.txt' was not written, the disk is full"),
    "no-lock": ("flock:error=EIO", "FileFailed 'a.txt' could not be used (Input/output error)"),
    "mode-not-kept": ("fchmod:error=EIO", "FileFailed 'a.txt' could not be used (Input/output error)"),
}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace, which injects the faults, is not installed")
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(*case, id=kind, marks=[] if kind in ("not-synced", "killed-in-the-rename") else [pytest.mark.deep])
        for kind, case in DISK_FAULTS.items()
    ],
)
def test_a_disk_that_fails_leaves_the_old_file(tmp_path: Path, fault: str, said: str) -> None:
    (tmp_path / "a.txt").write_text("old")
    trace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={fault.partition(':')[0]}", "-e", f"inject={fault}"]
    code = WRITES.format(root=str(Path(__file__).parents[3]))
    done = subprocess.run(
        [*trace, sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    if "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.stdout.startswith(said)
    left = [path for path in tmp_path.iterdir() if not path.name.startswith(".lye-")]
    assert (left, left[0].read_text()) == ([tmp_path / "a.txt"], "old")
    assert len(list(tmp_path.iterdir())) == (2 if "SIGKILL" in fault else 1)
