"""For tests of agents: a model that follows a script, stored conversations as tests, and no real model by mistake."""

from tyler.errors import ModelCallForbidden
from tyler.testing._lines import Delayed, Line, Pieces, calls
from tyler.testing._scripted import ScriptedModel
from tyler.testing._switches import allow_model_calls, forbid_model_calls

__all__ = [
    "Delayed",
    "Line",
    "ModelCallForbidden",
    "Pieces",
    "ScriptedModel",
    "allow_model_calls",
    "calls",
    "forbid_model_calls",
]
