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
_QUOTES = "\u2018-\u201f\u00ab\u00bb\u2039\u203a\u300c-\u300f"  # curly, angled, and Chinese ones
_BETWEEN = re.compile(rf"[\s<>\"'`|{_QUOTES}]+")
# Around a URL in a sentence; the last ones are full-width.
_PUNCTUATION = ".,;:!?()[]{}*_\u2026\u3001\u3002\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"
_SLIGHT = 1_000


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
        noted = message.metadata.get(TOUCHES)
        if message.metadata.get(FAILED) or (isinstance(noted, list) and len(_words(noted)) == len(noted)):
            return _words(noted)
        tool = self._tools.get((call.name if call else message.name) or "")
        if tool is None:
            return ("private", "untrusted")  # nobody here can say
        return tool.touched(arguments_of(call) if call else {})

    def _is_the_users(self, tool: Tool, arguments: dict[str, Any], messages: Sequence[Message]) -> bool:
        """Whether all that the arguments say are URLs that the user wrote, and so nothing of the model goes out."""
        chosen = arguments.keys() - tool.parameters.get("properties", {}).keys()  # names can say something, too
        said = [item for value in arguments.values() if not _is_slight(value) for item in _items(value)]
        if chosen or not said or self._thread.metadata.get(DELEGATED) is not None:
            return False
        written = {url for message in messages if message.role == "user" for url in urls_in(message.text)}
        # A list of one URL again and again, or in turn with another, is a message in a code of its own.
        return len(said) == len(set(map(repr, said))) and all(_bare(item) in written for item in said)


def urls_in(text: str) -> Iterator[str]:
    """What may be a URL in a text, in all spellings that a call may have; linear, whatever the text."""
    for token in _BETWEEN.split(text):
        if "." in token or "://" in token:
            whole = token[max(token.rfind("http://"), token.rfind("https://"), 0) :]  # of [words](https://...)
            for candidate in {token, token.strip(_PUNCTUATION), whole.strip(_PUNCTUATION)} - {""}:
                yield candidate
                yield from _spellings(candidate)


def _spellings(url: str) -> Iterator[str]:
    """The user's URL without scheme; with and without fragment, a slash at the end, and capitals in the host.

    It is the user's that is spelled anew: a call whose own spelling were free could say something with it.
    """
    rest = re.sub(r"^https?://", "", url, flags=re.IGNORECASE)
    for part in {rest, rest.partition("#")[0]}:
        host, slash, path = part.partition("/")
        for spelled in (part, f"{host.lower()}{slash}{path}"):
            yield spelled
            yield spelled.removesuffix("/") if spelled.endswith("/") else f"{spelled}/"


def _bare(item: object) -> str | None:
    """A text of the call, without its scheme; None for anything else."""
    if not isinstance(item, str):
        return None
    return item.removeprefix("http://") if item.startswith("http://") else item.removeprefix("https://")


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _is_slight(value: object) -> bool:
    """What can say next to nothing: an empty value, yes or no, a number of up to three digits."""
    return not value or value is True or (isinstance(value, int) and abs(value) < _SLIGHT)


def _words(noted: object) -> list[Touch]:
    """What was noted in metadata, which anybody may have written."""
    words = noted if isinstance(noted, list) else []
    return [cast(Touch, word) for word in words if word in get_args(Touch)]
