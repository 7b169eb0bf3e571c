"""What a run does next: the end of its part of the thread decides. Pure.

A crashed run needs nothing else: the next `go` looks at the end of the thread.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from narrator import Message, ToolCall
from tyler.errors import NothingToAnswer

INPUTS = ("user", "system")  # roles of what a run answers; the others are what runs add
INTERRUPTED = "interrupted"  # in the metadata of an answer that was cancelled while it streamed
INVALID = "invalid_output"  # in the metadata of an answer without the form that was needed: what is wrong with it
FAILED = "failed"  # in the metadata of a result that tells of a failure
TOUCHES = "touches"  # in the metadata of a result: what its call touched, for the guard
_SAME_FAILURES = 3


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

    What others appended behind stays for the next run, so it is never half seen: the part ends with the
    answer, or before an answer that comes while calls are open. None: the whole thread. Raises
    NothingToAnswer when the input is gone.
    """
    if upto is None:
        return list(messages)
    place = next((i for i in range(len(messages) - 1, -1, -1) if messages[i].id == upto), None)
    if place is None:
        raise NothingToAnswer(f"message {upto!r} was removed by someone else before it was answered; add it again")
    end = place + 1
    open_calls: set[str] = set()  # an input asks for no tools, whatever it carries
    answered = False
    while end < len(messages):
        message = messages[end]
        if message.role == "tool":
            open_calls.discard(message.tool_call_id or "")
        elif message.role == "assistant" and not open_calls and not answered:
            open_calls = {call.id for call in message.tool_calls}
            answered = is_answer(message)
        else:
            break
        end += 1
    return list(messages[:end])


def next_action(messages: Sequence[Message]) -> Action:
    """What to do with a thread that ends like this. Calls that a crash left open come before newer input."""
    asked = next((m for m in reversed(messages) if m.role == "assistant"), None)
    if asked is not None and (open_calls := calls_without_result(messages, asked)):
        return RunTools(asked, open_calls)
    last = next((m for m in reversed(messages) if m.role != "tool"), None)
    return Done() if last is not None and is_answer(last) else AskModel()


def is_answer(message: Message) -> bool:
    """Whether a run ends with this message: a whole one of the model that asks for nothing."""
    ended = message.role == "assistant" and not message.tool_calls
    return ended and not message.metadata.get(INTERRUPTED) and not message.metadata.get(INVALID)


def calls_without_result(messages: Sequence[Message], message: Message) -> list[ToolCall]:
    """The message's calls that no tool message behind it answers; calls that share an id count as one."""
    place = next((i for i in range(len(messages) - 1, -1, -1) if messages[i].id == message.id), len(messages))
    answered = {m.tool_call_id for m in messages[place + 1 :] if m.role == "tool"}
    first = {call.id: call for call in reversed(message.tool_calls)}
    return [call for call in message.tool_calls if call.id not in answered and first[call.id] is call]


def repeats_failure(added: Sequence[Message]) -> bool:
    """Whether a run whose messages these are, as they were stored, gets nowhere (promise P14).

    It does when a call, the same tool with the same arguments, has failed three times: in the same words, or with
    no success of any call in between. An agent that mends something between two tries is not stopped.
    """
    asked: dict[str | None, tuple[str, str]] = {}
    in_a_row: Counter[object] = Counter()
    in_all: Counter[object] = Counter()
    for message in added:
        asked |= {call.id: (call.name, _canonical(call.arguments)) for call in message.tool_calls}
        call = asked.get(message.tool_call_id) if message.role == "tool" else None
        if call is None:
            continue
        if not message.metadata.get(FAILED):
            in_a_row.clear()
            continue
        in_a_row[call] += 1
        in_all[call, message.text] += 1
        if _SAME_FAILURES in (in_a_row[call], in_all[call, message.text]):
            return True
    return False


def _canonical(arguments: str) -> str:
    """One text for all spellings of the same JSON; other text as it is."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments
