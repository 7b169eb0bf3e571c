"""Libraries that only some tools need: imported on first use, with one clear line where they are missing."""

from __future__ import annotations

import importlib
import importlib.util
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
        raise _missing(module, extra) from error


def require(module: str, extra: str) -> None:
    """ExtraNeeded as `load` raises it, for a module that another process will import; imports nothing itself."""
    try:
        found = importlib.util.find_spec(module)
    except ValueError:  # None in sys.modules: somebody barred it
        found = None
    if found is None:
        raise _missing(module, extra)


def _missing(module: str, extra: str) -> ExtraNeeded:
    return ExtraNeeded(
        f"{module!r} is not installed, and this tool needs it;"
        f" the developer can install it with: pip install 'tyler-narrator-lye[{extra}]'"
    )
