"""For tests of agents: a model that follows a script, stored conversations as tests, and no real model by mistake."""

from tyler.errors import ModelCallForbidden
from tyler.testing._as_test import as_test
from tyler.testing._lines import Delayed, Line, Pieces, calls
from tyler.testing._played import StandIn
from tyler.testing._record import script_of
from tyler.testing._replay import replay
from tyler.testing._report import Difference, ReplayReport, ReplayStep
from tyler.testing._scripted import ScriptedModel
from tyler.testing._switches import allow_model_calls, forbid_model_calls

__all__ = [
    "Delayed",
    "Difference",
    "Line",
    "ModelCallForbidden",
    "Pieces",
    "ReplayReport",
    "ReplayStep",
    "ScriptedModel",
    "StandIn",
    "allow_model_calls",
    "as_test",
    "calls",
    "forbid_model_calls",
    "replay",
    "script_of",
]
