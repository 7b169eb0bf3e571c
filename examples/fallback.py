"""An agent that goes on when its model cannot be reached: the next one in the list answers.

Here the first is a server that nobody has started, and the second the best model at hand: that of the provider whose
key is set, Ollama's, or the small local one.
"""

import asyncio
import logging
import sys

from tyler import Agent, LitellmModel
from tyler.model_choice import ModelChoice, choose_model

NOBODY = "http://127.0.0.1:9/v1"  # nobody listens on the discard port


async def main(at_hand: ModelChoice) -> None:
    agent = Agent(
        model_name="openai/my-model",
        api_base=NOBODY,
        api_key="none",
        purpose="You are a helpful assistant. Answer in one short sentence.",
        fallback_models=[LitellmModel(at_hand.model_name, api_base=at_hand.api_base, api_key=at_hand.api_key)],
    )
    async with agent:
        result = await agent.go("Say hello.")
    answer = result.new_messages[-1]
    print(f"{answer.metadata['model']} answered: {answer.text}")


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(message)s")  # tyler logs a warning each time
    with choose_model().ready() as ready:
        asyncio.run(main(ready))
