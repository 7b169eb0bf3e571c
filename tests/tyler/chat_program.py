"""A program for the tests of `tyler chat`: the real conversation, with a model that follows a script and no litellm.

`main(order)`: {"db": URL, "script": [text | {"hold": text} | {"error": text} | {"calls": [[name, arguments], ...]}]}
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from typing import Any

from tyler import Agent, ModelUnavailable, ThreadStore, ToolContext, Usage, tool
from tyler._chat.approver import Approver
from tyler._chat.conversation import converse
from tyler._chat.data_folder import history_file
from tyler._chat.lines import Lines
from tyler._chat.screen_choice import make_screen
from tyler._chat.session import Session
from tyler.cli import _forgive_encodings
from tyler.model import Reply, Request
from tyler.testing import ScriptedModel, calls


@tool(risk="read", effect="read")
async def look_up(ctx: ToolContext, words: str) -> str:
    """Look something up."""
    ctx.progress(f"half of {words}")
    await asyncio.sleep(0.2)
    if words == "nowhere":
        raise LookupError(f"no {words}\x1b[31m")
    return "found"


@tool
def refund(order: int, note: str = "") -> str:
    """Pay back."""
    return f"refunded {order}"


class Model(ScriptedModel):
    """Streams a few characters at a time, and holds where the script says so."""

    def __init__(self, lines: list[Any]) -> None:
        super().__init__([])
        self._lines = lines

    async def stream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        line = self._lines.pop(0)
        if isinstance(line, dict) and "error" in line:
            raise ModelUnavailable(line["error"])
        if isinstance(line, dict) and "calls" in line:
            yield calls(*line["calls"])
            return
        text = line["hold"] if isinstance(line, dict) else line
        for piece in re.findall(r"(?s).{1,7}", text):
            yield piece
            await asyncio.sleep(0)
        if isinstance(line, dict):
            await asyncio.Event().wait()
        yield Reply(content=text, usage=Usage(input_tokens=1000, output_tokens=20))


def main(order_text: str) -> None:
    order = json.loads(order_text)
    _forgive_encodings()
    screen, lines = make_screen(), Lines(history_file())
    with asyncio.Runner() as runner:
        store = runner.run(ThreadStore.create(order["db"]))
        model = Model(order["script"])
        agent = Agent(model=model, tools=[look_up, refund], thread_store=store, approve=Approver(screen))
        session = Session(store)
        runner.run(session.open_last())
        converse(runner, agent, session, screen, lines)
        runner.run(store.close())
