"""Files in a folder: what a crash, a full disk, other processes and odd folders leave behind."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from narrator.attachment import Attachment
from narrator.errors import ConfigurationError, FileNotFound, StoreUnavailable
from narrator.file_store import FileStore, owner_digest

REPOSITORY = Path(__file__).parents[2]
HELLO = Attachment(filename="hello.txt", content=b"hello")
PRELUDE = """
import asyncio, os, resource, signal, sys
from narrator.attachment import Attachment
from narrator.errors import *
from narrator.file_store import FileStore
"""


def python(script: str, *args: object, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """The script's body in a process of its own, as the body of an `async def main()`."""
    body = "".join(f"    {line}\n" for line in script.strip().splitlines())
    code = f"{PRELUDE}\nasync def main():\n{body}\nasyncio.run(main())"
    return subprocess.Popen(
        [*before, sys.executable, "-c", code, *map(str, args)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0, text
    return text


def tree(base: Path) -> list[str]:
    """The files of a store, without its lock."""
    return sorted(p.relative_to(base).as_posix() for p in base.rglob("*") if p.is_file() and p.name != ".lock")


def place(base: Path, file_id: str) -> Path:
    return base / file_id[:2] / file_id


def age(path: Path, by: timedelta) -> None:
    then = time.time() - by.total_seconds()
    os.utime(path, (then, then))


async def test_files_lie_under_their_hash_and_owner_readable_by_this_user_only(tmp_path: Path) -> None:
    base = tmp_path / "new" / "files"
    store = await FileStore.create(base)
    saved = await store.save(HELLO)
    await store.for_owner("ann").save(HELLO)
    name = f"{saved.file_id[:2]}/{saved.file_id}"
    assert tree(base) == [name, f"{name}@{owner_digest('ann')}"]
    assert [stat.S_IMODE((base / n).stat().st_mode) for n in tree(base)] == [0o600, 0o600]
    for folder in (base.parent, base, base / saved.file_id[:2]):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_another_store_on_the_folder_finds_the_files(tmp_path: Path) -> None:
    saved = await (await FileStore.create(str(tmp_path))).save(HELLO)
    again = await FileStore.create(base_path=tmp_path)
    assert await again.get(saved.file_id) == b"hello"
    assert repr(again) == f"FileStore({str(tmp_path)!r})"


async def test_a_relative_folder_stays_where_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = await FileStore.create("./files")
    monkeypatch.chdir("/")
    await store.save(HELLO)
    assert len(tree(tmp_path / "files")) == 1


async def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    await FileStore.create("~/files")
    assert (tmp_path / "files").is_dir()


@pytest.mark.parametrize("path", ["", "  ", "a\x00b", "\ud800", 5, b"bytes", "~no-such-user-here/x", "x" * 300])
async def test_a_path_that_is_none_is_refused(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="base_path"):
        await FileStore.create(path)
    assert tree(tmp_path) == []


@pytest.mark.parametrize("below", ["", "files", "a/b"])
async def test_a_file_in_the_way_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"notes.*name another place"):
        await FileStore.create(tmp_path / "notes" / below)
    assert (tmp_path / "notes").read_text() == "mine"


async def test_a_place_where_nothing_can_be_made_is_unavailable() -> None:
    # /proc refuses root too, whom permission bits do not bind.
    with pytest.raises(StoreUnavailable, match=r"'/proc/narrator-files'.*right to write"):
        await FileStore.create("/proc/narrator-files")


async def test_bytes_already_there_are_not_written_again(tmp_path: Path) -> None:
    store = await FileStore.create(tmp_path)
    saved = await store.save(HELLO)
    blob = place(tmp_path, saved.file_id)
    age(blob, timedelta(days=3))
    inode = blob.stat().st_ino
    await store.save(HELLO)
    assert blob.stat().st_ino == inode
    assert time.time() - blob.stat().st_mtime < 60


async def test_a_file_of_the_wrong_size_is_replaced(tmp_path: Path) -> None:
    store = await FileStore.create(tmp_path)
    saved = await store.save(HELLO)
    place(tmp_path, saved.file_id).write_bytes(b"hel")
    await store.save(HELLO)
    assert await store.get(saved.file_id) == b"hello"


@pytest.mark.parametrize("damage", [b"hellO", b"hel", b"hello and more", b""])
async def test_damaged_bytes_are_never_handed_out(tmp_path: Path, damage: bytes) -> None:
    store = await FileStore.create(tmp_path)
    saved = await store.save(HELLO)
    place(tmp_path, saved.file_id).write_bytes(damage)
    with pytest.raises(StoreUnavailable, match=f"{saved.file_id}.*damaged"):
        await store.get(saved.file_id)
    async with store.open(saved.file_id) as file:
        with pytest.raises(StoreUnavailable, match="damaged"):
            b"".join([piece async for piece in file])


async def test_a_folder_that_vanished_is_unavailable_and_not_made_anew(tmp_path: Path) -> None:
    """It was perhaps a mount: an absent disk is no absent file, and the bytes belong on no other one."""
    base = tmp_path / "files"
    store = await FileStore.create(base)
    saved = await store.save(HELLO)
    shutil.rmtree(base)
    with pytest.raises(StoreUnavailable, match="files"):
        await store.get(saved.file_id)
    with pytest.raises(StoreUnavailable, match="files"):
        await store.save(HELLO)
    with pytest.raises(StoreUnavailable, match="files"):
        await store.exists(saved.file_id)
    assert not base.exists()


async def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"hello")
    store = await FileStore.create(tmp_path / "files")
    blob = place(tmp_path / "files", HELLO.file_id)
    blob.parent.mkdir()
    blob.symlink_to(secret)
    with pytest.raises(FileNotFound):
        await store.get(HELLO.file_id)
    await store.save(HELLO)
    assert not blob.is_symlink()


async def test_list_passes_over_what_is_no_stored_file(tmp_path: Path) -> None:
    store = await FileStore.create(tmp_path)
    saved = await store.save(HELLO)
    folder = place(tmp_path, saved.file_id).parent
    for stranger in ("README", ".tmp-1", "f" * 64, saved.file_id + "@x", saved.file_id + ".bak"):
        (folder / stranger).touch()
    (tmp_path / "other").mkdir()
    assert [f.file_id async for f in store.list()] == [saved.file_id]


async def test_stale_temporaries_are_removed_and_young_ones_left(tmp_path: Path) -> None:
    store = await FileStore.create(tmp_path)
    saved = await store.save(HELLO)
    folder = place(tmp_path, saved.file_id).parent
    for name in (folder / ".tmp-old", tmp_path / ".tmp-old", folder / ".tmp-young"):
        name.touch()
    for path in (folder / ".tmp-old", tmp_path / ".tmp-old", place(tmp_path, saved.file_id)):
        age(path, timedelta(hours=2))
    assert await store.remove_stale_temporaries() == 2
    assert tree(tmp_path) == [f"{saved.file_id[:2]}/.tmp-young", f"{saved.file_id[:2]}/{saved.file_id}"]
    assert await store.remove_stale_temporaries(older_than=timedelta(0)) == 1


async def test_a_refused_save_leaves_no_temporary(tmp_path: Path) -> None:
    store = await FileStore.create(tmp_path / "files")
    source = tmp_path / "source"
    source.write_bytes(b"before")
    attachment = Attachment.from_path(source)
    source.write_bytes(b"behind")
    with pytest.raises(FileNotFound, match="changed"):
        await store.save(attachment)
    assert tree(tmp_path / "files") == []


async def test_a_cancelled_save_settles_first(tmp_path: Path) -> None:
    store = await FileStore.create(tmp_path)
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # holds the save up, once started
        save = asyncio.create_task(store.save(HELLO))
        for _ in range(3):  # cancelled again and again, it still waits for its thread
            await asyncio.sleep(0)
            save.cancel()
            done, _ = await asyncio.wait([save], timeout=0.02)
            assert not done
    with pytest.raises(asyncio.CancelledError):
        await save
    assert tree(tmp_path) == [f"{HELLO.file_id[:2]}/{HELLO.file_id}"]


@pytest.mark.parametrize("old", ["hello", "hell"], ids=["found", "replaced"])
async def test_a_save_never_loses_its_file_to_a_delete_of_old_ones(tmp_path: Path, old: str) -> None:
    """gc decides by age: a save that comes between its look at the file and its unlink keeps the file."""
    script = f"""
import datetime, pathlib, threading
store = await FileStore.create(sys.argv[1])
hello = Attachment(filename="hello.txt", content=b"hello")
await store.save(hello)
blob = pathlib.Path(sys.argv[1], hello.file_id[:2], hello.file_id)
blob.write_text({old!r})
os.utime(blob, (0, 0))
saving = threading.Thread(target=lambda: asyncio.run(store.save(hello)))
def save_just_before_the_unlink(event, arguments):
    if event == "os.remove" and str(arguments[0]) == str(blob):
        saving.start()
        saving.join(0.3)  # the save would be through by now, did it not wait for the delete
sys.addaudithook(save_just_before_the_unlink)
assert await store.delete(hello.file_id, older_than=datetime.timedelta(hours=1))
await asyncio.to_thread(saving.join)
assert await store.get(hello.file_id) == b"hello"
"""
    output(python(script, tmp_path))


@pytest.mark.deep
async def test_a_lock_that_a_stopped_process_holds_becomes_an_error(tmp_path: Path) -> None:
    store = await FileStore.create(tmp_path)
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match="is it stopped"):
            await store.save(HELLO)
    assert tree(tmp_path) == []


async def test_a_full_disk_names_the_folder_and_leaves_nothing(tmp_path: Path) -> None:
    text = output(
        python(
            """
            store = await FileStore.create(sys.argv[1])
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
            try:
                await store.save(Attachment(filename="a", content=b"x" * 3_000_000))
            except StoreUnavailable as error:
                print(error)
            await store.save(Attachment(filename="a", content=b"small"))
            """.replace("            ", ""),
            tmp_path,
        )
    )
    assert re.search(f"'{tmp_path}': File too large; check its disk space", text)
    assert [(tmp_path / n).read_bytes() for n in tree(tmp_path)] == [b"small"]


def _can_mount() -> bool:
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(probe, capture_output=True, check=False).returncode == 0


if _can_mount():  # elsewhere the limit on a file's size, above, stands for the full disk
    SMALL_MOUNT = """
base = sys.argv[1]
assert os.system(f"mount -t tmpfs -o size=1m tmpfs {base}") == 0
store = await FileStore.create(base)
small = await store.save(Attachment(filename="a", content=b"small"))
large = Attachment(filename="a", content=b"x" * 3_000_000)
"""

    async def test_a_full_file_system_names_the_folder_and_leaves_nothing(tmp_path: Path) -> None:
        script = f"""{SMALL_MOUNT}
try:
    await store.save(large)
except StoreUnavailable as error:
    print(error)
names = [name for _, _, files in os.walk(base) for name in files if name != ".lock"]
assert names == [small.file_id], names
"""
        text = output(python(script, tmp_path, before=("unshare", "-rm")))
        assert f"{str(tmp_path)!r}: No space left on device" in text

    async def test_a_read_only_file_system_is_refused_for_writing_only(tmp_path: Path) -> None:
        script = f"""{SMALL_MOUNT}
assert os.system(f"mount -o remount,ro,size=1m tmpfs {{base}}") == 0
for act in (FileStore.create(base), store.save(large), store.delete(small.file_id)):
    try:
        await act
    except StoreUnavailable as error:
        print(error)
assert await store.get(small.file_id) == b"small"
"""
        text = output(python(script, tmp_path, before=("unshare", "-rm")))
        assert text.count(f"{str(tmp_path)!r}: Read-only file system") == 3


@pytest.mark.parametrize(
    ("kill", "by"),
    [
        # The kernel kills it at the first write beyond 5 MB.
        (
            "signal.signal(signal.SIGXFSZ, signal.SIG_DFL); "
            "resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))",
            signal.SIGXFSZ,
        ),
        (
            "sys.addaudithook(lambda e, a: os.kill(os.getpid(), signal.SIGKILL) if e == 'os.rename' else 0)",
            signal.SIGKILL,
        ),
    ],
    ids=["while-writing", "before-the-rename"],
)
async def test_a_killed_save_leaves_no_visible_file(tmp_path: Path, kill: str, by: signal.Signals) -> None:
    script = f"""
store = await FileStore.create(sys.argv[1])
{kill}
await store.save(Attachment(filename="a", content=b"x" * 10_000_000))
"""
    process = python(script, tmp_path)
    await asyncio.to_thread(process.communicate)
    assert process.returncode == -by
    (leftover,) = tree(tmp_path)
    assert "/.tmp-" in leftover
    store = await FileStore.create(tmp_path)
    whole = Attachment(filename="a", content=b"x" * 10_000_000)
    assert not await store.exists(whole.file_id)
    assert [f async for f in store.list()] == []
    assert await store.remove_stale_temporaries(timedelta(0)) == 1
    await store.save(whole)
    assert await store.get(whole.file_id) == whole.content


async def test_processes_that_save_the_same_bytes_at_once_all_succeed(tmp_path: Path) -> None:
    script = """
store = await FileStore.create(sys.argv[1])
sys.stdin.read()  # until all of them are let go
async def one(number):
    saved = await store.save(Attachment(filename="a", content=b"%d" % number * 50_000))
    assert len(await store.get(saved.file_id)) == saved.size_bytes
    return saved.file_id
print(*await asyncio.gather(*map(one, range(60))))
"""
    processes = [python(script, tmp_path) for _ in range(3)]
    texts = await asyncio.gather(*(asyncio.to_thread(output, process) for process in processes))
    assert len(set(texts)) == 1
    assert len(tree(tmp_path)) == 60


@pytest.mark.parametrize("mebibytes", [256, pytest.param(1024, marks=pytest.mark.deep)])
async def test_a_large_file_needs_little_memory(tmp_path: Path, mebibytes: int) -> None:
    source = tmp_path / "large.bin"
    with source.open("wb") as file:
        file.truncate(mebibytes << 20)
    # VmHWM and not ru_maxrss: the latter starts at the peak of the process that called exec.
    text = output(
        python(
            """
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
store = await FileStore.create(sys.argv[1], max_file_bytes=1 << 30)
await store.get((await store.save(Attachment(filename="a", content=b"warm up"))).file_id)
before = peak()
saved = await store.save(Attachment.from_path(sys.argv[2]))
total = 0
async with store.open(saved.file_id) as file:
    async for piece in file:
        total += len(piece)
assert total == saved.size_bytes == os.path.getsize(sys.argv[2])
print(peak() - before)
""",
            tmp_path / "files",
            source,
        )
    )
    assert int(text) < 32 * 1024


def _can_trace() -> bool:
    probe = ["strace", "-o", os.devnull, "true"]
    return bool(shutil.which("strace")) and subprocess.run(probe, capture_output=True, check=False).returncode == 0


if _can_trace():

    async def test_the_bytes_reach_the_disk_before_the_name_and_the_name_before_the_return(
        tmp_path: Path,
    ) -> None:
        base, log = tmp_path / "files", tmp_path / "log"
        script = f"""
store = await FileStore.create({str(base)!r})
os.write(1, b"start")
await store.save(Attachment(filename="hello.txt", content=b"hello"))
await store.save(Attachment(filename="hello.txt", content=b"hello"))
"""
        trace = ("strace", "-f", "-y", "-s", "200", "-o", str(log))
        output(python(script, before=(*trace, "-e", "trace=fsync,rename,renameat,renameat2,write,utimensat")))
        calls = re.split(r"write\(1.*start", log.read_text())
        folder = re.escape(str(base / HELLO.file_id[:2]))
        steps = [
            rf"write\(\d+<{folder}/\.tmp-.*hello",
            rf"fsync\(\d+<{folder}/\.tmp-",
            rf"rename\w*\(.*\.tmp-.*{HELLO.file_id}",
            rf"fsync\(\d+<{folder}>",
            rf"fsync\(\d+<{re.escape(str(base))}>",  # the new sub-folder's own name
            # The second save writes nothing; it syncs, for the process that wrote may not be so far yet.
            "utimensat",
            rf"fsync\(\d+<{folder}>",
        ]
        assert re.search(".*".join(steps), calls[1], re.DOTALL), calls[1]
        assert re.search(rf"fsync\(\d+<{re.escape(str(tmp_path))}>", calls[0])  # the base's own name
