"""Runs a snippet of Python as a REPL would: a program of its own (`python -I -u _snippet.py`), code on stdin.

Prints what the snippet prints, and the value of a last expression; a traceback names the snippet's lines only.
"""

from __future__ import annotations

import ast
import linecache
import os
import sys
import traceback
import types

_NAME = "<snippet>"


def main() -> None:
    """Read the code, run it in a fresh `__main__`, exit with 1 if it raised."""
    code = sys.stdin.buffer.read().decode()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.argv[:] = [""]
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    linecache.cache[_NAME] = (len(code), None, code.splitlines(keepends=True), _NAME)
    try:
        run(code, module.__dict__)
    except SystemExit:
        raise  # it ends the program as it should
    except BaseException as error:  # the snippet's own, whatever it is
        hide_own_frames(error)
        traceback.print_exception(error)
        sys.exit(1)


def run(code: str, namespace: dict[str, object]) -> None:
    """Execute the statements; a last expression is shown by its repr, unless it is None."""
    tree = ast.parse(code, _NAME)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, _NAME, "exec", dont_inherit=True), namespace)  # not this file's __future__
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), _NAME, "eval", dont_inherit=True), namespace)
        if value is not None:
            print(repr(value))


def hide_own_frames(error: BaseException) -> None:
    """Cut this file's frames, and those of the parser, off the traceback, and off those of the errors behind it."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        if (found := todo.pop()) is None or id(found) in seen:
            continue
        seen.add(id(found))
        while found.__traceback__ and found.__traceback__.tb_frame.f_code.co_filename in (__file__, ast.__file__):
            found.__traceback__ = found.__traceback__.tb_next
        todo += [found.__cause__, found.__context__]


if __name__ == "__main__":
    main()
