"""One thread for each topic, opened with its context and found again by metadata.

python examples/topic_threads.py [folder]
"""

import asyncio
import os
import sys
from pathlib import Path

from tyler import Agent, Message, Thread, ThreadStore
from tyler.model_choice import ModelChoice, choose_model


async def research_thread(store: ThreadStore, topic: str) -> Thread:
    """The thread of this topic, new or as it is stored."""
    thread = Thread(
        id=f"research-{topic.lower().replace(' ', '-')}",
        metadata={"type": "research", "topic": topic},
    )
    # The message has an id of its own, so however often this runs, it is stored once.
    thread.add_message(Message(id="context", role="system", content=f"This thread is for researching: {topic}"))
    await store.save_thread(thread)  # a thread made in code erases nothing, and learns what is stored
    return thread


async def main(model: ModelChoice, folder: Path) -> None:
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{folder}/topics.db") as store:
        agent = Agent(
            name="researcher",
            model_name=model.model_name,
            api_base=model.api_base,
            api_key=model.api_key,
            purpose="You help with research. Answer in one short sentence.",
            thread_store=store,
        )
        for topic in ("Tides", "Volcanoes"):
            thread = await research_thread(store, topic)
            thread.add_message(Message(role="user", content="Name one thing that I should read about first."))
            result = await agent.go(thread)
            print(f"{topic}: {result.content}")

        print("\nResearch threads, newest first:")
        for summary in await store.list_threads(metadata={"type": "research"}):
            print(f"  {summary.id}: {summary.message_count} messages on {summary.metadata['topic']}")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    choice = choose_model()
    print(f"Model: {choice.explanation}\nData: {folder}\n")
    with choice.ready() as ready:
        asyncio.run(main(ready, folder))
