"""Session: the conversation that is open, and what can be done to it apart from talking."""

from __future__ import annotations

from narrator import ConfigurationError, Message, Thread, ThreadConflict, ThreadNotFound, ThreadStore, Usage
from narrator._values import check_id
from narrator.message import new_id, total_usage
from narrator.thread import ThreadSummary

DEFAULT_THREAD = "chat"
MOST_LISTED = 20
MOST_TITLE_CHARS = 60
UNDO_WAIT_S = 1.0


class Session:
    """One open thread of a store. Methods raise what the store raises, and leave the session usable then."""

    def __init__(self, store: ThreadStore) -> None:
        self.store = store
        self.thread = Thread(id=DEFAULT_THREAD)
        self._listed: list[str] = []

    async def open(self, thread_id: str) -> None:
        """The stored thread, or a new one of this id. ConfigurationError for text that cannot be an id."""
        fresh = _fresh(thread_id)
        try:
            self.thread = await self.store.get_thread(thread_id)
        except ThreadNotFound:
            self.thread = fresh

    async def open_last(self) -> None:
        """The thread that was last written to."""
        last = await self.store.list_threads(limit=1)
        await self.open(last[0].id if last else DEFAULT_THREAD)

    async def begin(self, thread_id: str | None) -> bool:
        """A new thread, of an id of its own unless given; False, and nothing is changed, if this one is stored.

        Raises ConfigurationError for text that cannot be an id.
        """
        thread = _fresh(thread_id or f"chat-{new_id()[:8]}")
        try:
            await self.store.get_thread(thread.id)
        except ThreadNotFound:
            self.thread = thread
            return True
        return False

    async def switch(self, wanted: str) -> None:
        """To the thread of this number in the last listing, or of this id. Raises ThreadNotFound."""
        number = int(wanted) if wanted.isdecimal() and len(wanted) < 4 else 0
        thread_id = self._listed[number - 1] if 0 < number <= len(self._listed) else wanted
        self.thread = await self.store.get_thread(thread_id)

    async def newest(self) -> list[tuple[ThreadSummary, str]]:
        """The threads last written to, each with its title or its first words."""
        summaries = await self.store.list_threads(limit=MOST_LISTED)
        self._listed = [summary.id for summary in summaries]
        return [(summary, summary.title or await self._first_words(summary)) for summary in summaries]

    def add(self, text: str) -> None:
        """Put a message of the user's into the thread, which is named after the first one; stored by the next run."""
        self.thread.add_message(Message(role="user", content=text))
        if not self.thread.title:
            self.thread.title = _title(self.thread.messages)

    def last_exchange(self) -> list[Message]:
        """The user's last message and everything behind it."""
        messages = self.thread.messages
        place = next((i for i in range(len(messages) - 1, -1, -1) if messages[i].role == "user"), len(messages))
        return messages[place:]

    async def undo(self) -> None:
        """Remove the last exchange, from the store too.

        Raises ThreadConflict when somebody else wrote since the thread was loaded, ThreadBusy while a run answers
        it; then nothing was removed.
        """
        exchange = self.last_exchange()
        kept = len(self.thread.messages) - len(exchange)
        if not self.store.has_saved(self.thread, exchange[0]):  # it could not be stored
            del self.thread.messages[kept:]
            return
        stored = await self.store.get_thread(self.thread.id)  # a copy: a failure leaves the open thread as it is
        async with self.store.turn(stored, wait_s=UNDO_WAIT_S):
            if stored.messages != self.thread.messages:
                self.thread = stored
                raise ThreadConflict(
                    f"somebody else wrote to {stored.id!r} meanwhile, so nothing was removed. "
                    "/undo again removes what is the last exchange now"
                )
            del stored.messages[kept:]
            await self.store.save_thread(stored)
        self.thread = stored

    async def reload(self) -> None:
        """The thread as it is stored now; a new one if it was deleted."""
        await self.open(self.thread.id)

    def usage(self) -> tuple[Usage, int, int]:
        """What the thread's messages have used, how many answers say so, and how many there are."""
        answers = [message for message in self.thread.messages if message.role == "assistant"]
        return total_usage(self.thread.messages), sum(m.usage is not None for m in answers), len(answers)

    async def _first_words(self, summary: ThreadSummary) -> str:
        try:
            return _title((await self.store.get_thread(summary.id)).messages) or ""
        except ThreadNotFound:  # deleted meanwhile, or its id is several owners'
            return ""


def _fresh(thread_id: str) -> Thread:
    try:
        return Thread(id=check_id(thread_id, "thread id"))
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _title(messages: list[Message]) -> str | None:
    text = next((message.text for message in messages if message.role == "user" and message.text.strip()), "")
    line = " ".join(text.strip()[: MOST_TITLE_CHARS * 4].splitlines()[:1])
    return (line if len(line) <= MOST_TITLE_CHARS else line[: MOST_TITLE_CHARS - 1] + "…") or None
