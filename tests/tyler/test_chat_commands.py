"""The commands of `tyler chat`, on every backend, and what they say when others write too."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from narrator import Message, Thread, ThreadStore, ToolCall, Usage
from tyler import Agent, ConfigurationError, StoreUnavailable
from tyler._chat.commands import COMMANDS
from tyler._chat.conversation import Conversation
from tyler._chat.plain_screen import PlainScreen
from tyler._chat.session import MOST_TITLE_CHARS, Session
from tyler.testing import ScriptedModel


class Chat:
    """A conversation without a terminal: `await chat.say("/threads")` is what it says to it."""

    def __init__(self, store: ThreadStore, *script: str) -> None:
        self.session = Session(store)
        self._out, self._err = io.StringIO(), io.StringIO()
        agent = Agent(model=ScriptedModel(script), thread_store=store)
        self._conversation = Conversation(agent, self.session, PlainScreen(self._out, self._err))

    async def say(self, line: str) -> str:
        for stream in (self._out, self._err):
            stream.seek(0)
            stream.truncate()
        self.goes_on = await self._conversation.take(line)
        return self._out.getvalue() + self._err.getvalue()


def contents(thread: Thread) -> list[str]:
    return [message.text for message in thread.messages]


async def test_threads_are_listed_newest_first_with_title_and_count(store: ThreadStore) -> None:
    await store.save_thread(Thread(id="untitled", messages=[Message(role="user", content="its first words\nand more")]))
    chat = Chat(store, "Hi.", "Hi.")
    await chat.say("/new trip")
    await chat.say("Where shall we go?")
    rows = (await chat.say("/threads")).splitlines()
    assert rows[0].split()[:3] == ["1", "*", "trip"]
    assert rows[0].endswith("2 messages  Where shall we go?")
    assert rows[1].split()[:2] == ["2", "untitled"]
    assert rows[1].endswith("1 message  its first words")


async def test_switch_takes_a_number_of_the_list_or_an_id(store: ThreadStore) -> None:
    for name in ("a", "b"):
        await store.save_thread(Thread(id=name, title=f"T {name}", messages=[Message(role="user", content="hm")]))
    chat = Chat(store, "yes")
    await chat.say("/threads")
    assert await chat.say("/switch 2") == "Now in 'a' (T a): 1 messages.\nLast: you> hm\n"
    await chat.say("/switch b")
    assert chat.session.thread.id == "b"
    assert "no conversation '3'" in await chat.say("/switch 3")
    assert "Which one?" in await chat.say("/switch")
    await chat.say("go on")
    assert contents(await store.get_thread("b")) == ["hm", "go on", "yes"]


async def test_new_begins_another_thread_and_takes_no_stored_one(store: ThreadStore) -> None:
    chat = Chat(store, "one", "two")
    await chat.say("first")
    await chat.say("/new")
    await chat.say("second")
    assert len({summary.id for summary in await store.list_threads()}) == 2
    assert "already: /switch chat" in await chat.say("/new chat")
    assert chat.session.thread.id != "chat"


@pytest.mark.parametrize("bad", ["x" * 300, "a\x07b", "a\x00b"])
async def test_text_that_cannot_be_an_id_is_one_line(bad: str) -> None:
    async with await ThreadStore.create() as store:
        said = await Chat(store).say(f"/new {bad}")
        assert said.startswith("tyler: thread id ")
        assert len(said.splitlines()) == 1
        with pytest.raises(ConfigurationError, match="empty"):
            await Session(store).open("")


async def test_the_title_is_the_first_line_and_stays(store: ThreadStore) -> None:
    chat = Chat(store, "Hi.", "Hi.")
    await chat.say("  " + "long " * 50 + "\nsecond line")
    await chat.say("another")
    title = (await store.get_thread("chat")).title
    assert title is not None
    assert title.startswith("long long")
    assert title.endswith("…")
    assert len(title) == MOST_TITLE_CHARS


async def test_undo_shows_and_removes_the_last_exchange_from_the_store(store: ThreadStore) -> None:
    chat = Chat(store, "Hi.", "Never said.")
    await chat.say("hello")
    await chat.say("tell me a secret")
    said = await chat.say("/undo")
    assert said == (
        "To be removed:\n  you> tell me a secret\n  assistant> Never said.\nRemoved; 2 messages are left.\n"
    )
    assert contents(await store.get_thread("chat")) == ["hello", "Hi."]
    await chat.say("/undo")
    assert contents(await store.get_thread("chat")) == []
    assert await chat.say("/undo") == "There is nothing to undo.\n"


async def test_undo_removes_nothing_when_somebody_wrote_meanwhile(store: ThreadStore) -> None:
    chat = Chat(store, "Hi.")
    await chat.say("hello")
    other = await store.get_thread("chat")
    other.add_message(Message(role="user", content="theirs"))
    await store.save_thread(other)
    assert "somebody else wrote to 'chat' meanwhile, so nothing was removed" in await chat.say("/undo")
    assert contents(await store.get_thread("chat")) == ["hello", "Hi.", "theirs"]
    assert "you> theirs" in await chat.say("/undo")
    assert contents(await store.get_thread("chat")) == ["hello", "Hi."]


async def test_undo_sees_that_somebody_edited(store: ThreadStore) -> None:
    chat = Chat(store, "Hi.")
    await chat.say("hello")
    other = await store.get_thread("chat")
    other.messages[1].content = "Mended."
    await store.save_thread(other)
    assert "nothing was removed" in await chat.say("/undo")
    assert contents(await store.get_thread("chat")) == ["hello", "Mended."]


async def test_undo_waits_for_no_run_that_answers_the_thread(store: ThreadStore) -> None:
    chat = Chat(store, "Hi.")
    await chat.say("hello")
    async with store.turn(await store.get_thread("chat")):
        assert "tyler: " in await chat.say("/undo")
    assert len((await store.get_thread("chat")).messages) == 2


async def test_undo_and_talking_in_a_thread_that_was_deleted(store: ThreadStore) -> None:
    chat = Chat(store, "Hi.", "Back.")
    await chat.say("hello")
    await store.delete_thread("chat")
    assert "somebody else has deleted 'chat'" in await chat.say("/undo")
    await chat.say("hello again")
    await store.delete_thread("chat")
    assert "deleted" in await chat.say("lost")
    assert chat.goes_on
    assert chat.session.thread.messages == []


async def test_undo_says_that_tools_are_not_undone(store: ThreadStore) -> None:
    call = ToolCall(id="c", name="refund", arguments='{"order": 7}')
    messages = [
        Message(role="user", content="pay"),
        Message(role="assistant", tool_calls=[call]),
        Message(role="tool", tool_call_id="c", content="paid"),
    ]
    await store.save_thread(Thread(id="chat", messages=messages))
    chat = Chat(store)
    await chat.session.open("chat")
    said = await chat.say("/undo")
    assert "assistant> [calls refund(order=7)]" in said
    assert "What its tools have done is not undone." in said


@pytest.mark.parametrize(
    ("usages", "said"),
    [
        ([], "0 answers; tokens unknown, cost unknown."),
        ([None], "1 answers; tokens unknown, cost unknown."),
        ([Usage(input_tokens=1000, output_tokens=5, cost_usd=0.25)] * 2, "cost $0.5000"),
        ([Usage(input_tokens=1000)], "cost unknown"),
        ([Usage(cost_usd=0.25), Usage()], "cost unknown; 1 messages whose price is known cost $0.2500"),
        (
            [Usage(cost_usd=0.25), None],
            "1 of the answers do not say what they used: their tokens are unknown.",
        ),
    ],
)
async def test_usage_says_what_is_unknown(usages: list[Usage | None], said: str) -> None:
    async with await ThreadStore.create() as store:
        chat = Chat(store)
        chat.session.thread.messages = [Message(role="assistant", content="x", usage=usage) for usage in usages]
        lines = (await chat.say("/usage")).splitlines()
        assert said in lines
        assert not any(line.startswith("cost $") for line in lines) or None not in usages


async def test_an_unknown_command_gets_a_hint_and_a_double_slash_is_text() -> None:
    async with await ThreadStore.create() as store:
        chat = Chat(store, "A path.")
        assert "did you mean /threads?" in await chat.say("/thread")
        assert r"/\x1b[2J; /help" in await chat.say("/\x1b[2J")
        assert await chat.say("//etc/hosts is what?") == "A path.\n"
        assert contents(chat.session.thread)[0] == "/etc/hosts is what?"
        await chat.say("/quit")
        assert not chat.goes_on


async def test_help_names_every_command() -> None:
    async with await ThreadStore.create() as store:
        said = await Chat(store).say("/help")
    assert all(name in said for name in (*COMMANDS, "/quit", "//"))


async def test_a_database_that_is_gone_is_one_line_and_the_chat_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    async with await ThreadStore.create(f"sqlite:///{path}") as store:
        chat = Chat(store, "Hi.", "Hi.")
        await chat.say("hello")
        path.unlink()
        for line in ("/threads", "/undo", "/new", "/switch chat", "more"):
            said = await chat.say(line)
            assert said.splitlines()[-1].startswith("tyler: "), said
            assert chat.goes_on
        with pytest.raises(StoreUnavailable):
            await store.get_thread("chat")
