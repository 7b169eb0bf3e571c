"""An agent that runs commands: what the developer allowed at once, the rest when somebody has looked at it.

python examples/shell_agent.py [folder]
"""

import asyncio
import os
import sys
from pathlib import Path

from lye import shell_tools
from tyler import Agent, Message, Thread, ThreadStore, ToolFinished
from tyler.model import Reply
from tyler.testing import ScriptedModel, calls

# What a model that calls tools would do; the example is about who may.
SCRIPT: list[str | Reply] = [
    calls(("run_command", {"argv": ["ls"]})),
    calls(("run_command", {"argv": ["sh", "-c", "echo 'Buy tea' >> notes.txt; wc -l notes.txt"]})),
    "I added a line to the notes.",
]


async def main(folder: Path) -> None:
    async with await ThreadStore.create() as store:
        agent = Agent(
            name="clerk", model=ScriptedModel(SCRIPT), tools=shell_tools(folder, allow=["ls"]), thread_store=store
        )
        thread = Thread(messages=[Message(role="user", content="Note that we have to buy tea.")])
        while True:
            async for event in agent.stream(thread):
                if isinstance(event, ToolFinished):
                    print(f"ran {event.call.arguments}\n{event.result.content.partition(' (')[0]}")
            waiting = await store.pending_calls(thread.id)
            thread = await store.get_thread(thread.id)
            if not waiting:
                break
            for pending in waiting:  # a web page, a chat message or a person at a desk
                print(f"approved {pending.call.arguments}")
                await store.decide(pending.id, approved=True, by="desk")
        print(f"Assistant: {thread.messages[-1].text}")
    print(f"notes.txt: {(folder / 'notes.txt').read_text(encoding='utf-8').splitlines()}")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(folder))
