"""Preview: the request that a run would begin with, and what is in it, without asking the model."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from narrator import Thread
from narrator._html import table
from tyler._compaction import Compaction
from tyler._setup import Setup
from tyler._steps import INPUTS, window
from tyler._view import View
from tyler.context import SUMMARIES, with_summary
from tyler.model import Request


@dataclass(frozen=True)
class Preview:
    """`request` is what would be sent. `tokens`: of each of its messages; `tool_tokens`: of the tools' definitions.

    The counts are the model's tokenizer's where there is one, else estimates. `summary_due`: a summary would be made
    first, so the request would be a shorter one.
    """

    request: Request
    tokens: list[int]
    tool_tokens: int
    summary_due: bool = False

    @property
    def total_tokens(self) -> int:
        """Of messages and tools together."""
        return sum(self.tokens) + self.tool_tokens

    def __str__(self) -> str:
        lines = [
            f"{tokens:>7,} {message['role']:<9} {json.dumps(message.get('content'), ensure_ascii=False)[:80]}"
            for message, tokens in zip(self.request.messages, self.tokens, strict=True)
        ]
        return "\n".join([*lines, f"{self.tool_tokens:>7,} tools", f"{self.total_tokens:>7,} tokens"])

    def _repr_html_(self) -> str:
        rows = [
            (tokens, message["role"], json.dumps(message.get("content"), ensure_ascii=False)[:500])
            for message, tokens in zip(self.request.messages, self.tokens, strict=True)
        ]
        caption = f"{self.total_tokens:,} tokens" + (", a summary is due" if self.summary_due else "")
        return table(caption, ("tokens", "role", "content"), [*rows, (self.tool_tokens, "tools", "")])


async def preview(thread: Thread, setup: Setup) -> Preview:
    """See Agent.preview."""
    last = next((message.id for message in reversed(thread.messages) if message.role in INPUTS), None)
    seen = window(thread.messages, last)
    definitions = [tool.definition() for tool in setup.tools.values()]
    asking = setup.window is not None and setup.window.summarize is not False
    trimming = replace(setup.window, summarize=False) if setup.window else None
    view = View(thread, setup.model, setup.purpose, setup.files, setup.window)
    due = await Compaction(view, setup.model, definitions, trimming).needed(seen, thread.metadata)
    metadata = dict(thread.metadata)
    if due and not asking:
        metadata[SUMMARIES] = with_summary(metadata, due)
    messages = await view.of(seen, metadata)
    tokens = [await setup.model.count_tokens([message]) for message in messages]
    tool_tokens = await setup.model.count_tokens([{"role": "system", "content": json.dumps(definitions)}])
    request = Request(messages, definitions, setup.output.schema if setup.output else None, setup.params)
    return Preview(request, tokens, tool_tokens if definitions else 0, summary_due=asking and due is not None)
