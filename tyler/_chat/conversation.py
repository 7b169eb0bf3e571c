"""converse: reads what a person types and shows what an agent answers, until the person leaves.

Input is read outside the event loop, so Ctrl-C there is Python's own; while the loop runs, it cancels the answer.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from narrator import NarratorError, ThreadConflict, ThreadNotFound
from tyler._chat.commands import run_command
from tyler._chat.lines import Lines
from tyler._chat.screen import Screen, show
from tyler._chat.session import Session
from tyler.agent import Agent
from tyler.errors import TylerError
from tyler.events import MessageAdded, TextDelta


def converse(runner: asyncio.Runner, agent: Agent, session: Session, screen: Screen, lines: Lines) -> None:
    """Talk until the input ends or the person leaves. A failure is shown in a line and the conversation goes on."""
    conversation = Conversation(agent, session, screen)
    if session.thread.messages:
        screen.note(f"Welcome back: {len(session.thread.messages)} messages in {session.thread.id!r}.")
    while True:
        try:
            line = lines.read().strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            screen.note("")  # the shell's prompt begins a line
            return
        if not line:
            continue
        try:
            if not runner.run(conversation.take(line)):
                return
        except KeyboardInterrupt:
            screen.note(conversation.stopped())


class Conversation:
    """What is done with a line."""

    def __init__(self, agent: Agent, session: Session, screen: Screen) -> None:
        self._agent = agent
        self._session = session
        self._screen = screen
        self._written = False

    async def take(self, line: str) -> bool:
        """Run a command or answer a message; False when the conversation ends."""
        self._written = False
        try:
            if line.startswith("/") and not line.startswith("//"):
                return await run_command(self._session, self._screen, line)
            self._session.add(line.removeprefix("/") if line.startswith("//") else line)
            await self._answer()
        except (ThreadConflict, ThreadNotFound) as error:
            self._screen.error(str(error))
            await self._reload()
        except (NarratorError, TylerError) as error:
            self._screen.error(str(error))
        return True

    def stopped(self) -> str:
        """What to say of an answer that was stopped."""
        return "(stopped; what was written is kept)" if self._written else "(stopped; nothing was written yet)"

    async def _answer(self) -> None:
        self._screen.begin()
        try:
            async with aclosing(self._agent.stream(self._session.thread)) as events:
                async for event in events:
                    self._written |= isinstance(event, TextDelta | MessageAdded)
                    show(self._screen, event)
        finally:
            self._screen.end()

    async def _reload(self) -> None:
        """After a conflict the open thread is not what is stored; with it every further message would fail."""
        try:
            await self._session.reload()
        except NarratorError as error:
            self._screen.error(str(error))
