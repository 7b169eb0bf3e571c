"""Import paths, "package.module:attribute": what a configuration file names instead of containing code.

To import a module is to run it, so who may write the file may run code; nothing here makes that safer.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from tyler._config_node import Place, printable, shown
from tyler.tools import as_tool

IMPORT_PATH = r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*"
_importing = threading.RLock()  # the path is the whole process's; one file at a time puts its folder there
_MAX_REASON_CHARS = 500


def check_import_path(path: str, place: Place) -> str:
    """The path itself; ConfigurationError when it is not of the form "package.module:attribute"."""
    if re.fullmatch(IMPORT_PATH, path):
        return path
    module, _, name = path.rpartition(".")
    dotted = re.fullmatch(r"\w+(\.\w+)+", path)
    meant = f"{module}:{name}" if dotted and name != "py" else "package.module:name, as in lye:WEB_TOOLS"
    raise place.error(f"{shown(path)} is no import path; write {meant}")


def load_object(path: str, place: Place, folder: Path) -> Any:
    """What the path names; modules are looked for where Python finds them, then in `folder`.

    ConfigurationError for a module that is not there or fails, a name that it does not have, and for a module of
    `folder` in whose place Python has one from elsewhere.
    """
    module_name, _, attribute = check_import_path(path, place).partition(":")
    with _importing, _on_path(folder):
        importlib.invalidate_caches()  # the file may have been written a moment ago
        value: Any = _imported(module_name, path, place, folder)
    _check_whose(module_name.partition(".")[0], path, place, folder)
    for name in attribute.split("."):
        try:
            value = getattr(value, name)
        except AttributeError as error:
            close = difflib.get_close_matches(name, [n for n in dir(value) if n[0] != "_"], n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise place.error(f"{path}: {module_name} has no {name!r}{hint}") from error
    return value


def load_tools(path: str, place: Place, folder: Path) -> list[Any]:
    """The tools that the path names: one function or Tool, or a list or tuple of them."""
    value = load_object(path, place, folder)
    if inspect.isfunction(value) and re.search(r"\bTool\b", str(value.__annotations__.get("return"))):
        raise place.error(f"{path} makes tools and is none; call it: {{import: {path}, with: {{}}}}")
    return _as_tools(value, path, place)


def make_tools(path: str, arguments: Mapping[str, Any], place: Place, folder: Path) -> list[Any]:
    """The tools that the function at the path returns when it is called with these keyword arguments."""
    factory = load_object(path, place, folder)
    if not callable(factory):
        raise place.error(f"{path} is {_a(factory)} and cannot be called; take `with` out")
    _check_arguments(factory, path, arguments, place)
    try:
        value = factory(**arguments)
    except (Exception, SystemExit) as error:  # anybody's code, like an imported module
        raise place.error(f"{path} failed: {_reason(error)}") from error
    if inspect.iscoroutine(value):
        value.close()
        raise place.error(f"{path} is async; await it in your program, and pass tools= to from_config")
    return _as_tools(value, f"what {path} returned", place)


def _imported(module_name: str, path: str, place: Place, folder: Path) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise place.error(f"{path}: there is no module {error.name!r}, installed or in {str(folder)!r}") from error
        raise place.error(f"{path}: {module_name} cannot be imported: {_reason(error)}") from error
    except (Exception, SystemExit) as error:  # a module is anybody's code, like a tool
        raise place.error(f"{path}: {module_name} cannot be imported: {_reason(error)}") from error


def _check_whose(top: str, path: str, place: Place, folder: Path) -> None:
    """Two folders may each have a tools.py, and Python knows modules by name: the wrong one must not go unnoticed."""
    own = next((p for p in (folder / f"{top}.py", folder / top / "__init__.py") if p.is_file()), None)
    found = getattr(sys.modules.get(top), "__file__", None)
    if own is not None and (found is None or Path(found).resolve() != own.resolve()):
        raise place.error(
            f"{path}: {str(own)!r} is not what Python has under the name {top!r}, that is "
            f"{found or 'built in'!r}; rename one of the two"
        )


def _check_arguments(factory: Callable[..., Any], path: str, arguments: Mapping[str, Any], place: Place) -> None:
    try:
        signature = inspect.signature(factory)
    except ValueError:  # some built-in functions do not tell theirs
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise place.error(f"{path} cannot be called so: {error}; it is {path}{_shortened(str(signature))}") from error


def _as_tools(value: Any, what: str, place: Place) -> list[Any]:
    items = value if isinstance(value, list | tuple) else [value]
    for item in items:
        if not callable(item):
            raise place.error(f"{what} is {_a(value)}; it must be a function, a Tool, or a list of them")
    try:
        return [as_tool(item) for item in items]
    except (TypeError, ValueError) as error:
        raise place.error(f"{what}: {error}") from error


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """The folder is the last place where modules are looked for, so that a file in it hides no installed one."""
    entry = str(folder)
    if entry in sys.path:
        yield
        return
    sys.path.append(entry)
    try:
        yield
    finally:
        if entry in sys.path:  # the module may have changed the path itself
            sys.path.remove(entry)


def _a(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _reason(error: BaseException) -> str:
    """Type and message in one line; nothing in it can steer a terminal."""
    text = " ".join("".join(traceback.format_exception_only(error)).split())
    return _shortened(printable(text))


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_REASON_CHARS else f"{text[:_MAX_REASON_CHARS]}..."
