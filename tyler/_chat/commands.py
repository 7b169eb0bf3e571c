"""The commands of a conversation: what begins with a slash and is not for the model."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from narrator import Message, ThreadConflict, ThreadNotFound
from tyler._chat.printable import shortened
from tyler._chat.screen import Screen, described
from tyler._chat.session import Session

MOST_ID_CHARS = 24
MOST_SHOWN_CHARS = 70


@dataclass(frozen=True)
class Command:
    """`run(session, screen, argument)`; `usage` and `purpose` are for /help."""

    usage: str
    purpose: str
    run: Callable[[Session, Screen, str], Awaitable[None]]


async def run_command(session: Session, screen: Screen, line: str) -> bool:
    """Run the command of this line; False when it ends the conversation."""
    name, _, argument = line.partition(" ")
    if name in ("/quit", "/exit"):
        return False
    command = COMMANDS.get(name)
    if command is None:
        close = difflib.get_close_matches(name[:40], [*COMMANDS, "/quit"], n=1)
        hint = f"did you mean {close[0]}?" if close else "/help lists the commands."
        screen.note(f"There is no command {shortened(name, MOST_SHOWN_CHARS)}; {hint} // begins a text with a slash.")
        return True
    await command.run(session, screen, argument.strip())
    return True


async def _threads(session: Session, screen: Screen, _: str) -> None:
    listed = await session.newest()
    if not listed:
        screen.note("No conversation is stored yet.")
    for number, (summary, words) in enumerate(listed, 1):
        here = "*" if summary.id == session.thread.id else " "
        count = f"{summary.message_count} message{'' if summary.message_count == 1 else 's'}"
        when = f"{summary.updated_at.astimezone():%Y-%m-%d %H:%M}"
        shown_id = shortened(summary.id, MOST_ID_CHARS)
        screen.note(f"{number:>3} {here} {shown_id}  {when}  {count}  {shortened(words, MOST_SHOWN_CHARS)}".rstrip())


async def _new(session: Session, screen: Screen, thread_id: str) -> None:
    if await session.begin(thread_id or None):
        screen.note(f"A new conversation, {session.thread.id!r}.")
    else:
        screen.note(f"There is a conversation {thread_id!r} already: /switch {thread_id} goes on with it.")


async def _switch(session: Session, screen: Screen, wanted: str) -> None:
    if not wanted:
        screen.note("Which one? /switch ID, or the number that /threads shows.")
        return
    try:
        await session.switch(wanted)
    except ThreadNotFound:
        screen.note(f"There is no conversation {wanted!r}; /threads lists them, /new ID begins one.")
        return
    title = f" ({shortened(session.thread.title, MOST_SHOWN_CHARS)})" if session.thread.title else ""
    screen.note(f"Now in {session.thread.id!r}{title}: {len(session.thread.messages)} messages.")
    for message in session.last_exchange()[:1]:
        screen.note(f"Last: {_line_of(message)}")


async def _undo(session: Session, screen: Screen, _: str) -> None:
    exchange = session.last_exchange()
    if not exchange:
        screen.note("There is nothing to undo.")
        return
    screen.note("\n".join(["To be removed:", *(f"  {_line_of(message)}" for message in exchange)]))
    try:
        await session.undo()
    except ThreadNotFound:
        await session.reload()
        raise ThreadConflict(f"somebody else has deleted {session.thread.id!r}; nothing is left to remove") from None
    effects = " What its tools have done is not undone." if any(m.role == "tool" for m in exchange) else ""
    screen.note(f"Removed; {len(session.thread.messages)} messages are left.{effects}")


async def _usage(session: Session, screen: Screen, _: str) -> None:
    used, told, answers = session.usage()
    if answers == 0 or told == 0:
        screen.note(f"{answers} answers; tokens unknown, cost unknown.")
        return
    screen.note(
        f"{answers} answers: {used.input_tokens:,} tokens in ({used.cached_tokens:,} of them cached), "
        f"{used.output_tokens:,} out ({used.reasoning_tokens:,} of them reasoning)"
    )
    if told < answers:
        screen.note(f"{answers - told} of the answers do not say what they used: their tokens are unknown.")
    if used.cost_usd is None or told < answers:
        known = [m.usage.cost_usd for m in session.thread.messages if m.usage and m.usage.cost_usd is not None]
        priced = f"; {len(known)} messages whose price is known cost ${sum(known):.4f}" if known else ""
        screen.note(f"cost unknown{priced}")
    else:
        screen.note(f"cost ${used.cost_usd:.4f}")


async def _help(_session: Session, screen: Screen, _: str) -> None:
    rows = [(command.usage, command.purpose) for command in COMMANDS.values()]
    rows += [("/quit", "end; so do Ctrl-D, and Ctrl-C where nothing is typed")]
    rows += [("//text", "a message that begins with a slash"), ("text\\", "the message goes on in the next line")]
    screen.note("\n".join(f"{usage:<16}{purpose}" for usage, purpose in rows))


def _line_of(message: Message) -> str:
    parts = [message.text, *(f"[calls {described(call)}]" for call in message.tool_calls)]
    parts += [f"[file {attachment.filename}]" for attachment in message.attachments]
    speaker = "you" if message.role == "user" else message.role
    return f"{speaker}> {shortened(' '.join(part for part in parts if part), MOST_SHOWN_CHARS)}"


COMMANDS: Mapping[str, Command] = {
    "/threads": Command("/threads", "list the conversations, the newest first", _threads),
    "/new": Command("/new [ID]", "begin another conversation", _new),
    "/switch": Command("/switch ID", "go on with another one; its number in the list will do", _switch),
    "/undo": Command("/undo", "remove your last message and all behind it, from the store too", _undo),
    "/usage": Command("/usage", "the tokens and the cost of this conversation", _usage),
    "/help": Command("/help", "this list", _help),
}
