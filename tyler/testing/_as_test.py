"""as_test: a stored conversation as the source of a pytest file that replays it."""

from __future__ import annotations

import keyword
import re
from typing import Any

from narrator import Attachment, Message, Thread, ToolCall, Usage
from tyler._steps import FAILED, INTERRUPTED, TOUCHES
from tyler.budget import Budget
from tyler.testing._code import Call, calls_in, source
from tyler.testing._record import exchanges_of

_KEPT_METADATA = (INTERRUPTED, FAILED, TOUCHES, "finish")  # what a run reads
_HEAD = '''"""A recorded conversation, replayed without a model and without running tools.

It holds what people, models and tools said, word for word. Take out what must not be
in a repository: names, addresses, keys.
"""

import asyncio

'''
_PLACE_FOR_AGENT = """
# These stand in for the recorded tools. Put your own agent here, and its tools are
# checked: do they exist, and do they still take the recorded arguments?
"""
_TEST = """

def test_{name}() -> None:
    report = asyncio.run(replay(THREAD, {agent}))
    report.assert_same()
"""


def as_test(thread: Thread, *, name: str = "recorded_conversation", agent: str | None = None) -> str:
    """The source of a pytest file that replays the conversation; write it to `tests/test_<something>.py`.

    `agent` says where yours is, as in "myapp.agents:clerk". Without it the file has one with stand-ins for the tools,
    passes as it is, and shows where to put yours. The test is named `test_<name>`. Of metadata only what a run reads is
    in it, of attachments no bytes. What was said is in it word for word: secrets, names and addresses too; look
    through it before it goes into a repository. ValueError for an agent that cannot be imported by that text.
    """
    recorded, own = _thread(thread), _stand_in_agent(thread)
    body = [source(recorded, prefix="THREAD = ")]
    if agent is None:
        body.append(_PLACE_FOR_AGENT + source(own, prefix="AGENT = "))
    names = calls_in(recorded) | (calls_in(own) if agent is None else set())
    imports = [
        f"from tyler import {', '.join(sorted(names - {'ScriptedModel', 'StandIn'}))}",
        f"from tyler.testing import {', '.join([*sorted(names & {'ScriptedModel', 'StandIn'}), 'replay'])}",
    ]
    imports += [] if agent is None else ["", _import_of(agent)]
    test = _TEST.format(name=_identifier(name), agent="AGENT" if agent is None else "agent")
    return "\n".join([_HEAD + "\n".join(imports), "", *body, test])


def _stand_in_agent(thread: Thread) -> Call:
    stand_ins = [Call.of("StandIn", name) for name in _tools(thread)]
    arguments: dict[str, Any] = {"model": Call.of("ScriptedModel", []), "tools": stand_ins}
    longest = max((len(exchange.steps) for exchange in exchanges_of(thread.messages)), default=0)
    if longest > (Budget().steps or longest):  # more than one run, then; a replay is one
        arguments["budget"] = Call("Budget", {"steps": longest})
    return Call("Agent", arguments)


def _import_of(agent: str) -> str:
    module, _, attribute = agent.partition(":")
    for word in [*module.split("."), attribute]:
        if not word.isidentifier() or keyword.iskeyword(word):
            raise ValueError(f"agent={agent!r} does not say where it is; write it as in agent='myapp.agents:clerk'")
    return f"from {module} import {attribute} as agent"


def _tools(thread: Thread) -> list[str]:
    """The names of the tools that the model called, those that there were not too: replay asks nothing of a StandIn."""
    steps = [step for exchange in exchanges_of(thread.messages) for step in exchange.steps]
    return sorted({c.call.name for step in steps for c in step.calls})


def _thread(thread: Thread) -> Call:
    arguments: dict[str, Any] = {"id": thread.id, "messages": [_message(message) for message in thread.messages]}
    if thread.owner is not None:
        arguments["owner"] = thread.owner
    return Call("Thread", arguments)


def _message(message: Message) -> Call:
    arguments: dict[str, Any] = {
        "role": message.role,
        "name": message.name,
        "content": message.model_dump()["content"],
        "tool_calls": [_tool_call(call) for call in message.tool_calls],
        "tool_call_id": message.tool_call_id,
        "attachments": [_attachment(attachment) for attachment in message.attachments],
        "metadata": {
            key: value for key in _KEPT_METADATA if isinstance(value := message.metadata.get(key), str | bool | list)
        },
        "usage": message.usage and _usage(message.usage),
    }
    return Call("Message", {name: value for name, value in arguments.items() if value not in (None, [], {})})


def _tool_call(call: ToolCall) -> Call:
    return Call("ToolCall", {"id": call.id, "name": call.name, "arguments": call.arguments})


def _attachment(attachment: Attachment) -> Call:
    return Call("Attachment", attachment.model_dump())


def _usage(usage: Usage) -> Call:
    return Call("Usage", usage.model_dump(exclude_defaults=True))


def _identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "recorded_conversation"
