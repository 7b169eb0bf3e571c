"""An agent that remembers. Run it twice: the second run knows what the first was told.

python examples/quickstart.py [folder]
"""

import asyncio
import os
import sys
from pathlib import Path

from tyler import Agent, Message, Thread, ThreadNotFound, ThreadStore
from tyler.model_choice import ModelChoice, choose_model


async def main(model: ModelChoice, folder: Path) -> None:
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{folder}/quickstart.db") as store:
        agent = Agent(
            name="assistant",
            model_name=model.model_name,
            api_base=model.api_base,
            api_key=model.api_key,
            purpose="You are a friendly assistant. Answer in one short sentence.",
            thread_store=store,
        )
        try:
            thread = await store.get_thread("quickstart")
            print(f"Welcome back! We have exchanged {len(thread.messages)} messages so far.")
            question = "What is my name?"
        except ThreadNotFound:
            thread = Thread(id="quickstart")
            print("Nice to meet you!")
            question = "Hello, my name is Ann."

        thread.add_message(Message(role="user", content=question))
        result = await agent.go(thread)  # every step of it is stored before the next
        print(f"You: {question}\nAssistant: {result.content}")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    choice = choose_model()
    print(f"Model: {choice.explanation}\nData: {folder}\n")
    with choice.ready() as ready:
        asyncio.run(main(ready, folder))
