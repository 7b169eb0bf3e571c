"""The switches that keep tests from asking real models. What they do is in `tyler._forbidden_calls`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

from tyler._forbidden_calls import Rule


def forbid_model_calls(*, allow: Iterable[str] = ()) -> AbstractContextManager[object]:
    """Inside `with forbid_model_calls():` whoever asks a real model gets ModelCallForbidden, before any request.

    Holds for all threads and event loops of the process, not for processes that it starts: they read the
    environment, where TYLER_FORBID_MODEL_CALLS=1 says the same. `allow`: litellm's names of models that may be asked.
    """
    return Rule(allow, others=False)


def allow_model_calls(*names: str) -> AbstractContextManager[object]:
    """Inside `with allow_model_calls("gpt-4o"):` these models may be asked, or all if none is named.

    For the one test that needs a real model, whatever the environment and the switches around it say.
    """
    return Rule(names, others=None if names else True)
