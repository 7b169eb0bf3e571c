"""Append to one thread as several writers: url, thread id, how many messages each, the writers' names.

Each writer has an object of its own, made in code, and saves after every message.
"""

from __future__ import annotations

import asyncio
import sys

from narrator import Message, Thread, ThreadStore


async def write(store: ThreadStore, thread_id: str, writer: str, count: int) -> None:
    thread = Thread(id=thread_id)
    for number in range(count):
        thread.add_message(Message(id=f"{writer}-{number:04}", role="user", content=f"{number} by {writer}"))
        await store.save_thread(thread)


async def main(url: str, thread_id: str, count: str, *writers: str) -> None:
    async with await ThreadStore.create(url) as store:
        await asyncio.gather(*(write(store, thread_id, writer, int(count)) for writer in writers))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
