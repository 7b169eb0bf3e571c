"""What `go` takes beside the thread."""

import pytest

from tyler import Agent
from tyler.testing import ScriptedModel


async def test_model_and_parameters_of_one_run() -> None:
    usual, other = ScriptedModel(["usual"]), ScriptedModel(["other"])
    agent = Agent(model=usual)
    assert (await agent.go("hi", model=other, model_params={"temperature": 0})).content == "other"
    assert other.requests[0].params == {"temperature": 0}
    assert (await agent.go("hi")).content == "usual"
    assert usual.requests[0].params == {}


async def test_an_unknown_option_is_named() -> None:
    with pytest.raises(TypeError, match="a run has no option 'wait'; it takes wait_s, deps"):
        await Agent(model=ScriptedModel([])).go("hi", wait=3)  # type: ignore[call-arg]
