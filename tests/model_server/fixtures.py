"""The pytest fixture that gives a test a model server of its own and leads litellm there."""

from collections.abc import Iterator

import pytest

from .server import ModelServer


@pytest.fixture
def model_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """A running ModelServer; the environment points to it, so that Agents and child processes find it."""
    with ModelServer() as server:
        for name, value in server.env().items():
            monkeypatch.setenv(name, value)
        yield server
