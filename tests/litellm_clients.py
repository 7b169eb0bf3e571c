"""The pytest fixture for tests that go through litellm: its cached connections are closed in the test's loop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tyler._litellm import LitellmModel, _litellm


@pytest.fixture
async def litellm_clients() -> AsyncIterator[None]:
    await _litellm("any")  # as the first call of an agent imports it, but before anything is timed
    yield
    await LitellmModel("any").close()
