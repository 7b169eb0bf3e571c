"""Tools by import path, "lye:WEB_TOOLS" or "mymodule:my_function", installed or in the current folder."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

from narrator import ConfigurationError
from tyler.tools import Tool, collect


def load_tools(paths: Iterable[str]) -> list[Tool]:
    """The tools of all paths. ConfigurationError for a path that leads to none; a module's own failure is quoted."""
    found = [_load(path) for path in paths]
    try:
        return list(collect(found).values())
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"--tools: {error}") from error


def _load(path: str) -> Callable[..., Any] | Sequence[Callable[..., Any]]:
    module_name, colon, name = path.partition(":")
    if not colon or not module_name or not name:
        raise ConfigurationError(f"--tools {path!r} is no import path; write MODULE:NAME, as in lye:WEB_TOOLS")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # at the end: a file here cannot take an installed module's place
    value: Any = _import(path, module_name)
    for part in name.split("."):
        if not hasattr(value, part):
            where = getattr(sys.modules[module_name], "__file__", None) or "built in"
            raise ConfigurationError(f"--tools {path!r}: module {module_name!r} ({where}) has no {name!r}")
        value = getattr(value, part)
    if not callable(value) and not isinstance(value, Sequence):
        raise ConfigurationError(f"--tools {path!r} is a {type(value).__name__}; name a function or a list of them")
    return value  # type: ignore[no-any-return]


def _import(path: str, module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"--tools {path!r}: there is no module {error.name!r}, installed or in {os.getcwd()!r}"
        ) from error
    except (Exception, SystemExit) as error:  # the module is anybody's code, like a tool
        reason = " ".join("".join(traceback.format_exception_only(error)).split())
        raise ConfigurationError(f"--tools {path!r}: {module_name} cannot be imported: {reason}") from error
