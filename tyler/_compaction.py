"""Making room: which messages of a thread a run leaves out of its requests, when there are too many."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from narrator import Message
from tyler._cuts import cuts, pinned
from tyler._litellm import LitellmModel
from tyler._tracing import RunTrace
from tyler._view import View
from tyler.context import ContextWindow, Summary, covered, left_out, summary_of
from tyler.errors import ModelError
from tyler.model import Model


class Compaction:
    """Decides for one run. It changes nothing: what it returns has to be stored in the thread's metadata."""

    def __init__(
        self,
        view: View,
        model: Model,
        definitions: Sequence[dict[str, Any]],
        window: ContextWindow | None,
        trace: RunTrace | None = None,
    ) -> None:
        self._trace = trace
        self._view = view
        self._model = model
        self._definitions = definitions
        self._window = window

    async def needed(self, messages: list[Message], metadata: Mapping[str, Any]) -> Summary | None:
        """What has to stand for the oldest messages so that the window is kept; None: nothing, or nothing can."""
        if self._window is None:
            return None
        most = self._window.max_tokens
        if await self.tokens(messages, metadata) <= most:
            return None
        return await self._shorter(messages, metadata, int(most * self._window.keep))

    async def forced(self, messages: list[Message], metadata: Mapping[str, Any]) -> Summary | None:
        """The same after a provider refused the request as too long: half of what it was; None: nothing can go."""
        return await self._shorter(messages, metadata, await self.tokens(messages, metadata) // 2)

    async def tokens(self, messages: list[Message], metadata: Mapping[str, Any]) -> int:
        """Of the whole request."""
        cut = covered(metadata, messages)
        shown = [*pinned(messages, cut), *messages[cut:]]
        return await self._view.tokens_around(self._definitions, metadata) + sum(
            [await self._view.tokens_of(message) for message in shown]
        )

    async def _shorter(self, messages: list[Message], metadata: Mapping[str, Any], target: int) -> Summary | None:
        """Cut where at most `target` tokens are left, or as far as it goes."""
        start = covered(metadata, messages)
        left = await self.tokens(messages, metadata)
        best, counted = 0, start
        for cut in cuts(messages):
            if cut <= start:
                continue
            kept = {message.id for message in pinned(messages, cut)}
            left -= sum([await self._view.tokens_of(m) for m in messages[counted:cut] if m.id not in kept])
            best, counted = cut, cut
            if left <= target:
                break
        if not best or all(message in pinned(messages, best) for message in messages[start:best]):
            return None
        return await self._summary(messages, metadata, best)

    async def _summary(self, messages: list[Message], metadata: Mapping[str, Any], cut: int) -> Summary:
        summarize = self._window.summarize if self._window else False
        if summarize is False:
            return left_out(metadata, messages, cut)
        named = self._model if summarize is True else summarize
        model = LitellmModel(named) if isinstance(named, str) else named
        try:
            return await summary_of(metadata, messages, cut, model, self._trace.requested if self._trace else None)
        except ModelError as error:  # the question can be answered without; the messages stay stored
            if self._trace:
                told = "no summary could be made (%s); old messages are left out without"
                self._trace.log(logging.WARNING, told, type(error).__name__)
            return left_out(metadata, messages, cut)
