"""Where a thread may be cut in two without tearing a call from its result. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from narrator import Message
from tyler._steps import INPUTS, calls_without_result, is_answer


def cuts(messages: Sequence[Message]) -> list[int]:
    """Each index that is no result, and before which every call has its result; nothing open stands before a cut."""
    end_of = _ends(messages)
    legal, busy_until = [], -1
    for index, message in enumerate(messages):
        if index and index > busy_until and message.role != "tool":
            legal.append(index)
        busy_until = max(busy_until, end_of.get(index, -1))
    return legal


def _ends(messages: Sequence[Message]) -> dict[int, int]:
    """For each message that calls tools: where the last of its results stands; the end, if some are open still."""
    results: dict[str, list[int]] = {}
    for index, message in enumerate(messages):
        if message.role == "tool":
            results.setdefault(message.tool_call_id or "", []).append(index)
    asking = [index for index, message in enumerate(messages) if message.role == "assistant"]
    ends: dict[int, int] = {}
    for index in asking:
        places = [place for call in messages[index].tool_calls for place in results.get(call.id, ()) if place > index]
        if places:
            ends[index] = max(places)
    if asking and calls_without_result(messages, messages[asking[-1]]):
        ends[asking[-1]] = len(messages)
    return ends


def closed_before(messages: Sequence[Message]) -> int:
    """Behind the last answer: what stands there is still to be answered."""
    return next((i + 1 for i in range(len(messages) - 1, -1, -1) if is_answer(messages[i])), 0)


def pinned(messages: Sequence[Message], cut: int) -> list[Message]:
    """The messages before `cut` that are shown all the same: system messages, and inputs that are to be answered."""
    answered = closed_before(messages)
    return [m for i, m in enumerate(messages[:cut]) if m.role == "system" or (i >= answered and m.role in INPUTS)]
