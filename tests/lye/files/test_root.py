"""Nothing leads out of the opened folder: links, swaps, hard links, special files, a folder that is replaced."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lye._files.path import FilePath
from lye._files.root import Root
from lye._files.secrets import Secrets
from lye.errors import FileFailed, LyeError, PathRefused
from tests.lye.files_calls import ordinary_user

SECRET = b"outside: hunter2"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "private.txt").write_bytes(SECRET)
    return folder


@pytest.fixture
def inside(tmp_path: Path, outside: Path) -> Path:
    folder = tmp_path / "inside"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.txt").write_bytes(b"inside")
    return folder


def root_at(folder: Path, allow_hard_links: bool = False) -> Root:
    return Root.of(folder, Secrets(), allow_hard_links)


def read(root: Root, text: str) -> bytes:
    with root.opened() as folder, folder.file(folder.path(text)) as file:
        return file.read()


def test_a_file_is_read_by_its_relative_or_absolute_path(inside: Path) -> None:
    assert read(root_at(inside), "sub/a.txt") == b"inside"
    assert read(root_at(inside), f"{inside}/sub/a.txt") == b"inside"


def test_a_link_in_the_roots_own_path_is_the_developers(inside: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(inside)
    root = root_at(tmp_path / "link")
    assert read(root, "sub/a.txt") == b"inside"
    assert read(root, f"{tmp_path}/link/sub/a.txt") == b"inside"
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(LyeError):
        read(root, "private.txt")


LINKS: dict[str, tuple[str, str]] = {
    "absolute": ("{outside}/private.txt", "link"),
    "relative": ("../outside/private.txt", "link"),
    "to a folder": ("../outside", "link/private.txt"),
    "to a folder, itself": ("../outside", "link"),
    "to the folder above": ("..", "link/outside/private.txt"),
    "to the disk": ("/", "link/etc/hosts"),
    "dangling": ("nowhere", "link"),
    "to itself": ("link", "link"),
    "that stays inside": ("sub/a.txt", "link"),
    "to a folder inside": ("sub", "link/a.txt"),
    "of the process": ("/proc/self/root", "link/etc/hosts"),
    "to an open descriptor": ("/proc/self/fd/0", "link"),
    "to its own environment": ("/proc/self/environ", "link"),
}


@pytest.mark.parametrize(("target", "text"), LINKS.values(), ids=LINKS)
def test_links_are_not_followed(inside: Path, outside: Path, target: str, text: str) -> None:
    (inside / "link").symlink_to(target.format(outside=outside))
    with pytest.raises(PathRefused, match="is a link"):
        read(root_at(inside), text)


def test_a_chain_of_links_is_not_followed(inside: Path, outside: Path) -> None:
    (inside / "one").symlink_to("two")
    (inside / "two").symlink_to("sub/three")
    (inside / "sub" / "three").symlink_to(outside / "private.txt")
    for text in ("one", "two", "sub/three"):
        with pytest.raises(PathRefused, match="is a link"):
            read(root_at(inside), text)


def test_a_hard_link_is_refused_unless_opened(inside: Path, outside: Path) -> None:
    os.link(outside / "private.txt", inside / "hard.txt")
    with pytest.raises(PathRefused, match="hard links") as caught:
        read(root_at(inside), "hard.txt")
    assert "hunter2" not in str(caught.value)
    assert read(root_at(inside, allow_hard_links=True), "hard.txt") == SECRET


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path is limited to some 100 characters
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path.name)
    finally:
        os.chdir(here)


def a_device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")


@pytest.mark.parametrize(("make", "named"), [(a_fifo, "a FIFO"), (a_socket, "a socket"), (a_device, "a device")])
def test_special_files_are_refused_at_once(inside: Path, make: Callable[[Path], None], named: str) -> None:
    make(inside / "special")
    began = time.monotonic()
    with pytest.raises(PathRefused, match=named):
        read(root_at(inside), "special")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("text", ["sub", ".", "nowhere", "sub/a.txt/b", "sub/a.txt/", "x" * 300, "a/" * 99 + "b"])
def test_what_is_no_file_is_a_failure_in_words(inside: Path, text: str) -> None:
    if text == "sub/a.txt/":
        assert read(root_at(inside), text) == b"inside"
        return
    with pytest.raises(FileFailed, match="; "):
        read(root_at(inside), text)


def test_a_file_without_permission_is_a_failure_in_words(inside: Path) -> None:
    (inside / "sub" / "a.txt").chmod(0)
    with (
        root_at(inside).opened() as folder,
        ordinary_user(),
        pytest.raises(FileFailed, match="ask the developer for the permission"),
        folder.file(folder.path("sub/a.txt")),
    ):
        pass


def swapping(inside: Path, swap: Callable[[], None]) -> Iterator[None]:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            swap()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            yield
    finally:
        stop.set()
        worker.join()


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_swapped_in_while_it_is_opened_never_leads_out(inside: Path, outside: Path, what: str) -> None:
    name, text = ("sub/a.txt", "sub/a.txt") if what == "file" else ("sub", "sub/private.txt")
    target = outside / "private.txt" if what == "file" else outside
    if what == "folder":
        (inside / "sub" / "private.txt").write_bytes(b"inside")
    real, link, place = inside / "real", inside / "swapped", inside / name
    link.symlink_to(target)

    def swap() -> None:
        os.rename(place, real)
        os.rename(link, place)
        os.rename(place, link)
        os.rename(real, place)

    root, outcomes = root_at(inside), set()
    for _ in swapping(inside, swap):
        try:
            content = read(root, text)
        except LyeError as error:
            outcomes.add(type(error).__name__)
        else:
            assert content == b"inside"
            outcomes.add("read")
    assert "read" in outcomes
    assert len(outcomes) > 1


def test_a_folder_moved_out_while_it_is_entered_is_refused(inside: Path, tmp_path: Path) -> None:
    with root_at(inside).opened() as folder, folder.folder(FilePath(("sub",))) as fd:
        (inside / "sub").rename(tmp_path / "moved")
        if not Path("/proc/self/fd").exists():
            pytest.skip("this system does not say where an open folder lies")
        with pytest.raises(PathRefused, match="was moved"):
            folder.check_place(fd, FilePath(("sub",)))


def test_the_name_on_the_disk_counts_where_another_one_was_asked_for(inside: Path) -> None:
    """As on a disk that takes `config_1` and `.env` for one file: stood in for by a rename after the opening."""
    (inside / "plain").write_bytes(b"x")
    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not say where an open file lies")
    with root_at(inside).opened() as folder, open(inside / "plain", "rb") as file:
        (inside / "plain").rename(inside / ".env")
        with pytest.raises(PathRefused, match="another name"):
            folder.check_place(file.fileno(), FilePath(("plain",)))


@pytest.mark.parametrize("by", ["another folder", "a link", "nothing", "a file"])
def test_a_root_that_was_replaced_is_refused(inside: Path, outside: Path, tmp_path: Path, by: str) -> None:
    root = root_at(inside)
    inside.rename(tmp_path / "elsewhere")
    if by == "another folder":
        outside.rename(inside)
    elif by == "a link":
        inside.symlink_to(outside)
    elif by == "a file":
        inside.write_bytes(SECRET)
    for text in ("private.txt", "sub/a.txt"):
        with pytest.raises(LyeError, match="developer"):
            read(root, text)


def test_a_root_must_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "nowhere", tmp_path / "file", "", "a\0b"):
        with pytest.raises(ValueError, match="root"):
            Root.of(place, Secrets(), False)


def test_the_working_folder_is_the_one_at_the_call(
    inside: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Root.of(".", Secrets(), False)
    monkeypatch.chdir(inside)
    assert read(root, "sub/a.txt") == b"inside"
    monkeypatch.chdir(outside)
    assert read(root, "private.txt") == SECRET


@pytest.mark.parametrize("place", ["/", "home", "above the home", "home by a link", "home of the system's list"])
def test_a_disk_or_a_home_is_not_opened_unasked(
    inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "link").symlink_to(inside)
    listed = pwd.getpwuid(os.getuid()).pw_dir
    homes = {"above the home": inside / "sub", "home by a link": tmp_path / "link", "home of the system's list": "/opt"}
    monkeypatch.setenv("HOME", str(homes.get(place, inside)))
    stands = {"/": "/", "home of the system's list": listed if os.access(listed, os.X_OK) else "/"}
    monkeypatch.chdir(stands.get(place, inside))
    with pytest.raises(PathRefused, match=r"the developer can name a folder"):
        read(Root.of(".", Secrets(), False), "sub/a.txt")


def test_no_descriptor_stays_open(inside: Path) -> None:
    (inside / "link").symlink_to("sub")
    descriptors = Path("/dev/fd")
    before = len(list(descriptors.iterdir()))
    root = root_at(inside)
    for text in ("sub/a.txt", "link/a.txt", "nowhere", "sub/nowhere/x", "sub"):
        with contextlib.suppress(LyeError):
            read(root, text)
    assert len(list(descriptors.iterdir())) == before
