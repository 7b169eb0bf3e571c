"""An answer as a Python object: validated, and sent back to the model while it does not fit.

python examples/structured_output.py [folder]
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from tyler import Agent, Message, Thread, ThreadStore
from tyler.model_choice import ModelChoice, choose_model
from tyler.testing import ScriptedModel

MAIL = "Order 7 came without its charger. This is the third time! Send one, or I want my 25 euros back."


class Complaint(BaseModel):
    """What a customer complains about."""

    order: int = Field(gt=0)
    mood: Literal["calm", "annoyed", "furious"]
    wishes: list[str] = Field(description="what would settle it, in the customer's words")


def script() -> ScriptedModel:
    """A model that needs two tries."""
    return ScriptedModel(
        [
            '{"order": 7, "mood": "very angry", "wishes": ["a charger"]}',
            '{"order": 7, "mood": "annoyed", "wishes": ["a charger", "25 euros back"]}',
        ]
    )


async def main(model: ModelChoice, folder: Path) -> None:
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{folder}/structured_output.db") as store:
        if model.can_call_tools:
            agent = Agent(
                name="reader",
                model_name=model.model_name,
                api_base=model.api_base,
                api_key=model.api_key,
                thread_store=store,
            )
        else:
            print("This model is too small for the task, so a script plays its part.\n")
            agent = Agent(name="reader", model=script(), thread_store=store)
        thread = Thread(messages=[Message(role="user", content=f"What does this customer want?\n\n{MAIL}")])
        result = await agent.go(thread, output=Complaint)
        if result.output is None:  # after three answers that did not fit
            print(f"{result.status}: {result.content}")
            return
        print(f"order {result.output.order}, {result.output.mood}: {' or '.join(result.output.wishes)}")
        print(f"It took {len(result.new_messages)} answers.")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    choice = choose_model()
    print(f"Model: {choice.explanation}\nData: {folder}\n")
    asyncio.run(main(choice, folder))  # the local model would have to be started, but it is not asked
