"""A refund that waits for a human: one process asks, another decides, a third goes on. Run it again for the next step.

python examples/approvals.py [folder]            ask, or go on
python examples/approvals.py [folder] approve    or: deny
"""

import asyncio
import os
import sys
from pathlib import Path

from tyler import Agent, Message, Thread, ThreadNotFound, ThreadStore, ToolContext, tool
from tyler.model import Reply, Request
from tyler.testing import ScriptedModel, calls


@tool(needs_approval=True, effect="once")
def refund(ctx: ToolContext, order: int, euros: float) -> str:
    """Pay an order back."""
    return f"{euros:.2f} euros for order {order} were paid back"


def clerk(request: Request) -> str | Reply:
    """What a model that calls tools would do; the example is about who may."""
    last = request.messages[-1]
    return calls(("refund", {"order": 7, "euros": 25})) if last["role"] == "user" else f"I hear: {last['content']}"


async def main(folder: Path, decision: str | None) -> None:
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{folder}/approvals.db") as store:
        if decision is not None:
            for pending in await store.pending_calls():
                await store.decide(pending.id, approved=decision == "approve", reason="decided at the desk", by="desk")
                print(f"{decision}: {pending.tool_name} {pending.call.arguments}")
            return
        agent = Agent(name="clerk", model=ScriptedModel([clerk, clerk]), tools=[refund], thread_store=store)
        try:
            thread = await store.get_thread("ticket-7")
        except ThreadNotFound:
            thread = Thread(id="ticket-7", messages=[Message(role="user", content="My order 7 arrived broken.")])
        result = await agent.go(thread)
        print(f"{result.status}: {result.content or ', '.join(p.tool_name for p in result.pending)}")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(folder, sys.argv[2] if len(sys.argv) > 2 else None))
