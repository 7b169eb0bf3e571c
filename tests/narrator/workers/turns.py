"""Take a thread's turn. What to do with it: url, thread id, then `many <lock file> <rounds>` or `hold <lease in s>`."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta

from narrator import LeaseLost, Message, ThreadStore


async def many(store: ThreadStore, thread_id: str, lock_file: str, rounds: str) -> None:
    """Take it again and again; the lock file would show a second holder."""
    for number in range(int(rounds)):
        async with store.turn(await store.get_thread(thread_id), wait_s=60) as turn:
            os.close(os.open(lock_file, os.O_CREAT | os.O_EXCL))
            message = Message(id=f"{os.getpid()}-{number}", role="assistant", content="mine")
            await turn.append(message, behind=turn.thread.messages[-1].id)
            os.unlink(lock_file)


async def hold(store: ThreadStore, thread_id: str, lease_s: str) -> None:
    """Take it, say so, and try to write when a line comes in."""
    async with store.turn(await store.get_thread(thread_id), lease=timedelta(seconds=float(lease_s))) as turn:
        print("taken", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        try:
            await turn.append(Message(id="too late", role="assistant", content="x"), behind="first")
        except LeaseLost as error:
            print(f"LeaseLost: {error}", flush=True)
        else:
            print("written", flush=True)


async def main(url: str, thread_id: str, action: str, *arguments: str) -> None:
    async with await ThreadStore.create(url) as store:
        await {"many": many, "hold": hold}[action](store, thread_id, *arguments)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
