"""What the hot statements cost among a million messages, and by which index each is found."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta

from benchmarks.harness.case import Case, Setting
from benchmarks.harness.clients import QUESTION
from benchmarks.harness.databases import Database, Statements
from benchmarks.harness.figure import LIMIT, OURS, Figure
from benchmarks.harness.filled import DAYS, SHARED, Size, filled_databases
from benchmarks.harness.plans import Plan, explainer
from benchmarks.harness.samples import Samples
from narrator import Message
from narrator._backend import metadata_digest
from narrator._values import utc_now

PAGE = 50
HALF = timedelta(days=DAYS / 2)
NEWEST = f"ORDER BY t.updated_at DESC, t.key DESC LIMIT {PAGE}"
ROWS = "SELECT m.* FROM narrator_messages m JOIN narrator_threads t ON m.thread = t.key WHERE t.owner ="
Work = Callable[[], Awaitable[object]]


async def measure(setting: Setting) -> list[Figure]:
    """A row for each statement and database; AssertionError if one of ours reads a table from end to end."""
    figures, whole = [], []
    async with filled_databases(setting) as (size, databases):
        times: dict[tuple[str, str], Samples] = defaultdict(Samples)
        # Other threads each round, or all that is measured would be in the first cache.
        for round, n in enumerate(itertools.islice(_numbers(size), 1 + setting.size(30, 1))):
            for database in databases:
                for name, (ours, limit) in (await works(database, size, n)).items():
                    samples = times[database.name, name] if round else Samples()
                    await samples.time(LIMIT, limit())
                    await samples.time(OURS, ours())
        for database in databases:
            plans = await explained(setting, database, size, n)
            for name, plan in plans.items():
                reads = ", ".join(dict.fromkeys(_short(index) for index in plan.indexes))
                samples, what = times[database.name, name], f"{database.name}: {name}"
                figures.append(samples.figure(what, "ms", reads=reads))
                whole += [f"{database.name}: {name} reads {what} from end to end" for what in plan.whole]
    if whole:
        raise AssertionError("; ".join(whole))
    return figures


async def works(database: Database, size: Size, n: int) -> dict[str, tuple[Work, Work]]:
    """By name, what the store does on the n-th thread or its owner, and what the raw driver does instead."""
    store, id, owner = database.store, size.id(n), size.owner(n)
    mine = store.for_owner(owner)
    one, two = ("$1", "$2") if database.name == "PostgreSQL" else ("?", "?")
    thread = await mine.get_thread(id)
    thread.add_message(Message(role="user", content=QUESTION))
    thread.add_message(Message(role="assistant", content=QUESTION))
    held = await mine.get_thread(size.id((n + 1) * size.owners % size.threads + n % size.owners))
    metadata, cutoff = size.metadata(n), utc_now() - HALF
    moment = cutoff if database.name == "PostgreSQL" else int(cutoff.timestamp() * 1_000_000)

    async def turn() -> None:
        async with mine.turn(held):
            pass

    async def twice() -> None:
        await database.insert()
        await database.insert()

    def read() -> Awaitable[object]:
        return database.fetch(f"{ROWS} {one} AND t.id = {two} ORDER BY m.position", owner, id)

    def newest(where: str = "", *values: object) -> Work:
        return lambda: database.fetch(f"SELECT t.* FROM narrator_threads t {where} {NEWEST}", *values)

    def found(entry: str) -> Work:
        # Materialized: PostgreSQL would walk through the newest threads, by several processes, for 50 that match.
        query = f"""WITH found AS MATERIALIZED
                    (SELECT thread FROM narrator_thread_metadata WHERE digest = {one})
                    SELECT t.* FROM narrator_threads t JOIN found ON found.thread = t.key {NEWEST}"""
        return lambda: database.fetch(query, metadata_digest(entry, str(metadata[entry])))

    return {
        "get_thread, by the operator": (lambda: store.get_thread(id), read),
        "get_thread, by its owner": (lambda: mine.get_thread(id), read),
        "save_thread, a turn appended": (lambda: mine.save_thread(thread), database.insert),
        "the turn, taken and given back": (turn, twice),
        "newest 50": (lambda: store.list_threads(limit=PAGE), newest()),
        "newest 50 of an owner": (lambda: mine.list_threads(limit=PAGE), newest(f"WHERE t.owner = {one}", owner)),
        "newest 50, 1 % filter": (
            lambda: store.list_threads(limit=PAGE, metadata={"customer": metadata["customer"]}),
            found("customer"),
        ),
        "newest 50, 0.01 % filter": (
            lambda: store.list_threads(limit=PAGE, metadata={"ticket": metadata["ticket"]}),
            found("ticket"),
        ),
        "50 updated before": (
            lambda: store.list_threads(limit=PAGE, updated_before=cutoff),
            newest(f"WHERE t.updated_at < {one}", moment),
        ),
        "search of an owner's threads": (
            lambda: mine.search("nowhere"),
            lambda: database.fetch(f"{ROWS} {one}", owner),
        ),
    }


async def explained(setting: Setting, database: Database, size: Size, n: int) -> dict[str, Plan]:
    """The plans of the statements that the store sends for each, as it sends them."""
    plans = {}
    async with explainer(setting, database) as explain:
        for name, (ours, _) in (await works(database, size, n)).items():
            with Statements() as sent:
                await ours()
            plans[name] = Plan()
            for statement in sent.seen:
                plan = await explain(statement)
                plans[name].indexes += plan.indexes
                plans[name].whole += plan.whole
    return plans


def _short(index: str) -> str:
    return index.removeprefix("sqlite_autoindex_").removeprefix("narrator_")


def _numbers(size: Size) -> Iterator[int]:
    """Of threads all over the table, none twice before all had their turn."""
    return ((i + 1) * 61_803 % size.threads for i in itertools.count())


CASE = Case(
    "large_statements",
    "A million messages: statements",
    measure,
    "Each sample is of another thread and owner. The limit is the raw driver with the least statement that reads the"
    " same rows, or one plain insert, committed, for a save, and two for a turn. `reads`: the indexes that EXPLAIN"
    " names for the statements that the store sent, without `narrator_` and SQLite's `autoindex`. A statement that"
    " read a table or an index of more than a thousand rows from end to end would have failed the run. A search finds"
    " nothing, so it reads all that the owner has: 1,000 messages.",
    shares=SHARED,
)
