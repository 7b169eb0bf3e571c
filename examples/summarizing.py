"""A long conversation cut short: the model's summary replaces the old messages in the store.

python examples/summarizing.py [folder]
"""

import asyncio
import os
import sys
from pathlib import Path

from tyler import Agent, Message, Thread, ThreadStore
from tyler.model_choice import ModelChoice, choose_model

TOPICS = ("the route", "the tent", "the weather", "the food", "the train", "the map")


async def summarize(thread: Thread, summarizer: Agent, keep: int) -> None:
    """Put a summary in place of all but the last messages, at least `keep`; save the thread to make it last.

    The cut is in front of a user's message, so that no tool result loses its call.
    """
    cut = max(len(thread.messages) - keep, 0)
    while cut and thread.messages[cut].role != "user":
        cut -= 1
    if cut == 0:
        return
    text = "\n".join(f"{message.role}: {message.text}" for message in thread.messages[:cut])
    result = await summarizer.go(f"Summarize this conversation:\n\n{text}")
    summary = Message(role="system", content=f"Previous conversation summary: {result.content}")
    thread.messages = [summary, *thread.messages[cut:]]


async def main(model: ModelChoice, folder: Path) -> None:
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{folder}/summarizing.db") as store:
        thread = Thread()
        for topic in TOPICS:
            thread.add_message(Message(role="user", content=f"Let us talk about {topic} of our walk."))
            thread.add_message(Message(role="assistant", content=f"Good. What matters most about {topic}?"))
        await store.save_thread(thread)
        print(f"Before: {len(thread.messages)} messages")

        summarizer = Agent(  # without a store: nothing of its own is kept
            name="summarizer",
            model_name=model.model_name,
            api_base=model.api_base,
            api_key=model.api_key,
            purpose="You summarize conversations in one sentence.",
        )
        await summarize(thread, summarizer, keep=4)
        await store.save_thread(thread)  # ThreadConflict if somebody else wrote meanwhile: load it and do it again

        stored = await store.get_thread(thread.id)
        print(f"After: {len(stored.messages)} messages")
        for message in stored.messages:
            print(f"  {message.role}: {message.text}")
        if model.kind == "local":
            print("\n(This small model's summaries are bad; with a provider's key or Ollama they are worth keeping.)")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    choice = choose_model()
    print(f"Model: {choice.explanation}\nData: {folder}\n")
    with choice.ready() as ready:
        asyncio.run(main(ready, folder))
