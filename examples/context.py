"""A long conversation within a small window: what is left out of requests is summarized, and everything stays stored.

python examples/context.py [folder]
"""

import asyncio
import os
import sys
from pathlib import Path

from tyler import Agent, Message, Thread, ThreadStore
from tyler.context import ContextWindow, inject_context, undo_summary
from tyler.model_choice import ModelChoice, choose_model

TOPICS = ("the route", "the tent", "the weather", "the food", "the train", "the map", "the lake", "the way home")


async def main(model: ModelChoice, folder: Path) -> None:
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{folder}/context_window.db") as store:
        agent = Agent(
            name="walker",
            model_name=model.model_name,
            api_base=model.api_base,
            api_key=model.api_key,
            purpose="You are a helpful assistant. Answer in one short sentence.",
            thread_store=store,
            context=ContextWindow(max_tokens=300, summarize=True),
            model_params={"max_tokens": 60},
        )
        thread = Thread()
        inject_context(thread, {"name": "Ann", "walks": "20 km a day"}, key="customer")
        for topic in TOPICS:
            thread.add_message(Message(role="user", content=f"What matters most about {topic} of my walk in the Alps?"))
            result = await agent.go(thread)
            for summary in result.summaries:
                print(f"-- {summary.count} messages are summarized: {summary.text[:60]!r}")
            print(f"{topic}: {result.content}")

        thread.add_message(Message(role="user", content="Thanks!"))
        preview = await agent.preview(thread)
        print(f"\nThe next request:\n{preview}")
        print(f"Stored: {len((await store.get_thread(thread.id)).messages)} messages")
        while undo_summary(thread):
            pass
        await store.save_thread(thread)  # as if nothing had been summarized


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    choice = choose_model()
    print(f"Model: {choice.explanation}\nData: {folder}\n")
    with choice.ready() as ready:
        asyncio.run(main(ready, folder))
