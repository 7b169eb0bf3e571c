"""What the application knows of a user, kept as the first message and replaced when it changes.

python examples/context_injection.py [folder]
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from tyler import Agent, Message, Thread, ThreadStore
from tyler.model_choice import ModelChoice, choose_model


def inject_context(thread: Thread, data: dict[str, Any], key: str = "context") -> None:
    """Make `data` the thread's first message. With one key there is one message, however often this is called."""
    text = f"User preferences: {json.dumps(data)}"
    known = next((message for message in thread.messages if message.id == key), None)
    if known is None:
        thread.messages.insert(0, Message(id=key, role="system", content=text))
    elif known.content != text:
        known.content = text  # the next save notices


async def main(model: ModelChoice, folder: Path) -> None:
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{folder}/context.db") as store:
        agent = Agent(
            name="assistant",
            model_name=model.model_name,
            api_base=model.api_base,
            api_key=model.api_key,
            purpose="You are a helpful assistant. Answer in one short sentence.",
            thread_store=store,
        )
        thread = Thread()
        for preferences in ({"name": "Ann", "units": "metric"}, {"name": "Ann", "units": "imperial"}):
            inject_context(thread, preferences)
            thread.add_message(Message(role="user", content="Which units do I prefer?"))
            result = await agent.go(thread)
            print(f"{thread.messages[0].text}\nAssistant: {result.content}\n")

        stored = await store.get_thread(thread.id)
        print(f"Stored: {', '.join(message.role for message in stored.messages)}")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    choice = choose_model()
    print(f"Model: {choice.explanation}\nData: {folder}\n")
    with choice.ready() as ready:
        asyncio.run(main(ready, folder))
