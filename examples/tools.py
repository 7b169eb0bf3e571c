"""Plain typed functions as tools. A model that cannot call tools is replaced by a script, and the output says so.

python examples/tools.py [folder]
"""

import asyncio
import os
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Literal

from tyler import Agent, Finished, Message, Thread, ThreadStore, ToolFinished, ToolStarted, tool
from tyler.model_choice import ModelChoice, choose_model
from tyler.testing import ScriptedModel, calls

PRICES = {"tea": 3.5, "coffee": 2.8}


@tool(risk="read", effect="read")
def price(drink: Literal["tea", "coffee"], cups: int = 1) -> float:
    """What a drink costs, in euros.

    Args:
        drink: Which drink.
        cups: How many cups of it.
    """
    return PRICES[drink] * cups


@tool(risk="write", effect="once")  # after a crash it is not run again: the model is told that the outcome is unknown
async def order(drink: str, cups: int) -> str:
    """Order a drink. Ask for the price first."""
    return f"{cups} x {drink} ordered"


def script() -> ScriptedModel:
    """What a model that calls tools would do."""
    return ScriptedModel(
        [
            calls(("price", {"drink": "tea", "cups": 2}), ("price", {"drink": "coffee", "cups": 2})),
            calls(("order", {"drink": "coffee", "cups": 2})),
            "I ordered two coffees for 5.60 euros; two teas would have been 7 euros.",
        ]
    )


async def main(model: ModelChoice, folder: Path) -> None:
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{folder}/tools.db") as store:
        purpose = "You order drinks. Use the tools."
        if model.can_call_tools:
            agent = Agent(
                name="barista",
                model_name=model.model_name,
                api_base=model.api_base,
                api_key=model.api_key,
                purpose=purpose,
                tools=[price, order],
                thread_store=store,
            )
        else:
            print("This model cannot call tools, so a script plays its part.\n")
            agent = Agent(name="barista", model=script(), purpose=purpose, tools=[price, order], thread_store=store)

        thread = Thread()
        thread.add_message(Message(role="user", content="Two cups of whatever is cheaper, tea or coffee, please."))
        async with aclosing(agent.stream(thread)) as events:
            async for event in events:
                if isinstance(event, ToolStarted):
                    print(f"calls {event.call.name} {event.call.arguments}")
                elif isinstance(event, ToolFinished):
                    print(f"  {event.call.name} -> {event.result.content}")
                elif isinstance(event, Finished):
                    print(f"Assistant: {event.result.content}")
        kept = [message.role for message in (await store.get_thread(thread.id)).messages]
        print(f"Stored: {', '.join(kept)}")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    choice = choose_model()
    print(f"Model: {choice.explanation}\nData: {folder}\n")
    asyncio.run(main(choice, folder))  # the local model would have to be started, but it calls no tools
