"""What the tests of `_web/fetch.py` share: a fetcher for the local server, and names that resolve as told."""

from __future__ import annotations

from collections.abc import Sequence

from lye._web.fetch import Answer, Fetcher
from lye._web.rules import Rules

LIMIT = 1_000_000
LOCAL = Fetcher(Rules.of(["127.0.0.1"]), timeout_s=10)


class Names:
    """A resolver of the test's own: each look-up of a host takes its next answer, the last one again."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(found) for name, found in answers.items()}
        self.lookups: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.lookups.append(host)
        found = self.answers[host]
        return found.pop(0) if len(found) > 1 else found[0]


async def fetch(fetcher: Fetcher, url: str, max_bytes: int = LIMIT) -> tuple[Answer, bytes]:
    async with fetcher.get(url, max_bytes) as answer:
        return answer, b"".join([piece async for piece in answer.body])
