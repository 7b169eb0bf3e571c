"""The tools of an MCP server, here one that knows the time. A model that cannot call tools is replaced by a script.

python examples/mcp_time.py
"""

import asyncio
import sys

from tyler import Agent, Finished, ToolFinished
from tyler.mcp import McpServer
from tyler.model_choice import ModelChoice, choose_model
from tyler.testing import ScriptedModel, calls

QUESTION = "It is noon in UTC. What time is it in Tokyo?"
CALL = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}


async def main(model: ModelChoice) -> None:
    # It needs the extra: pip install -e '.[mcp]', and the server: pip install mcp-server-time
    async with McpServer.stdio(
        sys.executable, "-m", "mcp_server_time", include=["convert_time"], risk="read"
    ) as server:
        tools = await server.tools()
        print(f"Tools: {', '.join(tool.name for tool in tools)}")
        if model.can_call_tools:
            agent = Agent(
                name="clock",
                model_name=model.model_name,
                api_base=model.api_base,
                api_key=model.api_key,
                tools=tools,
            )
        else:
            print("This model cannot call tools, so a script plays its part.")
            script = ScriptedModel([calls(("convert_time", CALL)), "It is nine in the evening."])
            agent = Agent(name="clock", model=script, tools=tools)
        async for event in agent.stream(QUESTION):
            if isinstance(event, ToolFinished):
                print(f"{event.call.name} -> {'21:00' if '21:00' in event.result.content else event.result.content}")
            elif isinstance(event, Finished):
                print(f"Assistant: {event.result.content}")


if __name__ == "__main__":
    choice = choose_model()
    print(f"Model: {choice.explanation}\n")
    asyncio.run(main(choice))
