"""Log records that say whose they are: as fields for a formatter, and in one form at the end of the text.

No handler is set up here, and no record holds content: that is the business of who logs (promise P16).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping


def log(
    logger: logging.Logger,
    level: int,
    ids: Mapping[str, object],
    text: str,
    *args: object,
    stacklevel: int = 2,
    **fields: object,
) -> None:
    """Log the text with `ids` behind it, `... [run_id='5f0c' thread_id='t' step=2]`; they and `fields` as extra."""
    if logger.isEnabledFor(level):
        # repr: an id may have spaces and quotes in it, and a reader must see where it ends.
        shown = " ".join(f"{name}={value!r}" for name, value in ids.items())
        logger.log(level, f"{text} [%s]", *args, shown, extra={**fields, **ids}, stacklevel=stacklevel)
