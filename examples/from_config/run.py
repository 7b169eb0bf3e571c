"""An agent from agent.yaml, beside this file: purpose, tools, a skill, a rule of approval and a budget are there.

python examples/from_config/run.py [folder]

A script plays the model, so that it runs without a key; take `model=` out, and it asks the file's.
"""

import asyncio
import os
import sys
from pathlib import Path

from tyler import Agent, ThreadStore
from tyler.testing import ScriptedModel, calls


def script() -> ScriptedModel:
    """What a model that calls tools would do."""
    return ScriptedModel(
        [
            calls(("read_skill", {"name": "returns"}), ("order_status", {"order": 7})),
            calls(("send_voucher", {"order": 7, "value": 20})),
            "I am sorry about the cup. A voucher of 20 euros is on its way.",
        ]
    )


async def main(folder: Path) -> None:
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{folder}/from_config.db") as store:
        agent = Agent.from_config(Path(__file__).with_name("agent.yaml"), thread_store=store, model=script())
        print(f"Tools: {', '.join(agent.tools_by_name)}")
        result = await agent.go("The cup of my order 7 is broken.")
        for message in result.new_messages:
            if message.role == "tool":
                print(f"{message.name}: {message.text.splitlines()[0]}")
        for pending in result.pending:
            print(f"{result.status}: {pending.tool_name} {pending.call.arguments}")
            await store.decide(pending.id, approved=True, by="desk")
        result = await agent.go(result.thread)
        print(f"Assistant: {result.content}")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(folder))
