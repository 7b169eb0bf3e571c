"""P12: one store works across successive and parallel event loops, and in several processes on one file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from narrator import Message, Thread, ThreadStore
from tests.garbage import collected

# Connections whose loop has ended are let go of, but the drivers, which could not, complain when they are collected.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _complaints_stay_here() -> Iterator[None]:
    with collected():
        yield


async def add(store: ThreadStore, id: str, thread_id: str = "t") -> None:
    await store.save_thread(Thread(id=thread_id, messages=[Message(id=id, role="user", content=id)]))


async def ids(store: ThreadStore, thread_id: str = "t") -> list[str]:
    return [message.id for message in (await store.get_thread(thread_id)).messages]


def test_one_store_in_successive_loops(store_url: str | None) -> None:
    store = asyncio.run(ThreadStore.create(store_url))
    for i in range(4):
        asyncio.run(add(store, f"m{i}"))
    assert asyncio.run(ids(store)) == ["m0", "m1", "m2", "m3"]
    asyncio.run(store.close())


def test_one_thread_object_in_successive_loops(store_url: str | None) -> None:
    store = asyncio.run(ThreadStore.create(store_url))
    thread = Thread(id="t")
    for i in range(3):
        thread.add_message(Message(id=f"m{i}", role="user", content="x"))

        async def save() -> None:
            await asyncio.gather(store.save_thread(thread), store.save_thread(thread))

        asyncio.run(save())
    assert asyncio.run(ids(store)) == ["m0", "m1", "m2"]
    asyncio.run(store.close())


def test_parallel_loops_in_threads_share_one_store(store_url: str | None) -> None:
    store = asyncio.run(ThreadStore.create(store_url))
    start = threading.Barrier(6)

    def work(who: int) -> None:
        async def adds() -> None:
            for i in range(5):
                await add(store, f"{who}-{i}")

        start.wait()
        for loop_number in range(2):
            asyncio.run(adds() if loop_number == 0 else add(store, f"{who}-last"))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    found = asyncio.run(ids(store))
    assert len(found) == 36
    for who in range(6):
        assert [id for id in found if id.startswith(f"{who}-")] == [*(f"{who}-{i}" for i in range(5)), f"{who}-last"]
    asyncio.run(store.close())


def test_parallel_loops_search_while_others_save(store_url: str | None) -> None:
    store = asyncio.run(ThreadStore.create(store_url))
    for i in range(3):
        asyncio.run(add(store, f"needle {i}"))
    start = threading.Barrier(4)

    async def work(who: int) -> list[int]:
        counts = []
        for i in range(3):
            await add(store, f"straw {i}", f"{who}")
            counts.append(len((await store.search("needle")).hits))
        return counts

    def run(who: int) -> list[int]:
        start.wait()
        return asyncio.run(work(who))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == [[3] * 3] * 4
    asyncio.run(store.close())


def test_many_short_loops_at_once_keep_the_stores_books(tmp_path: Path) -> None:
    """Each loop registers its connections with the store and clears those of ended loops away."""
    store = asyncio.run(ThreadStore.create(f"sqlite+aiosqlite:///{tmp_path}/a.db"))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work(_: int) -> None:
        for _ in range(10):
            asyncio.run(store.list_threads())

    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
    finally:
        sys.setswitchinterval(before)
    asyncio.run(store.close())


NEVER_CLOSED = """
import asyncio, sys
from narrator import *
url = sys.argv[1] or None
async def main(store=None):
    store = store or await ThreadStore.create(url)
    await store.save_thread(Thread(id="t", messages=[Message(role="user", content="x")]))
    await asyncio.gather(*(store.get_thread("t") for _ in range(5)))
    return store
store = asyncio.run(main())
asyncio.run(main(store))
print("done", flush=True)
if sys.argv[2] == "raises":
    raise SystemExit(3)
"""


@pytest.mark.parametrize("how", ["returns", "raises"])
def test_a_script_that_never_closes_its_store_ends_quietly(store_url: str | None, how: str) -> None:
    command = [sys.executable, "-c", NEVER_CLOSED, store_url or "", how]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout, ended.stderr) == ("done\n", "")
    assert ended.returncode == (3 if how == "raises" else 0)


PROCESSES = """
import asyncio, multiprocessing, sys
from narrator import *
async def main(store, who):
    for i in range(10):
        message = Message(id=f"{who}-{i}", role="user", content="x")
        await store.save_thread(Thread(id="t", messages=[message]))
def child(who, store=None):
    asyncio.run(main(store or asyncio.run(ThreadStore.create(sys.argv[1])), who))
if __name__ == "__main__":
    store = asyncio.run(ThreadStore.create(sys.argv[1]))
    asyncio.run(main(store, "parent before"))
    asyncio.run(store.close())
    context = multiprocessing.get_context(sys.argv[2])
    inherited = store if sys.argv[2] == "fork" else None
    children = [context.Process(target=child, args=(who, inherited)) for who in range(3)]
    for process in children: process.start()
    asyncio.run(main(store, "parent meanwhile"))
    for process in children: process.join()
    assert [process.exitcode for process in children] == [0] * 3
    found = asyncio.run(store.get_thread("t"))
    print(len(found.messages))
"""


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_processes_share_one_database(sql_url: str, how: str, tmp_path: Path) -> None:
    script = tmp_path / "processes.py"
    script.write_text(PROCESSES)
    root = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, str(script), sql_url, how],
        capture_output=True, text=True, timeout=100, check=False, env={"PYTHONPATH": root, "PATH": ""},
    )  # fmt: skip
    assert (ended.stderr, ended.stdout) == ("", "50\n")


FORKED_OPEN = """
import asyncio, os, sys
from narrator import *
async def save(store, id):
    await store.save_thread(Thread(id=id))
store = asyncio.run(ThreadStore.create(sys.argv[1]))
if (pid := os.fork()) == 0:
    async def anew():
        await save(await ThreadStore.create(sys.argv[1]), "child")
    for attempt in (save(store, "child"), anew()):
        try:
            asyncio.run(attempt)
        except StoreUnavailable as error:
            os.write(1, f"{error}\\n".encode())
    os._exit(0)
os.waitpid(pid, 0)
asyncio.run(save(store, "parent"))
print([summary.id for summary in asyncio.run(store.list_threads())])
"""


def test_a_fork_with_an_open_sqlite_file_is_refused_rather_than_losing_writes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKED_OPEN, f"sqlite:///{tmp_path}/a.db"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stderr == ""
    *refused, stored = ended.stdout.splitlines()
    assert stored == "['parent']"
    assert ["spawn" in line and "close() before the fork" in line for line in refused] == [True, True]


def test_a_fork_with_an_open_postgresql_store_may_use_it(postgres_url: str) -> None:
    command = [sys.executable, "-c", FORKED_OPEN, postgres_url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stderr, ended.stdout) == ("", "['parent', 'child']\n")
