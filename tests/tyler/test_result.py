"""What a Result holds of its run."""

from __future__ import annotations

import asyncio

from tyler import Agent
from tyler.testing import ScriptedModel, calls


async def test_new_messages_are_in_the_threads_order_whichever_tool_ends_first() -> None:
    second_ended = asyncio.Event()

    async def slow() -> str:
        """End after the other one."""
        await second_ended.wait()
        return "slow"

    async def fast() -> str:
        """End at once."""
        second_ended.set()
        return "fast"

    model = ScriptedModel([calls(("slow", {}), ("fast", {})), "done"])
    result = await Agent(model=model, tools=[slow, fast]).go("go")
    assert [message.text for message in result.new_messages] == ["", "slow", "fast", "done"]
    assert result.new_messages == result.thread.messages[1:]
