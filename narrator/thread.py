"""Thread: a conversation. ThreadSummary: one line of a listing, without messages."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, NoReturn, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from narrator._baseline import Baseline
from narrator._html import message_rows, table
from narrator._tracked import TrackedDict, track
from narrator._values import check_id, clean_text, utc, utc_now
from narrator.errors import MessagesNotLoaded
from narrator.message import Message, Usage, new_id, total_usage


class Thread(BaseModel):
    """A conversation: its messages in order, a title and metadata. The only state of a conversation.

    A Thread is a private copy: nothing is stored before `store.save_thread(thread)` or `agent.go(thread)`,
    and what others store shows up here only then. `metadata["last_updated"]` is written by the store.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, hide_input_in_errors=True)

    id: str = Field(default_factory=new_id, frozen=True)
    title: str | None = None
    metadata: Annotated[dict[str, Any], AfterValidator(lambda value: track(value, "metadata"))] = Field(
        default_factory=TrackedDict, repr=False
    )
    messages: list[Message] = Field(default_factory=list, repr=False)
    owner: str | None = None
    created_at: datetime = Field(default_factory=utc_now)
    updated_at: datetime = Field(default_factory=utc_now)
    _baseline: Baseline | None = PrivateAttr(default=None)
    _saving: asyncio.Future[None] | None = PrivateAttr(default=None)  # done when the save under way is
    _answering: asyncio.Future[None] | None = PrivateAttr(default=None)  # the same of a run that stores nothing

    @field_validator("id")
    @classmethod
    def _check_id(cls, value: str) -> str:
        return check_id(value, "thread id")

    @field_validator("owner")
    @classmethod
    def _check_owner(cls, value: str | None) -> str | None:
        return value if value is None else check_id(value, "owner")

    @field_validator("title")
    @classmethod
    def _clean(cls, value: str | None) -> str | None:
        return value if value is None else clean_text(value)

    @field_validator("created_at", "updated_at")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        return utc(value)

    def add_message(self, message: Message) -> Message:
        """Append the message to this copy and return it; it is stored with the next save."""
        if not isinstance(message, Message):
            raise TypeError(f"a {type(message).__name__} is no Message; use Message(role=..., content=...)")
        self.messages.append(message)
        return message

    @property
    def usage(self) -> Usage:
        """Tokens and cost of its messages together. `cost_usd` is None where that of one answer is unknown.

        Unknown is also what an answer without usage cost: an interrupted one, or one put in by hand without
        `usage=Usage(cost_usd=0)`. Their tokens are not in the sum. Of a thread without any usage: `Usage()`.
        """
        return total_usage(self.messages)

    def __repr__(self) -> str:
        title = f", title={self.title!r}" if self.title else ""
        return f"Thread(id={self.id!r}{title}, {len(self.messages)} messages)"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        used = self.usage
        tokens = used.input_tokens + used.output_tokens
        caption = f"{self.title or self.id} ({tokens:,} tokens)" if tokens else self.title or self.id
        return table(caption, ("role", "content"), message_rows(self.messages))

    def __eq__(self, other: object) -> bool:
        """Equal when all fields are; what each object knows of the store does not count."""
        return isinstance(other, Thread) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __copy__(self) -> Self:
        copied = super().__copy__()
        copied._saving = copied._answering = None
        copied._baseline = None  # a copy does not know what is stored: saving it appends and never erases (P4)
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        memo = {} if memo is None else memo
        for own in (self._baseline, self._saving, self._answering):
            if own is not None:
                memo[id(own)] = None
        return super().__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        return {**super().__getstate__(), "__pydantic_private__": dict.fromkeys(self.__private_attributes__)}


@dataclass(frozen=True)
class ThreadSummary:
    """One line of `list_threads`. Pass the last one as `before=` to get the next page."""

    id: str
    title: str | None
    metadata: dict[str, Any] = field(repr=False)
    owner: str | None
    created_at: datetime
    updated_at: datetime
    message_count: int
    _key: int

    def _repr_html_(self) -> str:
        row = (self.id, self.title or "", self.message_count, f"{self.updated_at:%Y-%m-%d %H:%M}")
        return table("thread", ("id", "title", "messages", "updated"), [row])

    def __getattr__(self, name: str) -> NoReturn:
        if name == "messages":
            raise MessagesNotLoaded(
                f"a ThreadSummary has no messages; load them with await store.get_thread({self.id!r})"
            )
        raise AttributeError(f"ThreadSummary has no attribute {name!r}")
