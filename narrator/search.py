"""Search in what was said: hits and pages of them, and how the messages are gone through.

No index is kept for it, so a save costs nothing more. The messages are read newest first, a page a transaction, and
compared here (`_match.py`); a search that has looked at enough of them ends, and says where to go on.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from narrator._backend import Backend, Head, Selection, TextRow, ThreadRef, Transaction
from narrator._match import snippet, words_of
from narrator._values import clean_text

_PAGE_ROWS = 250  # with what the backends read of one row at once, some 4 million characters
_MAX_CHARS = 20_000_000  # after so much text a search ends too, however few messages it was
_MOST = 2**63 - 1  # what a database's integer can hold
_DONE = -_MOST  # nothing stands in front of it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PLACE = re.compile(r"([0-9]{1,17}):(-?[0-9]{1,19}):([0-9]{1,3}):(.{1,510})", re.DOTALL)


@dataclass(frozen=True)
class SearchHit:
    """A message that has all words of the query; `snippet` is one line of it, around the first of them."""

    thread_id: str
    thread_title: str | None
    owner: str | None
    message_id: str
    role: str
    snippet: str = field(repr=False)
    created_at: datetime


@dataclass(frozen=True)
class SearchPage:
    """What one search found among the `searched` messages that it looked at.

    `more` is where it stopped: pass it as `before=` to go on. None: all messages have been looked at.
    """

    hits: list[SearchHit]
    searched: int
    more: str | None


class _Place(NamedTuple):
    """How far a search is: threads saved later than `at` are done, and of this one what stands from `position` on."""

    at: datetime
    position: int
    owner: str
    id: str
    key: int | None = None  # not in its text: it would tell how many threads there are, of all owners

    @classmethod
    def parse(cls, text: str, owner: str | None) -> _Place:
        """From the text of a page's `more`; it is in strangers' hands, so it names nothing beyond the view's owner."""
        match = _PLACE.fullmatch(text)
        if match is None or int(match[3]) >= len(match[4]):
            raise ValueError(
                f"before is {text[:80]!r}, and no search has stopped there; pass a SearchPage's `more`, or leave it out"
            )
        cut = int(match[3])
        named, id = (clean_text(part) for part in (match[4][:cut], match[4][cut:]))
        at = _EPOCH + timedelta(microseconds=int(match[1]))
        position = min(max(int(match[2]), _DONE), _MOST)
        return cls(at, position, named if owner is None else owner, id)

    def text(self, owner: str | None) -> str:
        named = self.owner if owner is None else ""  # a view's owner is in the view
        return f"{(self.at - _EPOCH) // _MICROSECOND}:{self.position}:{len(named)}:{named}{self.id}"


class _Found(NamedTuple):
    """Rows in the order of the search, and how far it is after them; None: at the end."""

    rows: list[tuple[Head, TextRow]]
    place: _Place | None


class Search:
    """One search for these words among one owner's messages (None: all owners')."""

    def __init__(self, backend: Backend, owner: str | None, query: str, except_thread: str | None) -> None:
        self._backend = backend
        self._owner = owner
        self._words = words_of(query)
        self._except = except_thread
        self._chars = 0
        self._searched = 0

    async def run(self, limit: int, before: str | None, max_messages: int) -> SearchPage:
        """See ThreadStore.search. No connection is held while texts are compared."""
        for name, value in (("limit", limit), ("max_messages", max_messages)):
            if value < 1:
                raise ValueError(f"{name} is {value!r}; it must be at least 1")
        place = None if before is None else _Place.parse(before, self._owner)
        hits: list[SearchHit] = []
        while True:
            found = await self._read(place, min(_PAGE_ROWS, max_messages - self._searched))
            snippets = await asyncio.to_thread(_snippets, [row for _, row in found.rows], self._words)
            for number, (head, row) in enumerate(found.rows):
                text = snippets[number] if row.text is not None else await self._in_long(row)
                self._searched += 1
                self._chars += row.chars
                if text is not None:
                    hits.append(_hit(head, row, text))
                if len(hits) == limit or self._chars >= _MAX_CHARS:
                    at_end = found.place is None and number == len(found.rows) - 1
                    here = _Place(head.updated_at, row.position, head.owner, head.id)
                    return self._page(hits, None if at_end else here)
            place = found.place
            if place is None or self._searched >= max_messages:
                return self._page(hits, place)

    def _page(self, hits: list[SearchHit], place: _Place | None) -> SearchPage:
        return SearchPage(hits, self._searched, None if place is None else place.text(self._owner))

    async def _read(self, place: _Place | None, size: int) -> _Found:
        async def work(tx: Transaction, _attempt: int) -> _Found:
            return await self._next(tx, place, size)

        return await self._backend.run(work, write=False)

    async def _next(self, tx: Transaction, place: _Place | None, size: int) -> _Found:
        """The next rows, at most `size`: the rest of the thread that the search is in, then whole threads.

        A thread's count of messages says what fits, so that few statements do and no row is read in vain.
        """
        rows: list[tuple[Head, TextRow]] = []
        if place is not None and (place.position != _DONE or place.key is None):
            current = await tx.head(ThreadRef(place.owner, place.id, None))
            place = place._replace(key=None if current is None else current.key)
            if current is not None and current.id != self._except:
                rows = [(current, row) for row in await tx.texts([current.key], place.position, size)]
                if len(rows) == size:
                    return _Found(rows, place._replace(position=rows[-1][1].position))
        before = None if place is None else (place.at, _MOST if place.key is None else place.key)
        room = size - len(rows)
        heads = await tx.select(Selection(owner=self._owner, before=before, limit=room))
        if rows and heads and self._count(heads[0]) > room:  # it starts a page of its own
            return _Found(rows, place._replace(position=_DONE) if place else None)
        whole = self._fitting(heads, room)
        chosen = whole or heads[:1]
        keys = {head.key: head for head in chosen if head.id != self._except}
        texts = await tx.texts(list(keys), None, room) if keys else []
        order = {key: number for number, key in enumerate(keys)}
        rows += [(keys[row.thread], row) for row in sorted(texts, key=lambda r: (order[r.thread], -r.position))]
        if len(heads) < room and len(whole) == len(heads):
            return _Found(rows, None)
        last = chosen[-1]
        position = rows[-1][1].position if rows and not whole else _DONE
        return _Found(rows, _Place(last.updated_at, position, last.owner, last.id, last.key))

    def _fitting(self, heads: Sequence[Head], room: int) -> list[Head]:
        fitting = []
        for head in heads:
            room -= self._count(head)
            if room < 0:
                break
            fitting.append(head)
        return fitting

    def _count(self, head: Head) -> int:
        return 0 if head.id == self._except else head.message_count

    async def _in_long(self, row: TextRow) -> str | None:
        """The snippet of a text that was left out of its page: alone, so that one is in memory at a time."""
        if not row.chars:
            return None

        async def work(tx: Transaction, _attempt: int) -> list[TextRow]:
            return await tx.texts([row.thread], row.position + 1, 1, max_chars=None)

        whole = await self._backend.run(work, write=False)
        if not whole or whole[0].id != row.id:
            return None  # removed or moved in this moment
        return (await asyncio.to_thread(_snippets, whole, self._words))[0]


def _snippets(rows: Sequence[TextRow], words: Sequence[str]) -> list[str | None]:
    return [snippet(_said(row), words) if row.text else None for row in rows]


def _said(row: TextRow) -> str:
    """As `Message.text`: the text parts of content that is a list."""
    if not row.is_parts:
        return row.text or ""
    parts = json.loads(row.text or "{}").get("parts", ())
    return "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")


def _hit(head: Head, row: TextRow, text: str) -> SearchHit:
    return SearchHit(head.id, head.title, head.owner or None, row.id, row.role, text, row.created_at)
