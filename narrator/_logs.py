"""Log records that say whose they are: as fields for a formatter, and in one form at the end of the text.

No handler is set up here, and no record holds content: that is the business of who logs (promise P16).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar, Token

_OF_NOBODY: Mapping[str, object] = {}
_whose: ContextVar[Mapping[str, object]] = ContextVar("whose", default=_OF_NOBODY)


def log(
    logger: logging.Logger,
    level: int,
    ids: Mapping[str, object] | None,
    text: str,
    *args: object,
    stacklevel: int = 2,
    **fields: object,
) -> None:
    """Log the text with `ids` behind it, `... [run_id='5f0c' thread_id='t' step=2]`; they and `fields` as extra.

    None: those of `records_of`, if it is inside of one.
    """
    if logger.isEnabledFor(level):
        ids = _whose.get() if ids is None else ids
        # repr: an id may have spaces and quotes in it, and a reader must see where it ends.
        shown = [" ".join(f"{name}={value!r}" for name, value in ids.items())] if ids else []
        text = f"{text} [%s]" if ids else text
        logger.log(level, text, *args, *shown, extra={**fields, **ids}, stacklevel=stacklevel)


class records_of:  # a context manager; a class, for it is entered for each piece of an answer
    """Whose the records of the code inside are. A generator must not yield in there: its reader's would be too."""

    __slots__ = ("_ids", "_token")

    def __init__(self, ids: Mapping[str, object]) -> None:
        self._ids = ids

    def __enter__(self) -> None:
        self._token: Token[Mapping[str, object]] = _whose.set(self._ids)

    def __exit__(self, *_error: object) -> None:
        _whose.reset(self._token)
