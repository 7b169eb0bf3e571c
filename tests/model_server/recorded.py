"""What the model server remembers of a request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class Recorded:
    """One chat completion request as it arrived, and what became of it.

    `headers` are case-insensitive. `status` is the HTTP status of the answer, None until it is chosen.
    `finished` turns True as the last bytes of a whole answer are handed over, `hung_up` when the client left
    before that.
    """

    body: dict[str, Any]
    headers: Mapping[str, str]
    violations: list[str] = field(default_factory=list)
    status: int | None = None
    finished: bool = False
    hung_up: bool = False

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The request's messages, as parsed from JSON."""
        messages: list[dict[str, Any]] = self.body["messages"]
        return messages

    def as_json(self) -> dict[str, Any]:
        """What another process is told of this request."""
        return {
            "body": self.body,
            "headers": dict(self.headers),
            "violations": self.violations,
            "status": self.status,
            "finished": self.finished,
            "hung_up": self.hung_up,
        }
