"""Guard: where private data and untrusted content have met in a conversation, what goes outward is asked about.

Deterministic: it reads what the tools say of themselves (`Tool.touches`), never what a text means. docs/guard.md tells
the rules from the user's side.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast, get_args

from narrator import Message, Thread, ToolCall
from tyler._steps import FAILED, TOUCHES
from tyler.approval import arguments_of
from tyler.context import CONTEXT
from tyler.tools import Tool, Touch

DELEGATED = "parent_thread"  # in the metadata of a thread whose user is another agent
_BETWEEN = re.compile(r"[\s<>\"'`|]+")
_PUNCTUATION = ".,;:!?()[]{}*_"  # around a URL in a sentence


class Guard:
    """What one run has to know of its conversation."""

    def __init__(self, thread: Thread, tools: Mapping[str, Tool]) -> None:
        self._thread = thread
        self._tools = tools

    def touched(self, messages: Sequence[Message]) -> dict[Touch, str]:
        """What the conversation holds of "private" and "untrusted", and went "outward", each with where from."""
        found: dict[Touch, str] = {}
        calls: dict[str, ToolCall] = {}
        for touch in _words(self._thread.metadata.get(TOUCHES)):
            found.setdefault(touch, "the agent who gave the task")
        if any(name.startswith(CONTEXT) for name in self._thread.metadata):
            found.setdefault("private", "injected context")
        for message in messages:
            if message.role == "system":
                found.setdefault("private", "a system message")
            calls.update((call.id, call) for call in message.tool_calls)
            if message.role == "tool":
                call = calls.get(message.tool_call_id or "")
                for touch in self._touched_by(message, call):
                    found.setdefault(touch, (call.name if call else message.name) or "a tool")
        return found

    def reason(
        self, tool: Tool, call: ToolCall, touched: Mapping[Touch, str], messages: Sequence[Message]
    ) -> str | None:
        """Why a human is to be asked before this call, or None."""
        if not {"private", "untrusted"} <= touched.keys():
            return None
        arguments = arguments_of(call)
        if "outward" not in tool.touched(arguments) or self._is_the_users(tool, arguments, messages):
            return None
        return (
            f"private data ({touched['private']}) and untrusted content ({touched['untrusted']}) have met in this "
            "conversation, and this call sends something out that the user did not write"
        )

    def _touched_by(self, message: Message, call: ToolCall | None) -> Collection[Touch]:
        """As it was noted when the call ran; results from elsewhere are judged by the tool of that name."""
        if TOUCHES in message.metadata or message.metadata.get(FAILED):
            return _words(message.metadata.get(TOUCHES))
        tool = self._tools.get((call.name if call else message.name) or "")
        return tool.touched(arguments_of(call) if call else {}) if tool else ()

    def _is_the_users(self, tool: Tool, arguments: dict[str, Any], messages: Sequence[Message]) -> bool:
        """Whether all texts in the arguments are URLs that the user wrote, and so nothing of the model goes out."""
        extra = arguments.keys() - tool.parameters.get("properties", {}).keys()  # names that the model chose
        texts = [*extra, *(_comparable(text) for value in arguments.values() for text in _texts(value))]
        if not texts or self._thread.metadata.get(DELEGATED) is not None:
            return False
        written = {url for message in messages if message.role == "user" for url in urls_in(message.text)}
        return all(text in written for text in texts)


def urls_in(text: str) -> Iterator[str]:
    """What may be a URL in a text, in the form in which URLs are compared; linear, whatever the text."""
    for token in _BETWEEN.split(text):
        if "." in token or "://" in token:
            whole = token[max(token.rfind("http://"), token.rfind("https://"), 0) :]  # of [words](https://...)
            for candidate in (token, token.strip(_PUNCTUATION), whole.strip(_PUNCTUATION)):
                yield _comparable(candidate)


def _comparable(url: str) -> str:
    """Without scheme, case of the host, fragment and a slash at the end: these carry nothing that matters."""
    rest = re.sub(r"^https?://", "", url.strip(), flags=re.IGNORECASE).partition("#")[0]
    host, slash, path = rest.partition("/")
    return f"{host.lower()}{slash}{path}".rstrip("/")


def _texts(value: object) -> Iterator[str]:
    """Every text in it, names of entries that the model chose included."""
    match value:
        case str():
            yield value
        case dict():
            for name, entry in value.items():
                yield name
                yield from _texts(entry)
        case list():
            for entry in value:
                yield from _texts(entry)


def _words(noted: object) -> list[Touch]:
    """What was noted in metadata, which anybody may have written."""
    words = noted if isinstance(noted, list) else []
    return [cast(Touch, word) for word in words if word in get_args(Touch)]
