"""One call of a media tool: its words checked, its time bounded, and what fails at the model as MediaFailed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lye._clean import clean
from lye.errors import MediaFailed
from tyler._media_model import MediaModel
from tyler.errors import ModelError


@asynccontextmanager
async def asking(model: MediaModel, what: str, timeout_s: float, *, costs: bool = False) -> AsyncIterator[None]:
    """The model is ready; then within `timeout_s`, or MediaFailed. A ModelError inside becomes one too.

    `what` could not be done. `costs`: whether a call that was broken off may have to be paid.
    """
    await model.load()
    try:
        async with asyncio.timeout(timeout_s) as deadline:
            yield
    except TimeoutError as error:
        if not deadline.expired():
            raise
        unknown = "; whether it was made, and has to be paid, is unknown" if costs else ""
        raise MediaFailed(f"{what} did not finish within {timeout_s:g} s{unknown}; try something shorter") from error
    except ModelError as error:
        raise MediaFailed(f"{what} failed: {clean(str(error))}") from error


def check_above_zero(**limits: float) -> None:
    """ValueError for a limit that is not a number above 0."""
    for name, value in limits.items():
        if not value > 0:
            raise ValueError(f"{name} is {value!r}; pass a number above 0")


def check_words(text: str, what: str, max_chars: int) -> str:
    """The text without spaces around it; MediaFailed where it is empty or too long to be sent."""
    text = text.strip()
    if not text:
        raise MediaFailed(f"{what} is empty; say it in words")
    if len(text) > max_chars:
        raise MediaFailed(f"{what} has {len(text):,} characters, over the limit of {max_chars:,}; shorten it")
    return text
