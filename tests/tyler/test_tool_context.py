"""What tools learn of their run, and what they tell its reader while they work."""

import asyncio
import threading

from narrator import Message, Thread, ThreadStore
from tyler import Agent, MessageAdded, ToolContext, ToolFinished, ToolProgress, ToolStarted
from tyler.model import Reply, Request
from tyler.testing import ScriptedModel, calls


def ask_or_tell(request: Request) -> str | Reply:
    """Calls `whoami` once, then says what it brought."""
    last = request.messages[-1]
    return calls(("whoami", {})) if last["role"] == "user" else str(last["content"])


async def test_many_runs_of_one_agent_each_see_their_own(store: ThreadStore) -> None:
    async def whoami(ctx: ToolContext) -> str:
        await asyncio.sleep(0)
        return f"{ctx.deps} {ctx.thread_id} {ctx.owner}"

    agent = Agent(model=ScriptedModel([ask_or_tell] * 60), tools=[whoami], thread_store=store)

    async def run(number: int) -> str:
        thread = Thread(id=f"t{number}", owner=f"o{number}", messages=[Message(role="user", content="?")])
        return (await agent.go(thread, deps=number)).content

    assert await asyncio.gather(*map(run, range(30))) == [f"{n} t{n} o{n}" for n in range(30)]


async def test_the_stores_of_a_call_are_its_owners(store: ThreadStore) -> None:
    await store.for_owner("bob").save_thread(Thread(id="bobs"))

    async def whoami(ctx: ToolContext) -> list[str]:
        assert ctx.thread_store is not None
        return [thread.id for thread in await ctx.thread_store.list_threads()]

    agent = Agent(model=ScriptedModel([ask_or_tell] * 2), tools=[whoami], thread_store=store)
    thread = Thread(id="anns", owner="ann", messages=[Message(role="user", content="?")])
    assert (await agent.go(thread)).content == '["anns"]'


async def test_progress_comes_while_the_tool_runs() -> None:
    seen = asyncio.Event()

    async def work(ctx: ToolContext) -> str:
        ctx.progress("half")
        await seen.wait()
        return "whole"

    kinds = []
    async for event in Agent(model=ScriptedModel([calls(("work", {})), "done"]), tools=[work]).stream("go"):
        if isinstance(event, ToolProgress):
            assert (event.call.name, event.data) == ("work", "half")
            seen.set()
        kinds.append(type(event))
    start = kinds.index(ToolStarted)
    assert kinds[start : start + 4] == [ToolStarted, ToolProgress, MessageAdded, ToolFinished]


async def test_progress_of_a_sync_tool_comes_in_order_and_before_its_result() -> None:
    def work(ctx: ToolContext) -> str:
        for number in range(50):
            ctx.progress(number)
        return "done"

    events = [
        event async for event in Agent(model=ScriptedModel([calls(("work", {})), "ok"]), tools=[work]).stream("go")
    ]
    assert [event.data for event in events if isinstance(event, ToolProgress)] == list(range(50))


async def test_progress_after_the_call_is_over_is_nobodys() -> None:
    contexts: list[ToolContext] = []

    def work(ctx: ToolContext) -> str:
        contexts.append(ctx)
        return "done"

    await Agent(model=ScriptedModel([calls(("work", {})), "ok"]), tools=[work]).go("go")
    late = threading.Thread(target=contexts[0].progress, args=("late",))
    late.start()
    await asyncio.to_thread(late.join)


async def test_the_model_cannot_set_the_context() -> None:
    def whoami(ctx: ToolContext) -> str:
        return str(ctx.deps)

    forged = calls(("whoami", {"ctx": {"deps": "forged"}}))
    model = ScriptedModel([forged, "ok"])
    result = await Agent(model=model, tools=[whoami]).go("go", deps="real")
    assert "ctx" not in str(model.requests[0].tools)
    assert "was not run" in result.new_messages[1].text
