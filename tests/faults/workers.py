"""What the worker processes of these tests do. Here and not in the tests, so that no worker has to import pytest."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import resource
import signal
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from time import monotonic

from sqlalchemy import Engine, event

from narrator import (
    Attachment,
    LeaseLost,
    Message,
    MessageConflict,
    StoreUnavailable,
    Thread,
    ThreadBusy,
    ThreadNotFound,
    ThreadStore,
)
from narrator.turn import Turn
from tests.faults.conversation import Journal, agent_of, opened, order
from tests.faults.http_model import HttpModel
from tests.faults.kill_points import KillPoints
from tests.faults.limits import Limit, give_up_root_rights
from tests.faults.processes import Channel
from tyler import Agent, delegate_to, tool
from tyler.events import MessageAdded
from tyler.model import Reply, Request
from tyler.testing import ScriptedModel, calls

TAKEN_OVER_S = 2.0


async def one_conversation(channel: Channel, url: str, folder: Path, thread_id: str, fatal: int) -> None:
    """Answer the order, noting each message that was acknowledged; dies at the kill point `fatal`."""
    KillPoints(folder / "files", folder / "instants", fatal).install()
    journal = Journal(folder / "journal")
    async with opened(url, folder / "files") as store:
        thread = Thread(id=thread_id, messages=[order(thread_id)])
        async for event_ in agent_of(store, journal).stream(thread):
            if isinstance(event_, MessageAdded):
                journal.note("acknowledged", event_.message.id)
    channel.send("done")


async def make_tables(channel: Channel, url: str, folder: Path, fatal: int) -> None:
    """Open a store on an empty database; dies at the kill point `fatal`."""
    KillPoints(folder / "files", folder / "instants", fatal).install()
    async with await ThreadStore.create(url) as store:
        await store.save_thread(Thread(id="thread", messages=[Message(id="m", role="user", content="hello")]))
    channel.send("done")


async def resume(channel: Channel, url: str, folder: Path, thread_id: str, ways: list[str]) -> None:
    """What a new process does after the crash, one way after the other; then one more turn."""
    journal = Journal(folder / "journal")
    async with opened(url, folder / "files") as store:
        agent = agent_of(store, journal)
        for number, way in enumerate(ways):
            thread = Thread(id=thread_id, messages=[order(thread_id)])
            if way == "plain go":
                try:
                    thread = await store.get_thread(thread_id)
                except ThreadNotFound:  # killed before anything was acknowledged: its sender delivers again
                    assert not journal.all("acknowledged")
            asked, started = len(journal.all("model")), monotonic()
            first_event_s = None
            async for _event in agent.stream(thread):
                first_event_s = first_event_s or monotonic() - started
            assert first_event_s is not None
            assert first_event_s < TAKEN_OVER_S, f"the dead process's turn was taken over after {first_event_s:.1f} s"
            assert number == 0 or len(journal.all("model")) == asked, "an answered order asked the model again"
        thread = await store.get_thread(thread_id)
        thread.add_message(Message(id="later", role="user", content="order later"))
        assert (await agent.go(thread)).content == "done: order later"
        channel.send("done")


async def die_while_writing_a_file(channel: Channel, url: str, folder: Path, content: bytes) -> None:
    """Save a message with a file; the kernel kills this process in the middle of the file's bytes."""
    async with opened(url, folder / "files") as store:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it otherwise
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, resource.RLIM_INFINITY))
        message = Message(id="m", role="user", content="hello")
        message.add_attachment(Attachment(filename="large.bin", content=content))
        await store.save_thread(Thread(id="thread", messages=[message]))
    channel.send("written")


async def answer_orders(
    channel: Channel, url: str, folder: Path, name: str, runs: int, keep: bool, thinks_s: float
) -> None:
    """Answer so many orders on the one thread "shared"; `keep`: in one Thread object, else in a new one each time."""
    async with opened(url, folder / "files") as store:
        agent = agent_of(store, Journal(folder / "journal"), thinks_s)
        thread = Thread(id="shared")
        channel.send("ready")
        channel.recv()
        for number in range(runs):
            if not keep:
                thread = Thread(id="shared")
            thread.add_message(order(f"{name}-{number}"))
            result = await agent.go(thread)
            assert result.content == f"done: order {name}-{number}", result.content
            assert not result.replayed
        channel.send("done")


class BriefLease(ThreadStore):
    """Runs keep their turn for a second after the last sign of life, not for 30."""

    def turn(
        self, thread: Thread, *, wait_s: float = 60, lease: timedelta = timedelta(seconds=1)
    ) -> AbstractAsyncContextManager[Turn]:
        """See ThreadStore.turn."""
        return super().turn(thread, wait_s=wait_s, lease=lease)


async def deliver_again_and_again(
    channel: Channel, url: str, folder: Path, events: dict[str, list[str]], seed: int
) -> None:
    """Until killed: deliver any event of any thread, two at a time, noting each answer that was given."""
    chance, journal = random.Random(seed), Journal(folder / "journal")

    async def deliver_any(agent: Agent) -> None:
        while True:
            thread_id = chance.choice(list(events))
            event_id = chance.choice(events[thread_id])
            with contextlib.suppress(ThreadBusy, LeaseLost, StoreUnavailable):
                result = await agent.go(Thread(id=thread_id, messages=[order(event_id)]), wait_s=2)
                journal.note("given", f"{event_id} {result.content}")

    while True:
        with contextlib.suppress(StoreUnavailable):  # the server may be down just now
            async with opened(url, folder / "files", BriefLease) as store:
                agent = agent_of(store, journal)
                await asyncio.gather(deliver_any(agent), deliver_any(agent))


async def deliver_each(channel: Channel, url: str, folder: Path, events: dict[str, list[str]]) -> None:
    """Deliver each event once more, and twice the second time: now it is answered."""
    async with opened(url, folder / "files", BriefLease) as store:
        agent = agent_of(store, Journal(folder / "journal"))
        for thread_id, own_events in events.items():
            for event_id in own_events:
                result = await agent.go(Thread(id=thread_id, messages=[order(event_id)]))
                again = await agent.go(Thread(id=thread_id, messages=[order(event_id)]))
                assert (again.replayed, again.content) == (True, result.content)
    channel.send("done")


async def run_that_sleeps(channel: Channel, url: str, folder: Path, where: str) -> None:
    """Answer order "a" with a brief lease; at `where` ("model" or "tool") stand still until told to go on."""
    journal = Journal(folder / "journal")

    def pause() -> None:
        channel.send("pausing")
        channel.recv()

    @tool
    def charge(order: str) -> str:
        """Charge the customer."""
        journal.note("charge", "thread/sleeper")
        if where == "tool":
            pause()
        return f"charged {order}"

    def decide(request: Request) -> str | Reply:
        if where == "model":
            pause()
        return calls(("charge", {"order": "a"}))

    async with opened(url, folder / "files", BriefLease) as store:
        agent = Agent(model=ScriptedModel([decide]), tools=[charge], thread_store=store)
        try:
            await agent.go(Thread(id="thread", messages=[Message(id="a", role="user", content="order a")]))
        except LeaseLost as error:
            channel.send(str(error))


async def run_that_sleeps_in_a_transaction(channel: Channel, url: str, folder: Path) -> None:
    """Answer order "a" with a brief lease; stand still when the model's message is written and not yet committed."""
    asked: list[bool] = []

    def sleep_once(_connection: object) -> None:
        if asked:
            asked.clear()
            os.kill(os.getpid(), signal.SIGSTOP)

    def decide(request: Request) -> str:
        asked.append(True)
        return "late"

    event.listen(Engine, "commit", sleep_once)
    async with opened(url, folder / "files", BriefLease) as store:
        agent = Agent(model=ScriptedModel([decide]), thread_store=store)
        try:
            await agent.go(Thread(id="thread", messages=[Message(id="a", role="user", content="order a")]))
        except LeaseLost as error:
            channel.send(str(error))


async def steps_of_a_sleeper(channel: Channel, url: str, folder: Path) -> None:
    """Take the turn by hand, store a message with a call, stand still; then try every write of a run."""
    async with opened(url, folder / "files", BriefLease) as store:
        thread = Thread(id="thread", messages=[Message(id="a", role="user", content="order a")])
        await store.save_thread(thread)
        refused = []
        async with store.turn(thread) as turn:
            asked = Message(id="asked", role="assistant", tool_calls=calls(("charge", {})).tool_calls)
            await turn.append(asked, behind="a")
            call_id = asked.tool_calls[0].id
            channel.send("pausing")
            channel.recv()
            result = Message(role="tool", tool_call_id=call_id, content="late")
            for name, write in (
                ("start_calls", turn.start_calls("asked", [call_id])),
                ("append", turn.append(result, behind="asked", finishes=("asked", call_id))),
                ("append at the end", turn.append(Message(role="assistant", content="late"), behind=None)),
            ):
                try:
                    await write
                except LeaseLost:
                    refused.append(name)
            states = await turn.call_states("asked")
        channel.send((refused, states))


async def deliver(channel: Channel, url: str, base_url: str, events: list[str], times: int) -> None:
    """A webhook's process: when told to, answer each event that is delivered to it, all at once."""
    async with await ThreadStore.create(url) as store:
        agent = Agent(model=HttpModel(base_url), thread_store=store)

        async def answer(event_id: str) -> tuple[str, str, bool]:
            message = Message(id=event_id, role="user", content=f"event {event_id}")
            result = await agent.go(Thread(id="customer", messages=[message]))
            return event_id, result.content, result.replayed

        channel.send("ready")
        channel.recv()
        channel.send(await asyncio.gather(*(answer(event_id) for event_id in events for _ in range(times))))


async def deliver_other_content(channel: Channel, url: str, event_id: str) -> None:
    """The id of a known event, with other content; the error's name and text."""
    async with await ThreadStore.create(url) as store:
        agent = Agent(model=ScriptedModel([]), thread_store=store)
        try:
            await agent.go(Thread(id="customer", messages=[Message(id=event_id, role="user", content="forged")]))
        except MessageConflict as error:
            channel.send(str(error))


async def answer_within(channel: Channel, url: str, folder: Path, resource_name: str, amount: int) -> None:
    """Answer the order while the system gives no more than this of something; then go again on the same store."""
    noise: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: noise.append(context["message"]))
    limit = Limit()
    async with opened(url, folder / "files") as store:
        agent = agent_of(store, Journal(folder / "journal"))
        limit.set(resource_name, amount)
        try:
            channel.send((await agent.go(Thread(id="thread", messages=[order("thread")]))).content)
        except StoreUnavailable as error:
            channel.send(str(error))
        limit.lift()
        again = Thread(id="thread", messages=[order("thread")])
        channel.send((await agent.go(again, wait_s=TAKEN_OVER_S)).content)  # the first left its turn to be taken
    gc.collect()
    channel.send(noise)


async def answer_on_a_full_disk(channel: Channel, url: str, more_pages: int) -> None:
    """Answer at length while the database may grow by so many pages only; then go again on the same store."""
    limit = Limit()
    async with await ThreadStore.create(url) as store:
        agent = Agent(model=ScriptedModel(["long " * 20_000] * 2), thread_store=store)
        limit.set("pages", more_pages)
        try:
            channel.send((await agent.go(Thread(id="thread", messages=[order_without_file()]))).content[:5])
        except StoreUnavailable as error:
            channel.send(str(error))
        limit.lift()
        channel.send((await agent.go(Thread(id="thread", messages=[order_without_file()]))).content[:5])


def order_without_file() -> Message:
    """As it is delivered each time."""
    return Message(id="thread", role="user", content="order thread")


async def open_without_descriptors(channel: Channel, url: str) -> None:
    """Make a store when no file can be opened any more."""
    limit = Limit()
    async with await ThreadStore.create(url):
        pass  # what is imported on first use
    limit.set("descriptors", 0)
    try:
        await ThreadStore.create(url)
    except StoreUnavailable as error:
        channel.send(str(error))
    limit.lift()


async def save_with_a_connection_that_was_read_only(channel: Channel, url: str, path: Path) -> None:
    """Connections are opened while the file may not be written, which is allowed again before the saves."""
    give_up_root_rights()
    refused = []
    async with await ThreadStore.create(url) as store:
        thread = Thread(id="thread", messages=[Message(id="a", role="user", content="hello")])
        await store.save_thread(thread)
        os.chmod(path, 0o400)
        await asyncio.gather(*(store.get_thread("thread") for _ in range(4)))
        os.chmod(path, 0o600)
        for number in range(8):
            message = Message(id=str(number), role="user", content="and?")
            try:
                await store.save_thread(Thread(id="thread", messages=[message]))
            except StoreUnavailable as error:
                refused.append(str(error))
    channel.send(refused)


async def try_to_take_a_turn(channel: Channel, url: str) -> None:
    """Try for the turn of a living process's run, without a file descriptor left."""
    async with await ThreadStore.create(url) as store:
        mine, thread = Thread(messages=[order_without_file()]), await store.get_thread("thread")
        await store.save_thread(mine)
        async with store.turn(mine):
            pass
        limit = Limit()
        limit.set("descriptors", 0)
        try:
            async with store.turn(thread, wait_s=0.1):
                channel.send("taken")
        except ThreadBusy:
            channel.send("busy")
        limit.lift()


async def read_and_close(channel: Channel, url: str) -> None:
    """What another program does that looks into the database: the messages of the thread."""
    async with await ThreadStore.create(url) as store:
        thread = await store.get_thread("thread")
    channel.send([message.id for message in thread.messages])


async def approve_and_go_on(channel: Channel, url: str, folder: Path, fatal: int) -> None:
    """A refund that needs approval, asked for, approved and run, from wherever it stands; dies at the kill point."""
    KillPoints(folder / "files", folder / "instants", fatal).install()
    journal = Journal(folder / "journal")

    @tool(needs_approval=True)
    def refund(order: int) -> str:
        """Refund an order."""
        assert journal.all("decided"), "it ran before anybody had decided"
        journal.note("refund")
        return "refunded"

    def clerk(request: Request) -> str | Reply:
        last = request.messages[-1]
        return calls(("refund", {"order": 7})) if last["role"] == "user" else "Done."

    async with opened(url, folder / "files") as store:
        agent = Agent(model=ScriptedModel([clerk] * 9), tools=[refund], thread_store=store)
        thread = Thread(id=folder.name, messages=[Message(id="m", role="user", content="Refund it")])
        status = (await agent.go(thread)).status
        while status == "awaiting_approval":
            for pending in await store.pending_calls(folder.name):
                journal.note("decided")
                await store.decide(pending.id, approved=True)
            status = (await agent.go(Thread(id=folder.name, messages=thread.messages[:1]))).status
    channel.send(status)


async def delegate_and_go_on(channel: Channel, url: str, folder: Path, fatal: int) -> None:
    """A task that is given to another agent, which has one thing to do, once; dies at the kill point."""
    KillPoints(folder / "files", folder / "instants", fatal).install()
    journal = Journal(folder / "journal")

    @tool
    def charge() -> str:
        """Charge the customer."""
        journal.note("charge")
        return "charged"

    def act(request: Request) -> str | Reply:
        last, name = request.messages[-1], request.tools[0]["function"]["name"]
        wish = calls((name, {"task": "Sell it"} if name == "ask_seller" else {}))
        return wish if last["role"] == "user" else f"It says: {last['content']}"

    async with await ThreadStore.create(url) as store:
        seller = Agent("seller", model=ScriptedModel([act] * 9), tools=[charge])
        clerk = Agent("clerk", model=ScriptedModel([act] * 9), tools=[delegate_to(seller)], thread_store=store)
        await clerk.go(Thread(id=folder.name, messages=[Message(id="m", role="user", content="Sell it")]))
    channel.send("done")
