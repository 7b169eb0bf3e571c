"""A stored conversation as a test: a tool is changed, and `replay` tells which recorded calls that breaks.

No model is asked for it. A model that cannot call tools is replaced by a script while the conversation is recorded.

python examples/replay.py [folder]
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tyler import Agent, Message, Thread, ThreadNotFound, ThreadStore, Tool, tool
from tyler.model_choice import ModelChoice, choose_model
from tyler.testing import ScriptedModel, as_test, calls, forbid_model_calls, replay

PURPOSE = "You tell customers where their orders are. Use the tool."


@tool(risk="read", effect="read")
def order_status(order: int) -> str:
    """Where an order is.

    Args:
        order: Its number.
    """
    return f"order {order} is in the post"


@tool(name="order_status", risk="read", effect="read")
def new_order_status(order: int, country: str) -> str:
    """Where an order is.

    Args:
        order: Its number.
        country: Where it goes to.
    """
    return f"order {order} to {country} has arrived"


@tool(name="order_status", risk="read", effect="read")
def reworded_order_status(order: int) -> str:
    """Where an order is.

    Args:
        order: Its number.
    """
    return f"order {order} is on its way"


def agent_for(model: ModelChoice, tools: Sequence[Tool], store: ThreadStore) -> Agent:
    if model.can_call_tools:
        return Agent(
            name="clerk",
            model_name=model.model_name,
            api_base=model.api_base,
            api_key=model.api_key,
            purpose=PURPOSE,
            tools=tools,
            thread_store=store,
        )
    script = ScriptedModel([calls(("order_status", {"order": 7})), "Your order 7 is in the post."])
    return Agent(name="clerk", model=script, purpose=PURPOSE, tools=tools, thread_store=store)


async def recorded(model: ModelChoice, store: ThreadStore) -> Thread:
    """The conversation, from the store once it is there."""
    try:
        return await store.get_thread("ticket-7")
    except ThreadNotFound:
        thread = Thread(id="ticket-7")
        thread.add_message(Message(role="user", content="Where is my order 7?"))
        async with agent_for(model, [order_status], store) as agent:
            await agent.go(thread)
        return await store.get_thread("ticket-7")


async def main(model: ModelChoice, folder: Path) -> None:
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{folder}/replay.db") as store:
        thread = await recorded(model, store)
        with forbid_model_calls():  # from here on none is asked
            report = await replay(thread, agent_for(model, [order_status], store))
            print(f"The agent that was recorded:\n{report}\n")

            report = await replay(thread, agent_for(model, [new_order_status], store))
            print(f"A tool that wants another argument:\n{report}\n")

            agent = agent_for(model, [reworded_order_status], store)
            report = await replay(thread, agent, run_tools=["order_status"])  # it only reads, so it may be run
            print(f"A tool that answers in other words:\n{report}\n")

        path = folder / "test_ticket_7.py"
        path.write_text(as_test(thread, name="ticket 7"), encoding="utf-8")
        print(f"The conversation as a test: pytest {path}")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    choice = choose_model()
    print(f"Model: {choice.explanation}\nData: {folder}\n")
    asyncio.run(main(choice, folder))  # the local model would have to be started, but it calls no tools
