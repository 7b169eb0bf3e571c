"""A support agent that gives questions to a researcher, who reads the manual. Each task has a thread of its own.

python examples/delegation.py [folder]
"""

import asyncio
import os
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

from tyler import Agent, Budget, Finished, Message, Thread, ThreadStore, ToolProgress, ToolStarted, delegate_to, tool
from tyler.model import Reply, Request
from tyler.model_choice import ModelChoice, choose_model
from tyler.testing import Line, ScriptedModel, calls

MANUAL = ["The lamp blinks red when its battery is below 5 %.", "The lamp blinks green while it charges."]


@tool(risk="read", effect="read")
def search_manual(word: str) -> list[str]:
    """Sentences of the manual in which a word stands."""
    return [sentence for sentence in MANUAL if word.lower() in sentence.lower()]


def supporter(request: Request) -> str | Reply:
    """What a model that calls tools would do for the customer."""
    last = request.messages[-1]
    if last["role"] == "user":
        return calls(("ask_researcher", {"task": "What does it mean when the lamp blinks red?"}))
    return f"We looked it up for you. {last['content']}"


def reader(request: Request) -> str | Reply:
    """And what it would do with the manual."""
    last = request.messages[-1]
    if last["role"] == "user":
        return calls(("search_manual", {"word": "red"}))
    return f"The manual says: {last['content']}"


def make(choice: ModelChoice, line: Line, **options: Any) -> Agent:
    if not choice.can_call_tools:
        return Agent(model=ScriptedModel([line] * 2), **options)
    return Agent(model_name=choice.model_name, api_base=choice.api_base, api_key=choice.api_key, **options)


async def main(choice: ModelChoice, folder: Path) -> None:
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{folder}/delegation.db") as store:
        researcher = make(choice, reader, name="researcher", purpose="You read the manual.", tools=[search_manual])
        support = make(
            choice,
            supporter,
            name="support",
            purpose="You help customers. Questions about the product go to the researcher.",
            tools=[delegate_to(researcher, risk="read", budget=Budget(steps=5))],
            thread_store=store,
        )
        thread = Thread(messages=[Message(role="user", content="Why does my lamp blink red?")])
        async with aclosing(support.stream(thread)) as events:
            async for event in events:
                if isinstance(event, ToolStarted):
                    print(f"support calls {event.call.name} {event.call.arguments}")
                elif isinstance(event, ToolProgress) and isinstance(event.data, ToolStarted):
                    print(f"  researcher calls {event.data.call.name} {event.data.call.arguments}")
                elif isinstance(event, Finished):
                    print(f"Support: {event.result.content}")
        for summary in await store.list_threads(metadata={"parent_thread": thread.id}):
            print(f"Stored: {summary.message_count} messages of the {summary.metadata['agent']}")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    choice = choose_model()
    print(f"Model: {choice.explanation}\nData: {folder}\n")
    if not choice.can_call_tools:
        print("This model cannot call tools, so scripts play both parts.\n")
    asyncio.run(main(choice, folder))
