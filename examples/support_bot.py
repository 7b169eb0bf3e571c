"""A customer-support bot: tickets, customers kept apart, files, web tools, and webhooks that may come twice.

python examples/support_bot.py                                       a conversation that is scripted
python examples/support_bot.py report 12345 cust-789 "Cannot log in" [--file log.txt] [--event-id evt-1]
python examples/support_bot.py history 12345 cust-789
python examples/support_bot.py tickets [cust-789]

It keeps its tickets in the database of NARRATOR_DATABASE_URL (PostgreSQL or SQLite), else in an SQLite file in
--folder. Any number of these processes may work on one database at once.
"""

import argparse
import asyncio
import os
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path

from lye import WEB_TOOLS
from tyler import (
    Agent,
    Attachment,
    FileStore,
    Message,
    NarratorError,
    Result,
    Thread,
    ThreadNotFound,
    ThreadStore,
    TylerError,
)
from tyler.model_choice import ModelChoice, choose_model

PURPOSE = "You help customers with problems of our product. Answer in one or two short sentences."


class SupportBot:
    """Answers tickets. A ticket is a thread of its customer; no customer sees another one's."""

    def __init__(self, store: ThreadStore, file_store: FileStore, model: ModelChoice) -> None:
        self.store = store
        self.agent = Agent(
            name="support-agent",
            model_name=model.model_name,
            api_base=model.api_base,
            api_key=model.api_key,
            purpose=PURPOSE,
            tools=[WEB_TOOLS] if model.can_call_tools else [],
            thread_store=store,
            file_store=file_store,
        )

    async def handle_ticket(
        self,
        ticket_id: str,
        customer_id: str,
        issue: str,
        *,
        event_id: str | None = None,
        attachments: Iterable[Attachment] = (),
    ) -> Result:
        """Answer a report. A later one on the same ticket joins the earlier ones.

        `event_id` is the webhook's: delivered again, the event gets the recorded answer (`result.replayed`).
        """
        thread = Thread(
            id=f"ticket-{ticket_id}",
            owner=customer_id,
            metadata={"ticket_id": ticket_id, "customer_id": customer_id, "status": "open"},
        )
        thread.add_message(
            Message(
                id=event_id or uuid.uuid4().hex,
                role="user",
                content=f"Customer {customer_id} reports: {issue}",
                attachments=list(attachments),
            )
        )
        return await self.agent.go(thread)  # has saved it, and `result.thread` holds the earlier reports too

    async def get_ticket_history(self, ticket_id: str, customer_id: str) -> list[Message]:
        """All messages of the customer's ticket; ThreadNotFound when it is not this customer's."""
        thread = await self.store.for_owner(customer_id).get_thread(f"ticket-{ticket_id}")
        return thread.messages

    async def print_tickets(self, customer_id: str | None) -> None:
        """The tickets of one customer, or of all, the latest first."""
        store = self.store.for_owner(customer_id) if customer_id else self.store
        for ticket in await store.list_threads(metadata={"status": "open"}):
            print(f"{ticket.id} of {ticket.owner}: {ticket.message_count} messages, {ticket.updated_at:%Y-%m-%d %H:%M}")


def print_history(messages: Iterable[Message]) -> None:
    for message in messages:
        files = "".join(f" [{attachment.filename}]" for attachment in message.attachments)
        print(f"  {message.role}: {message.text}{files}")


async def demo(bot: SupportBot) -> None:
    """Two customers, a second report, and a webhook that is delivered twice."""
    ticket = uuid.uuid4().hex[:6]  # a new one for each demonstration
    log = Attachment(filename="login.log", content="12:01 login refused: password expired\n", mime_type="text/plain")
    first = await bot.handle_ticket(
        ticket, "cust-789", "Cannot login to my account", event_id="evt-1", attachments=[log]
    )
    print(f"Support: {first.content}\n")
    again = await bot.handle_ticket(
        ticket, "cust-789", "Cannot login to my account", event_id="evt-1", attachments=[log]
    )
    print(f"Delivered again: {'the recorded answer' if again.replayed else 'answered twice!'}\n")
    second = await bot.handle_ticket(ticket, "cust-789", "I chose a new password and it works", event_id="evt-2")
    print(f"Support: {second.content}\n")

    print(f"Ticket {ticket} of cust-789:")
    print_history(await bot.get_ticket_history(ticket, "cust-789"))
    try:
        await bot.get_ticket_history(ticket, "cust-1")
    except ThreadNotFound:
        print("cust-1 cannot see it.\n")
    await bot.print_tickets(None)


async def run(arguments: argparse.Namespace, model: ModelChoice) -> None:
    url = os.environ.get("NARRATOR_DATABASE_URL") or f"sqlite+aiosqlite:///{arguments.folder}/support.db"
    file_store = await FileStore.create(arguments.folder / "support_files")
    async with await ThreadStore.create(url) as store:
        print(f"Model: {model.explanation}\nDatabase: {(await store.status()).url}")
        bot = SupportBot(store, file_store, model)
        if not model.can_call_tools:
            print("Tools: none, for this model cannot call them")
        print()
        match arguments.command:
            case "report":
                files = [Attachment.from_path(path) for path in arguments.file]
                result = await bot.handle_ticket(
                    arguments.ticket,
                    arguments.customer,
                    arguments.issue,
                    event_id=arguments.event_id,
                    attachments=files,
                )
                print(f"Support: {result.content}{' (recorded before)' if result.replayed else ''}")
            case "history":
                print_history(await bot.get_ticket_history(arguments.ticket, arguments.customer))
            case "tickets":
                await bot.print_tickets(arguments.customer)
            case _:
                await demo(bot)


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A customer-support bot. Without a command: a scripted conversation.")
    default = Path(os.environ.get("DEMO_FOLDER", ".demo"))
    parser.add_argument("--folder", type=Path, default=default, help="where it keeps files (default: %(default)s)")
    commands = parser.add_subparsers(dest="command")
    report = commands.add_parser("report", help="answer a customer's report")
    report.add_argument("ticket")
    report.add_argument("customer")
    report.add_argument("issue")
    report.add_argument("--file", type=Path, action="append", default=[], help="attach this file")
    report.add_argument("--event-id", help="the webhook's event: given twice, it is answered once")
    history = commands.add_parser("history", help="show a customer's ticket")
    history.add_argument("ticket")
    history.add_argument("customer")
    tickets = commands.add_parser("tickets", help="list tickets")
    tickets.add_argument("customer", nargs="?", help="only this customer's")
    return parser.parse_args(words)


if __name__ == "__main__":
    parsed = parse(sys.argv[1:])
    parsed.folder.mkdir(parents=True, exist_ok=True)
    try:
        with choose_model().ready() as ready:
            asyncio.run(run(parsed, ready))
    except (NarratorError, TylerError, OSError) as error:
        sys.exit(f"support_bot: {error}")
