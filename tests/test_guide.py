"""Every snippet of the user's guide does what the guide says, on memory, SQLite and PostgreSQL.

Models are reached as the guide's readers reach them: through litellm over HTTP, `model_name="gpt-4"`, the address
from the environment.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from narrator.config import PoolSettings
from tests.guide.snippets import GUIDE, MENDS, PYTHON, SHELL, lines, mended, on, printed, run
from tests.model_server import ModelServer
from tyler import Agent, FileStore, LitellmModel, Message, Thread, ThreadNotFound, ThreadStore

ROOT = Path(__file__).parents[1]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
STORES = "    thread_store=thread_store,\n    file_store="
# litellm asks each streamed tool call for a pydantic field in a deprecated way.

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning")


class Page:
    """A reader who types the guide's snippets into one session, on one database; None is memory."""

    def __init__(self, url: str | None) -> None:
        self.url = url
        self.names: dict[str, Any] = {"Agent": Agent, "Thread": Thread, "Message": Message}
        self.names |= {"ThreadStore": ThreadStore, "FileStore": FileStore}

    async def run(self, name: str, **given: Any) -> dict[str, Any]:
        """Run the snippet as printed, on this page's database, with these names beside those it made before."""
        self.names |= given
        await run(on(self.url, printed(name)), self.names)
        return self.names

    async def run_mended(self, name: str, **given: Any) -> dict[str, Any]:
        """The same with the mended form."""
        self.names |= given
        await run(on(self.url, mended(name)), self.names)
        return self.names

    async def store(self) -> ThreadStore:
        """A store as the guide makes one; the page's `thread_store`."""
        store: ThreadStore = (await self.run("sqlite"))["thread_store"]
        return store

    async def agent(self) -> Agent:
        """The quick start's agent; its stores become the page's."""
        await self.run("quick start")
        agent, store, files = await self.names["create_agent_with_persistence"]()
        self.names |= {"agent": agent, "thread_store": store, "file_store": files}
        return self.names["agent"]  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Close what the snippets left open: the guide never does."""
        for value in self.names.values():
            if isinstance(value, ThreadStore | FileStore):
                await value.close()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """The URL of an empty database, once for each backend."""
    if request.param == "postgresql":
        given: str = request.getfixturevalue("postgres_url")
        return given
    return f"sqlite+aiosqlite:///{tmp_path}/guide.db" if request.param == "sqlite" else None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's own folder, which is the current one: the guide's paths are relative."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
async def page(url: str | None, folder: Path) -> AsyncIterator[Page]:
    page = Page(url)
    yield page
    await page.close()
    await LitellmModel("any").close()  # its connections belong to this test's loop


def asked(server: ModelServer) -> list[list[tuple[str, Any]]]:
    """What the model was shown: of each request, role and content of the messages."""
    assert not server.refused, [recorded.violations for recorded in server.refused]
    return [[(message["role"], message["content"]) for message in recorded.messages] for recorded in server.requests]


def said(thread: Thread) -> list[tuple[str, Any]]:
    return [(message.role, message.content) for message in thread.messages]


# -- the copy --------------------------------------------------------------------------------------


def test_the_copy_is_the_users_guide_unchanged() -> None:
    digest = hashlib.sha256(GUIDE.read_bytes()).hexdigest()
    assert digest == "9109e36aed811596a5c7078a978d8de849acb9d2e3c5177aee40efde544ece1c"


def test_every_line_of_code_is_in_a_snippet() -> None:
    inside = {number for first, last in (PYTHON | SHELL).values() for number in range(first, last + 1)}
    outside = [line for number, line in enumerate(lines(), 1) if number not in inside]
    code = re.compile(r"^\s*(#|import |from |class |@|async |await |uv |export |return |\w+ = |\)|  +[^\s•])|await ")
    assert [line for line in outside if code.search(line)] == []
    assert len(inside) > 280


def test_the_database_is_all_that_is_replaced() -> None:
    assert on(None, printed("sqlite")) == "thread_store = await ThreadStore.create()\n"
    assert on("u", printed("postgresql")) == 'thread_store = await ThreadStore.create("u")\n'
    assert on("u", printed("in memory")) == printed("in memory")
    quick_start = on("u", printed("quick start"))
    assert quick_start.replace('"u"', '"sqlite+aiosqlite:///conversations.db"') == printed("quick start")


# -- quick start and backends ----------------------------------------------------------------------


async def test_quick_start_greets_the_returning_user(page: Page, model_server: ModelServer, folder: Path) -> None:
    script = folder / "quick_start.py"
    script.write_text(on(page.url, printed("quick start")) + "\nasyncio.run(main())\n", encoding="utf-8")

    async def output() -> str:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,  # a store that is never closed must not keep the program alive
            check=True,
        )
        assert done.stderr == ""
        return done.stdout

    assert await output() == "Nice to meet you!\n"
    agent = await page.agent()
    thread = Thread(id="user-123-main")
    thread.add_message(Message(role="user", content="My name is Ann."))
    result = await agent.go(thread)
    assert result.content == "echo: My name is Ann."
    purpose = "To be a helpful assistant that maintains conversation history"
    assert asked(model_server) == [[("system", purpose), ("user", "My name is Ann.")]]
    assert model_server.requests[0].body["model"] == "gpt-4"
    stored = await page.names["thread_store"].get_thread("user-123-main")
    assert said(stored) == [("user", "My name is Ann."), ("assistant", "echo: My name is Ann.")]
    assert await output() == ("Welcome back!\n" if page.url else "Nice to meet you!\n")
    assert (folder / "conversation_files").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["sqlite", "postgresql", "in memory"])
async def test_each_backend_snippet_gives_a_store_that_works(page: Page, name: str) -> None:
    store = (await page.run(name))["thread_store"]
    await store.save_thread(Thread(id="t", messages=[Message(role="user", content="kept")]))
    assert said(await store.get_thread("t")) == [("user", "kept")]


async def test_the_sqlite_snippet_as_printed_makes_the_file_it_names(folder: Path) -> None:
    page = Page(None)
    await run(printed("sqlite"), page.names)
    assert (folder / "app.db").exists()
    await page.close()


# -- threads and messages --------------------------------------------------------------------------


async def test_threads_are_created_with_their_ids_and_metadata(page: Page) -> None:
    names = await page.run("creating threads")
    assert names["thread"].id == "project-research"
    assert names["thread"].metadata == {"project": "quantum-computing", "created_by": "alice"}
    assert len(Thread().id) == 32
    assert Thread().id != Thread().id


async def test_threads_are_saved_loaded_listed_and_deleted(page: Page) -> None:
    store = await page.store()
    await store.save_thread(Thread(id="thread-id", title="the one to delete"))
    await page.run("creating threads")
    names = await page.run("saving and loading")
    assert names["thread"].title == "the one to delete"
    assert [summary.id for summary in names["threads"]] == ["project-research", "thread-id"]
    with pytest.raises(ThreadNotFound):
        await store.get_thread("thread-id")
    assert (await store.get_thread("project-research")).metadata["created_by"] == "alice"


async def test_the_model_sees_all_messages_before(
    page: Page, model_server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    await page.agent()
    names = await page.run("message history", thread=Thread(id="t"))
    conversation = [
        ("user", "What's the capital of France?"),
        ("assistant", "The capital of France is Paris."),
        ("user", "What about Germany?"),
    ]
    assert capsys.readouterr().out == "".join(f"{role}: {content}\n" for role, content in conversation)
    assert [messages[1:] for messages in asked(model_server)] == [conversation]
    answer = ("assistant", "echo: What about Germany?")
    assert said(await names["thread_store"].get_thread("t")) == [*conversation, answer]
    assert names["result"].content == answer[1]


# -- patterns --------------------------------------------------------------------------------------


async def test_user_threads_are_new_once_and_then_found(page: Page) -> None:
    store = await page.store()
    thread = (await page.run("user threads"))["thread"]
    assert (thread.id, thread.messages) == ("user-alice@example.com-main", [])
    thread.add_message(Message(role="user", content="hello"))
    await store.save_thread(thread)
    again = (await page.run("user threads"))["thread"]
    assert again is not thread
    assert said(again) == [("user", "hello")]


async def test_topic_threads_are_stored_with_their_context(page: Page, model_server: ModelServer) -> None:
    agent = await page.agent()
    create = (await page.run("topic threads"))["create_research_thread"]
    store = page.names["thread_store"]
    await create("Quantum Error Correction", store)
    (summary,) = await store.list_threads(metadata={"type": "research", "topic": "Quantum Error Correction"})
    assert summary.id == "research-quantum-error-correction"
    thread = await store.get_thread(summary.id)
    thread.add_message(Message(role="user", content="Where do I start?"))
    await agent.go(thread)
    context = ("system", "This thread is for researching: Quantum Error Correction")
    assert asked(model_server)[0][1:] == [context, ("user", "Where do I start?")]


async def test_a_session_is_resumed_with_its_history(page: Page, model_server: ModelServer) -> None:
    agent = await page.agent()
    session_class = (await page.run("sessions"))["ConversationSession"]
    first = session_class(agent, page.names["thread_store"])
    assert await first.start_or_resume("s-1") == "new"
    assert [m.content for m in await first.send_message("one")] == ["echo: one"]
    second = session_class(agent, page.names["thread_store"])
    assert await second.start_or_resume("s-1") == "resumed"
    assert [m.content for m in await second.send_message("two")] == ["echo: two"]
    history = [("user", "one"), ("assistant", "echo: one"), ("user", "two")]
    assert asked(model_server)[1][1:] == history
    assert said(await page.names["thread_store"].get_thread("s-1")) == [*history, ("assistant", "echo: two")]


# -- files -----------------------------------------------------------------------------------------


async def test_attachments_are_saved_and_reach_the_model(page: Page, model_server: ModelServer, folder: Path) -> None:
    (folder / "chart.png").write_bytes(PNG)
    names = await page.run("attachments", thread=Thread(id="t"))
    attachment = names["message"].attachments[0]
    assert await names["file_store"].get(attachment.file_id) == PNG
    assert (folder / "uploads").is_dir()
    assert names["result"].content.startswith("echo: Please analyze this image")
    text, reference = model_server.requests[0].messages[-1]["content"]
    assert text == {"type": "text", "text": "Please analyze this image"}
    assert "chart.png" in reference["text"]  # gpt-4 takes no images: it is told the file's name and type


async def test_an_image_reaches_a_model_with_vision_and_is_kept_with_the_thread(
    page: Page, model_server: ModelServer, folder: Path
) -> None:
    """The same snippet with a thread store, and a model that sees."""
    (folder / "chart.png").write_bytes(PNG)
    store = await page.store()
    text = printed("attachments").replace('"gpt-4"', '"gpt-4o"').replace("    file_store=", STORES)
    page.names["thread"] = Thread(id="t")
    await run(text, page.names)
    image = model_server.requests[0].messages[-1]["content"][1]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    loaded = (await store.get_thread("t")).messages[0].attachments[0]
    assert (loaded.filename, loaded.mime_type, loaded.size_bytes) == ("chart.png", "image/png", len(PNG))
    assert await page.names["file_store"].get(loaded.file_id) == PNG


# -- advanced --------------------------------------------------------------------------------------


def long_thread(count: int, id: str = "long") -> Thread:
    roles = ("user", "assistant")
    return Thread(id=id, messages=[Message(role=roles[i % 2], content=f"message {i}") for i in range(count)])


async def test_a_summary_replaces_the_old_messages_in_the_store(page: Page, model_server: ModelServer) -> None:
    agent = await page.agent()
    store = page.names["thread_store"]
    await store.save_thread(long_thread(60))
    summarize = (await page.run("summarization"))["summarize_old_conversations"]
    thread = await store.get_thread("long")
    model_server.reply("They counted.")
    await summarize(thread)
    (request,) = model_server.requests
    assert request.body["model"] == "gpt-3.5-turbo"
    assert request.messages[0] == {"role": "system", "content": "To create concise summaries"}
    lines = [f"{'assistant' if i % 2 else 'user'}: message {i}" for i in range(10)]
    assert request.messages[1]["content"] == "\n".join(["Summarize this conversation:\n", *lines])
    await store.save_thread(thread)
    summary = ("system", "Previous conversation summary: They counted.")
    kept = [summary, *said(long_thread(60))[-50:]]
    assert said(await store.get_thread("long")) == kept
    assert (await store.list_threads())[0].message_count == 51
    thread.add_message(Message(role="user", content="And now?"))
    await agent.go(thread)
    assert asked(model_server)[1][1:] == [*kept, ("user", "And now?")]


async def test_a_short_thread_is_not_summarized(page: Page, model_server: ModelServer) -> None:
    summarize = (await page.run("summarization"))["summarize_old_conversations"]
    await summarize(thread := long_thread(50))
    assert (len(thread.messages), model_server.requests) == (50, [])


async def test_injected_context_comes_first_for_the_model(page: Page, model_server: ModelServer) -> None:
    async def load_user_preferences(user_id: str) -> dict[str, str]:
        return {"user": user_id, "language": "fr"}

    agent = await page.agent()
    store = page.names["thread_store"]
    await store.save_thread(Thread(id="t", messages=[Message(role="user", content="Bonjour")]))
    names = await page.run("context injection", json=json, load_user_preferences=load_user_preferences)
    thread = await store.get_thread("t")
    assert await names["inject_user_context"](thread, "u-1") is thread
    await agent.go(thread)
    context = ("system", 'User preferences: {"user": "u-1", "language": "fr"}')
    assert asked(model_server)[0][1:] == [context, ("user", "Bonjour")]
    assert said(await store.get_thread("t"))[:2] == [context, ("user", "Bonjour")]


# -- management ------------------------------------------------------------------------------------


async def test_the_recommended_names_are_ids(page: Page) -> None:
    await page.run("thread names")
    store = await page.store()
    ids = re.findall(r'^"(.+?)"', printed("thread names"), re.MULTILINE)
    assert len(ids) == 5
    for id in ids:
        await store.save_thread(Thread(id=id))
    assert {summary.id for summary in await store.list_threads()} == set(ids)


async def test_threads_are_found_by_their_metadata(page: Page) -> None:
    store = await page.store()
    thread = (await page.run("metadata", datetime=datetime))["thread"]
    await store.save_thread(thread)
    await store.save_thread(Thread(id="other", metadata={"issue_type": "login", "priority": "high"}))
    found = await store.list_threads(metadata={"issue_type": "billing", "priority": "high"})
    assert [summary.id for summary in found] == ["customer-support-789"]
    assert datetime.fromisoformat(found[0].metadata["created_at"])


async def test_cleanup_deletes_exactly_the_old_threads(page: Page) -> None:
    store = await page.store()
    ages = {"today": 0, "recent": 28, "old": 32, "ancient": 400}
    for id, days in ages.items():
        await store.save_thread(Thread(id=id, messages=[Message(role="user", content=id)]))
        await make_older(store, page.url, id, timedelta(days=days))
    cleanup = (await page.run("cleanup", datetime=datetime, timedelta=timedelta))["cleanup_old_threads"]
    await cleanup(store)
    assert {summary.id for summary in await store.list_threads()} == {"today", "recent"}
    assert await store.purge(older_than=timedelta(days=20)) == 1  # the right way, on what is left
    assert [summary.id for summary in await store.list_threads()] == ["today"]


async def make_older(store: ThreadStore, url: str | None, id: str, age: timedelta) -> None:
    """Set the time of a thread's last save, behind the store's back."""
    at = datetime.now(UTC) - age
    if url is None:
        rows = next(rows for rows in store._backend._rows._threads.values() if rows.head.id == id)  # type: ignore[attr-defined]
        rows.head = rows.head._replace(updated_at=at)
        return
    statement = "UPDATE narrator_threads SET updated_at = {} WHERE id = {}"
    if url.startswith("sqlite"):
        import aiosqlite

        async with aiosqlite.connect(url.partition("///")[2]) as connection:
            await connection.execute(statement.format("?", "?"), (int(at.timestamp() * 1_000_000), id))
            await connection.commit()
        return
    import asyncpg

    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute(statement.format("$1", "$2"), at, id)
    await connection.close()


# -- the support agent -----------------------------------------------------------------------------


async def test_two_reports_on_one_ticket_are_both_kept(page: Page, model_server: ModelServer, folder: Path) -> None:
    await page.run_mended("support agent")
    names = await page.run_mended("support agent's use")
    agent = names["agent"]
    page.names |= {"opened": agent.thread_store, "files": agent.file_store}  # closed with the page
    assert names["response"] == "echo: Customer cust-789 reports: Cannot login to my account"
    again = await agent.handle_ticket("12345", "cust-789", "It still fails")
    assert again == "echo: Customer cust-789 reports: It still fails"
    history = [
        ("user", "Customer cust-789 reports: Cannot login to my account"),
        ("assistant", "echo: Customer cust-789 reports: Cannot login to my account"),
        ("user", "Customer cust-789 reports: It still fails"),
    ]
    assert asked(model_server)[1] == [("system", "To help customers with product issues"), *history]
    stored = [(m.role, m.content) for m in await agent.get_ticket_history("12345")]
    assert stored == [*history, ("assistant", again)]
    (summary,) = await agent.thread_store.list_threads(metadata={"customer_id": "cust-789", "status": "open"})
    assert summary.id == "ticket-12345"
    offered = [tool["function"]["name"] for tool in model_server.requests[0].body["tools"]]
    assert offered == ["fetch_page", "download_file", "search_web"]
    assert (folder / "support_files").is_dir()


async def test_the_support_agent_as_printed_names_messages_that_do_not_exist(
    page: Page, model_server: ModelServer
) -> None:
    agent = (await page.run("support agent"))["SupportAgent"]()
    await agent.initialize()
    page.names |= {"opened": agent.thread_store, "files": agent.file_store}
    with pytest.raises(NameError, match="'messages' is not defined"):
        await agent.handle_ticket("1", "c", "help")
    assert len(await agent.get_ticket_history("1")) == 2  # the work was done and kept: only the return fails


def test_the_support_agents_use_as_printed_is_no_python() -> None:
    use = printed("support agent's use")
    together = printed("support agent") + "\n" + use
    with pytest.raises(SyntaxError, match="outside"):
        compile(together, "the guide", "exec")
    with pytest.raises(SyntaxError, match="unexpected indent"):
        compile(use, "the guide", "exec")


# -- configuration ---------------------------------------------------------------------------------


def shell(text: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run lines of the guide in bash, with this checkout's `narrator` in place of `uv run narrator`."""
    narrator = f'narrator() {{ "{sys.executable}" -m narrator.cli "$@"; }}\n'
    return subprocess.run(
        ["bash", "-ec", narrator + text.replace("uv run narrator", "narrator")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_init_makes_the_tables_and_status_shows_them(url: str | None, tmp_path: Path) -> None:
    text = re.sub(r'(?<=NARRATOR_DATABASE_URL=")[^"]+', lambda _: url or "", printed("database setup"))
    done = shell(text, tmp_path)
    if url is None:  # without a database there is nothing to initialize, and the command says so
        assert (done.returncode, done.stdout) == (1, "")
        assert "NARRATOR_DATABASE_URL is not set" in done.stderr
        return
    assert (done.returncode, done.stderr) == (0, "")
    assert "Made the tables" in done.stdout
    assert re.search(r"^threads +0$", done.stdout, re.MULTILINE)
    assert re.search(rf"^backend +{url.partition('+')[0]}$", done.stdout, re.MULTILINE)


def test_the_pool_variables_name_the_real_defaults(tmp_path: Path) -> None:
    show = f'"{sys.executable}" -c "from narrator.config import PoolSettings; print(PoolSettings.from_env())"'
    done = shell(f"{printed('pool')}\nexport PYTHONPATH={ROOT}\nenv | grep -c ^NARRATOR_DB_\n{show}", tmp_path)
    assert done.stdout.splitlines() == ["4", repr(PoolSettings())]


@pytest.mark.parametrize("name", ["docker setup", "docker management"])
def test_the_docker_commands_exist_with_the_options_that_are_printed(name: str, tmp_path: Path) -> None:
    commands = re.findall(r"^uv run narrator .*$", printed(name), re.MULTILINE)
    assert commands
    for command in commands:
        done = shell(f"{command} --help", tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Usage: narrator {command.split()[3]}")


# -- performance -----------------------------------------------------------------------------------


async def test_only_the_newest_messages_stay_in_the_store(page: Page) -> None:
    store = await page.store()
    await store.save_thread(long_thread(120))
    thread = await store.get_thread("long")
    await page.run("message limit", thread=thread)
    await store.save_thread(thread)
    assert said(await store.get_thread("long")) == said(long_thread(120))[20:]


async def test_threads_are_saved_at_once(page: Page) -> None:
    store = await page.store()
    threads = {f"thread{n}": long_thread(n, id=f"t{n}") for n in (1, 2, 3)}
    await page.run("batch", asyncio=asyncio, **threads)
    assert {s.id: s.message_count for s in await store.list_threads()} == {"t1": 1, "t2": 2, "t3": 3}


async def test_a_cached_thread_is_read_once(page: Page) -> None:
    store = await page.store()
    await store.save_thread(long_thread(2))
    cached = (await page.run_mended("caching"))["get_cached_thread"]
    first = await cached("long")
    first.add_message(Message(role="user", content="more"))
    await store.save_thread(first)
    assert await cached("long") is first
    assert len((await store.get_thread("long")).messages) == 3


async def test_lru_cache_as_printed_gives_a_coroutine_that_is_used_up(page: Page) -> None:
    store = await page.store()
    await store.save_thread(long_thread(2))
    cached = (await page.run("caching"))["get_cached_thread"]
    assert (await cached("long")).id == "long"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        await cached("long")


# -- the notes -------------------------------------------------------------------------------------


def test_the_notes_show_every_mend() -> None:
    notes = (ROOT / "docs" / "guide-notes.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```python\n(.*?)```", notes, re.DOTALL))
    for name, mends in MENDS.items():
        for right in mends.values():
            assert right.strip("\n") in blocks, name
