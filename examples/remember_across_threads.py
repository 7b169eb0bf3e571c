"""A support bot that looks into a customer's earlier conversations, and into nobody else's.

python examples/remember_across_threads.py [folder]

A script plays the model, so that the same happens each time.
"""

import asyncio
import os
import sys
from pathlib import Path

from lye import THREAD_TOOLS
from tyler import Agent, Message, Thread, ThreadStore
from tyler.model import Reply, Request
from tyler.testing import ScriptedModel, calls

EARLIER = {"ann": "Order 4711 (a blue lamp) was sent on Monday.", "bob": "Order 9999 (a red chair) was sent on Friday."}


def look(request: Request) -> Reply:
    """What a model does that needs to know more."""
    return calls(("search_threads", {"query": "order sent"}))


def answer(request: Request) -> str:
    """What it says once it has read what was found."""
    found = str(request.messages[-1]["content"])
    return next(line.strip(" >") for line in found.splitlines() if line.startswith("  > "))


async def main(folder: Path) -> None:
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{folder}/remember.db") as store:
        for customer, said in EARLIER.items():
            messages = [
                Message(id="question", role="user", content="Where is my order?"),
                Message(id="answer", role="assistant", content=said),
            ]
            await store.save_thread(Thread(id="last-week", owner=customer, title="Delivery", messages=messages))
        bot = Agent(
            name="support",
            model=ScriptedModel([look, answer] * len(EARLIER)),
            purpose="You are a support agent. Look into earlier conversations where they help.",
            tools=[THREAD_TOOLS],
            thread_store=store,
        )
        for customer in EARLIER:  # the application knows who is asking; the model is not asked
            today = Thread(owner=customer, messages=[Message(role="user", content="Was my lamp or chair sent?")])
            print(f"{customer}: {(await bot.go(today)).content}")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(folder))
