"""What tools learn of their run (deps, an idempotency key), progress while they work, a budget, and what it has cost.

python examples/tool_context.py [folder]

A script plays the model, so that the same happens each time.
"""

import asyncio
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tyler import Agent, Budget, Finished, Message, Thread, ThreadStore, ToolContext, ToolProgress, Usage, tool
from tyler.model import Reply
from tyler.testing import ScriptedModel, calls


@dataclass
class Shop:
    """What the application gives to a run; the model neither sees nor sets it."""

    currency: str
    paid: dict[str, int] = field(default_factory=dict)


@tool(effect="idempotent")
async def pay_back(ctx: ToolContext, orders: list[int]) -> str:
    """Pay orders back."""
    shop: Shop = ctx.deps
    for number, order in enumerate(orders):
        shop.paid[f"{ctx.idempotency_key}/{order}"] = order  # run again after a crash, it pays nothing twice
        ctx.progress(f"{number + 1} of {len(orders)}")
        await asyncio.sleep(0)
    return f"{len(orders)} orders of {ctx.owner} are paid back in {shop.currency}"


def script() -> ScriptedModel:
    """One call, then an answer; with the tokens and the price that a provider would report."""
    cost = Usage(input_tokens=120, output_tokens=20, cost_usd=0.0002)
    asked = calls(("pay_back", {"orders": [7, 8, 9]}))
    return ScriptedModel(
        [Reply(tool_calls=asked.tool_calls, usage=cost), Reply("All three are paid back.", usage=cost)]
    )


async def main(folder: Path) -> None:
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{folder}/tool_context.db") as store:
        budget = Budget(steps=5, tool_calls=10, seconds=30, tokens=10_000, cost_usd=0.05)
        agent = Agent(name="desk", model=script(), tools=[pay_back], thread_store=store, budget=budget)
        thread = Thread(owner="ann", messages=[Message(role="user", content="Please pay my orders 7, 8 and 9 back")])
        shop = Shop("euros")
        async for event in agent.stream(thread, deps=shop):
            if isinstance(event, ToolProgress):
                print(f"{event.call.name}: {event.data}")
            elif isinstance(event, Finished):
                print(f"{event.result.status}: {event.result.content}")
        print(f"Paid: {', '.join(map(str, shop.paid.values()))}")
        stored = await store.for_owner("ann").get_thread(thread.id)
        usage = stored.usage
        print(f"The conversation took {usage.input_tokens} + {usage.output_tokens} tokens, {usage.cost_usd} USD")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(folder))
