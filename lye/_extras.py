"""Libraries that only some tools need: imported on first use, with one clear line where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from lye.errors import ExtraNeeded


def load(module: str, extra: str) -> ModuleType:
    """The module; ExtraNeeded says what to install where its library, part of the extra, is missing.

    The first import of a large library takes seconds: from async code, call it in a thread.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        raise ExtraNeeded(
            f"{module!r} is not installed, and this tool needs it;"
            f" the developer can install it with: pip install 'tyler-narrator-lye[{extra}]'"
        ) from error
