"""What hosted providers refuse with HTTP 400 in a chat completion request.

A pure function over the parsed body: no server, no I/O. Each rule was seen to be enforced by OpenAI, or by
another provider behind the same format (Mistral refuses an empty assistant message); where they differ, the
stricter one wins. The content of a message is in `content_rules.py`, the definitions of tools in
`tool_rules.py`.
"""

import json
import math
import re
from typing import Any, Literal

from .content_rules import PARTS_BY_ROLE, content_violations, is_text
from .tool_rules import NAME, tool_violations

Profile = Literal["openai", "anthropic"]

SURROGATE = re.compile("[\ud800-\udfff]")
MAX_CALL_ID = 40  # OpenAI: "string too long. Expected a string with maximum length 40"
MAX_CALLS = 128

FIELDS_BY_ROLE = {
    "system": {"role", "content", "name"},
    "developer": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls", "refusal", "audio", "function_call"},
    "tool": {"role", "content", "name", "tool_call_id"},
}


def violations(request: Any, profile: Profile = "openai") -> list[str]:
    """Why a provider would refuse this request, one sentence a reason; empty when it is valid.

    Takes any value that is not cyclic and never raises. `profile="anthropic"` adds what the Messages API asks
    of the same conversation: system messages first, user and assistant in turns, no empty text, narrow call
    ids.
    """
    if not isinstance(request, dict):
        return ["the body must be a JSON object"]
    found = _json_violations(request)
    if found:  # the rules below may rely on plain JSON values
        return found
    if not isinstance(request.get("model"), str) or not request["model"]:
        found.append("model: must be a non-empty string")
    if request.get("stream_options") is not None and request.get("stream") is not True:
        found.append("stream_options: only allowed when stream is true")
    found += tool_violations(request)
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        return [*found, "messages: must be a non-empty list"]
    for index, message in enumerate(messages):
        found += _message_violations(f"messages[{index}]", message)
    if found:  # the order is only meaningful among well-formed messages
        return found
    found += _pairing_violations(messages)
    if profile == "anthropic":
        found += _anthropic_violations(messages)
    return found


def _json_violations(root: Any) -> list[str]:
    """Values that JSON or a provider can't hold, wherever they are. By a stack: depth can't overflow it."""
    found: list[str] = []
    stack: list[Any] = [root]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            if "\x00" in value:
                found.append(f"NUL in the text {value[:40]!r}")
            if not value.isascii() and SURROGATE.search(value):
                found.append(f"lone surrogate in the text {value[:40]!r}")
        elif isinstance(value, dict):
            stack.extend(value.keys())
            stack.extend(value.values())
            if not all(isinstance(key, str) for key in value):
                found.append("object keys must be strings")
        elif isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, float):
            if not math.isfinite(value):
                found.append(f"{value} is not a JSON number")
        elif value is not None and not isinstance(value, int):  # a bool is an int
            found.append(f"{type(value).__name__} is not a JSON value")
    return found


def _message_violations(where: str, message: Any) -> list[str]:
    if not isinstance(message, dict):
        return [f"{where}: must be an object"]
    role = message.get("role")
    if not isinstance(role, str) or role not in PARTS_BY_ROLE:
        return [f"{where}.role: {role!r} is not one of {sorted(PARTS_BY_ROLE)}"]
    found = [f"{where}.{field}: unknown field" for field in message.keys() - FIELDS_BY_ROLE[role]]
    name = message.get("name")
    if name is not None and not _matches(NAME, name):
        found.append(f"{where}.name: {name!r} does not match {NAME.pattern}")
    if role == "tool" and not is_text(message.get("tool_call_id")):
        found.append(f"{where}.tool_call_id: must be a non-empty string")
    has_calls = message.get("tool_calls") is not None
    if has_calls:
        found += _calls_violations(f"{where}.tool_calls", message["tool_calls"])
    content = message.get("content")
    if role == "assistant" and not content:
        if not has_calls and not message.get("refusal"):
            found.append(f"{where}: assistant message with neither content nor tool_calls")
        if content in (None, ""):
            return found
    return found + content_violations(f"{where}.content", role, content)


def _calls_violations(where: str, calls: Any) -> list[str]:
    if not isinstance(calls, list) or not 1 <= len(calls) <= MAX_CALLS:
        return [f"{where}: must be a list of 1 to {MAX_CALLS} calls"]
    found: list[str] = []
    for index, call in enumerate(calls):
        at = f"{where}[{index}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or call.get("type") != "function":
            found.append(f"{at}: must have type 'function' and an object 'function'")
            continue
        if not is_text(call.get("id")) or len(call["id"]) > MAX_CALL_ID:
            found.append(f"{at}.id: must be a string of 1 to {MAX_CALL_ID} characters")
        if not _matches(NAME, function.get("name")):
            found.append(f"{at}.function.name: {function.get('name')!r} does not match {NAME.pattern}")
        found += _arguments_violations(f"{at}.function.arguments", function.get("arguments"))
    return found


def _arguments_violations(where: str, arguments: Any) -> list[str]:
    if not isinstance(arguments, str):
        return [f"{where}: must be a string"]
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        return [f"{where}: not JSON: {arguments[:60]!r}"]
    if not isinstance(parsed, dict):
        return [f"{where}: must hold a JSON object, got {arguments[:60]!r}"]
    return [f"{where}: {reason}" for reason in _json_violations(parsed)]


def _pairing_violations(messages: list[dict[str, Any]]) -> list[str]:
    """A group of calls is answered at once, each by exactly one tool message; ids are used once."""
    found: list[str] = []
    seen: set[str] = set()
    unanswered: set[str] = set()
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if message["role"] == "tool":
            call_id = message["tool_call_id"]
            if call_id not in unanswered:
                found.append(f"{where}: tool_call_id {call_id!r} answers no open call of the preceding message")
            unanswered.discard(call_id)
            continue
        if unanswered:
            found.append(f"{where}: comes before the answers of the calls {sorted(unanswered)}")
            unanswered = set()
        for call in message.get("tool_calls") or ():
            if call["id"] in seen:
                found.append(f"{where}: call id {call['id']!r} is used twice")
            seen.add(call["id"])
            unanswered.add(call["id"])
    if unanswered:
        found.append(f"the calls {sorted(unanswered)} have no answer at the end")
    return found


def _anthropic_violations(messages: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    previous = "system"
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role, content = message["role"], message.get("content")
        if content == "" or (isinstance(content, list) and any(part.get("text") == "" for part in content)):
            found.append(f"{where}: empty text")
        if role in ("system", "developer"):
            if previous != "system":
                found.append(f"{where}: system messages stand first")
            continue
        if previous == "system" and role != "user":
            found.append(f"{where}: the first message must be the user's")
        elif role == previous and role != "tool":
            found.append(f"{where}: two {role} messages in a row")
        for call in message.get("tool_calls") or ():
            if not _matches(NAME, call["id"]):
                found.append(f"{where}: call id {call['id']!r} does not match {NAME.pattern}")
        previous = role
    return found


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
