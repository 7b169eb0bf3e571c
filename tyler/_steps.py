"""What a run does next: the end of its part of the thread decides. Pure.

A crashed run needs nothing else: the next `go` looks at the end of the thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from narrator import Message, ToolCall

INTERRUPTED = "interrupted"  # in the metadata of an answer that was cancelled while it streamed


@dataclass(frozen=True)
class AskModel:
    """The model is next."""


@dataclass(frozen=True)
class RunTools:
    """These calls of this assistant message have no result yet."""

    message: Message
    open_calls: list[ToolCall]


@dataclass(frozen=True)
class Done:
    """The last message is the answer."""


Action = AskModel | RunTools | Done


def window(messages: Sequence[Message], upto: str | None) -> list[Message]:
    """The part of the thread that a run answers: up to its input, and what runs added right behind it.

    What others appended behind stays for the next run, so it is never half seen. None: the whole thread.
    """
    if upto is None:
        return list(messages)
    end = next(i for i in range(len(messages) - 1, -1, -1) if messages[i].id == upto) + 1
    while end < len(messages) and messages[end].role in ("assistant", "tool"):
        end += 1
    return list(messages[:end])


def next_action(messages: Sequence[Message]) -> Action:
    """What to do with a thread that ends like this."""
    last = next((m for m in reversed(messages) if m.role != "tool"), None)
    if last is None or last.role != "assistant":
        return AskModel()
    if open_calls := calls_without_result(messages, last):
        return RunTools(last, open_calls)
    if last.tool_calls or last.metadata.get(INTERRUPTED):
        return AskModel()
    return Done()


def calls_without_result(messages: Sequence[Message], message: Message) -> list[ToolCall]:
    """The message's calls that no tool message behind it answers."""
    place = next(i for i in range(len(messages) - 1, -1, -1) if messages[i] is message)
    answered = {m.tool_call_id for m in messages[place + 1 :] if m.role == "tool"}
    return [call for call in message.tool_calls if call.id not in answered]
