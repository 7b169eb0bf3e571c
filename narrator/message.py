"""Message: one entry of a conversation, with the values that belong to it (tool calls, usage, files)."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    field_validator,
    model_validator,
)

from narrator._tracked import TrackedDict, TrackedItems, Watch, set_watch, track
from narrator._values import check_id, clean_text, utc, utc_now
from narrator.attachment import Attachment

Role = Literal["system", "user", "assistant", "tool"]
_ROLES = ("system", "user", "assistant", "tool")
_SAME = ("id", "role", "content", "name", "tool_calls", "tool_call_id", "attachments")
_CONTAINERS = ("content", "tool_calls", "attachments", "metadata")


def new_id() -> str:
    """A random id, 32 hex characters."""
    return uuid.uuid4().hex


class ToolCall(BaseModel):
    """A model's wish to call a tool: `arguments` is the JSON text exactly as the model wrote it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: str
    name: str
    arguments: str = Field(default="{}", repr=False)

    @model_validator(mode="before")
    @classmethod
    def _from_chat_format(cls, data: Any) -> Any:
        """Take the chat format's nesting ({"function": {"name", "arguments"}}) and parsed arguments too."""
        if not isinstance(data, dict):
            return data
        if isinstance(data.get("function"), dict):
            data = {"id": data.get("id"), **data["function"]}
        if isinstance(data.get("arguments"), dict):
            data = {**data, "arguments": json.dumps(data["arguments"], ensure_ascii=False)}
        return data

    @field_validator("id", "name", "arguments")
    @classmethod
    def _clean(cls, value: str) -> str:
        return clean_text(value)


class Usage(BaseModel):
    """Tokens of one answer; `cost_usd` is None where the price is unknown, never 0 by default.

    `cached_tokens` were read from the provider's prompt cache and `cache_write_tokens` written to it: both are among
    the `input_tokens`, as `reasoning_tokens` are among the `output_tokens`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = Field(default=None, allow_inf_nan=False)

    def __add__(self, other: Usage) -> Usage:
        known = self.cost_usd is not None and other.cost_usd is not None
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cost_usd=(self.cost_usd or 0) + (other.cost_usd or 0) if known else None,
        )

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{name.replace('_', ' ')}</td><td>{value}</td></tr>" for name, value in self)
        return f"<table><caption>usage</caption>{rows}</table>"  # numbers and None: nothing to escape


def _named_role(value: Any) -> Any:
    if value not in _ROLES:
        raise ValueError(f"role {value!r} is unknown; use one of {', '.join(_ROLES)}")
    return value


def _content(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(str.__str__(value))
    if isinstance(value, list):
        if bad := next((part for part in value if not isinstance(part, dict) or "type" not in part), None):
            raise ValueError(f"content parts are dicts with a 'type', not {type(bad).__name__}")
        return track(value, "content")
    if value is None:
        return None
    raise ValueError(f"content is a {type(value).__name__}; give text, a list of parts, or None")


Json = Annotated[dict[str, Any], AfterValidator(lambda value: track(value, "metadata"))]


class Message(BaseModel):
    """One message. `id` is its idempotency key: the same id appended again is stored once.

    Two messages are the same to a store when id, role, content, name, files and tool fields are; time,
    metadata and usage do not count. Edits of a stored message, in place too, are noticed by the next save.
    Content is not shown in its repr. Raises pydantic.ValidationError (a ValueError) that names the field.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, hide_input_in_errors=True)
    __slots__ = ("_watch",)  # set by the store: where edits of this stored message are noted

    id: str = Field(default_factory=new_id, frozen=True)
    role: Annotated[Role, BeforeValidator(_named_role)]
    content: Annotated[str | list[dict[str, Any]] | None, PlainValidator(_content)] = Field(default=None, repr=False)
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], AfterValidator(TrackedItems)] = Field(default_factory=TrackedItems)
    tool_call_id: str | None = None
    attachments: Annotated[list[Attachment], AfterValidator(TrackedItems)] = Field(default_factory=TrackedItems)
    metadata: Json = Field(default_factory=TrackedDict, repr=False)
    usage: Usage | None = None
    created_at: datetime = Field(default_factory=utc_now)

    @field_validator("id")
    @classmethod
    def _check_id(cls, value: str) -> str:
        return check_id(value, "message id")

    @field_validator("name", "tool_call_id")
    @classmethod
    def _clean(cls, value: str | None) -> str | None:
        return value if value is None else clean_text(value)

    @field_validator("created_at")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        return utc(value)

    @property
    def text(self) -> str:
        """The content as text: parts of type "text" joined by newlines, "" where there is none."""
        if isinstance(self.content, list):
            return "\n".join(str(part.get("text", "")) for part in self.content if part.get("type") == "text")
        return self.content or ""

    def add_attachment(self, attachment: Attachment) -> None:
        """Attach a file. Its bytes go to the file store when the message is saved."""
        self.attachments.append(attachment)

    def same_as(self, other: Message) -> bool:
        """True when a store takes the two for one message (promise P3)."""
        return all(getattr(self, field) == getattr(other, field) for field in _SAME)

    def __copy__(self) -> Self:
        copied = super().__copy__()
        for field in _CONTAINERS:  # of its own: a container reports its edits to one thread
            copied.__dict__[field] = copy.deepcopy(copied.__dict__[field])
        return copied

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_watch":
            object.__setattr__(self, name, value)
            return
        super().__setattr__(name, value)
        if watch := self._watched():
            watch[0].add(watch[1])
            self._watch_containers(watch)

    def _watched(self) -> Watch | None:
        """Where edits are noted, or None while the message is not part of a stored thread."""
        watch: Watch | None = getattr(self, "_watch", None)
        return watch

    def _start_watch(self, edited: set[str] | None) -> None:
        """Note edits in this set from now on; None forgets the former set."""
        watch = None if edited is None else (edited, self.id)
        object.__setattr__(self, "_watch", watch)
        self._watch_containers(watch)

    def _watch_containers(self, watch: Watch | None) -> None:
        for field in _CONTAINERS:
            set_watch(getattr(self, field), watch)


def total_usage(messages: Iterable[Message]) -> Usage:
    """What these messages took together; `cost_usd` is None where that of one answer is unknown, or there is none.

    An answer that has no usage was interrupted, or its provider sent none: it may have cost anything.
    """
    messages = list(messages)
    counted = [message.usage for message in messages if message.usage is not None]
    total = sum(counted[1:], counted[0]) if counted else Usage()
    unknown = any(message.role == "assistant" and message.usage is None for message in messages)
    return total.model_copy(update={"cost_usd": None}) if unknown else total
