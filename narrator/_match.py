"""When a text matches a query, and what is shown of it: one rule for every backend, and so no database's own."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from narrator._values import clean_text

MAX_QUERY_CHARS = 200
MAX_QUERY_WORDS = 20
_CHARS_BEFORE = 60
_SNIPPET_CHARS = 200


def words_of(query: str) -> list[str]:
    """The query's words, folded. ValueError for one without words, or with too many of them to look for."""
    if len(query) > MAX_QUERY_CHARS:
        raise ValueError(
            f"the query {query[:40]!r}... has {len(query):,} characters; at most {MAX_QUERY_CHARS} are allowed"
        )
    words = list(dict.fromkeys(clean_text(query).casefold().split()))
    if not words:
        raise ValueError(f"the query is {query!r}; give it a word or more to look for")
    if len(words) > MAX_QUERY_WORDS:
        raise ValueError(f"the query has {len(words)} words; look for at most {MAX_QUERY_WORDS} at once")
    return words


def snippet(text: str, words: Sequence[str]) -> str | None:
    """One line around the first of the words; None unless the text has all of them, in whatever case."""
    folded = text.casefold()
    places = [folded.find(word) for word in words]
    if -1 in places:
        return None
    start = max(_unfolded(text, folded, min(places)) - _CHARS_BEFORE, 0)
    cut = text[start : start + _SNIPPET_CHARS]
    before, behind = "..." if start else "", "..." if start + len(cut) < len(text) else ""
    return f"{before}{' '.join(cut.split())}{behind}"


def _unfolded(text: str, folded: str, place: int) -> int:
    """Where in the text a place of the folded one is: folding makes some letters two or three ("ß" is "ss")."""
    if len(folded) == len(text):
        return place
    return bisect_right(range(len(text) + 1), place, key=lambda count: len(text[:count].casefold())) - 1
