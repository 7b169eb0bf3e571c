"""Sessions of two users on one agent, streamed. Run it twice: each goes on where it stopped.

python examples/sessions.py [folder]
"""

import asyncio
import os
import sys
from contextlib import aclosing
from pathlib import Path

from tyler import Agent, Message, TextDelta, Thread, ThreadNotFound, ThreadStore
from tyler.model_choice import ModelChoice, choose_model


class ConversationSession:
    """One user's conversation."""

    def __init__(self, agent: Agent, store: ThreadStore, thread: Thread) -> None:
        self.agent = agent
        self.store = store
        self.thread = thread

    @classmethod
    async def start_or_resume(cls, agent: Agent, store: ThreadStore, session_id: str) -> "ConversationSession":
        try:
            thread = await store.get_thread(session_id)
            print(f"{session_id}: resumed, {len(thread.messages)} messages")
        except ThreadNotFound:  # nothing broader: a database that is down is no new user
            thread = Thread(id=session_id)
            print(f"{session_id}: new")
        return cls(agent, store, thread)

    async def send(self, content: str) -> None:
        """Print the answer while the model writes it."""
        self.thread.add_message(Message(role="user", content=content))
        print(f"{self.thread.id}: {content}\n  -> ", end="")
        async with aclosing(self.agent.stream(self.thread)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    print(event.text, end="", flush=True)
        print()


async def main(model: ModelChoice, folder: Path) -> None:
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{folder}/sessions.db") as store:
        agent = Agent(
            name="assistant",
            model_name=model.model_name,
            api_base=model.api_base,
            api_key=model.api_key,
            purpose="You are a helpful assistant. Answer in one short sentence.",
            thread_store=store,
        )
        ann = await ConversationSession.start_or_resume(agent, store, "session-ann")
        bob = await ConversationSession.start_or_resume(agent, store, "session-bob")
        await ann.send("I like cats.")
        await bob.send("I like dogs.")
        await ann.send("Which animal do I like?")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    choice = choose_model()
    print(f"Model: {choice.explanation}\nData: {folder}\n")
    with choice.ready() as ready:
        asyncio.run(main(ready, folder))
