"""Whether real models may be asked. Of the whole process, for a test's code runs in threads and event loops of its own.

The switches are public in `tyler.testing`; each request of a LitellmModel looks here before litellm is imported.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from tyler.errors import ModelCallForbidden

VARIABLE = "TYLER_FORBID_MODEL_CALLS"
_OFF = ("", "0", "false", "no", "off")
_lock = threading.Lock()


class Rule:
    """In force inside its `with`, in all threads of the process; the one entered last decides.

    `names` may be asked. `others`: whether other models may; None leaves that to the rules around it.
    """

    def __init__(self, names: Iterable[str], others: bool | None) -> None:
        if isinstance(names, str):
            raise TypeError(f"allow={names!r} is text; pass a list of model names, as in allow=[{names!r}]")
        self._names = frozenset(names)
        self._others = others

    def __enter__(self) -> Self:
        with _lock:
            _in_force.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _lock:  # not the last one always: the rules of several threads end in any order
            _in_force.remove(self)

    def allows(self, model: str) -> bool | None:
        """Whether the model may be asked; None where this rule does not say."""
        return True if model in self._names else self._others


_in_force: list[Rule] = []


def refuse_if_forbidden(model: str) -> None:
    """Raise ModelCallForbidden, unless the rules in force, then the environment, allow this model."""
    with _lock:
        said = [rule.allows(model) for rule in reversed(_in_force)]
    by_environment = os.environ.get(VARIABLE, "").strip().lower() in _OFF
    if not next((answer for answer in said if answer is not None), by_environment):
        raise ModelCallForbidden(
            f"model {model!r} was asked where real models are forbidden (forbid_model_calls or {VARIABLE}); give the "
            f"agent a ScriptedModel, or allow it: forbid_model_calls(allow=[{model!r}]), allow_model_calls({model!r})"
        )
