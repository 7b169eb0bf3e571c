"""Two workers, a retried webhook and a kill -9 leave one correct conversation: watch it happen.

Needs no key and no network: the model is a script, the database a SQLite file in a temporary folder. The workers are
real processes. Each disaster ends with the stored conversation and a verdict; the exit code is 1 if one fails.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from time import monotonic

from narrator import Message, Thread, ThreadStore
from tyler import Agent, tool
from tyler.model import Reply, Request
from tyler.testing import ScriptedModel, calls
from tyler.tools import ToolContext

STARTED = monotonic()
READY, STUCK = "ready", "is in the middle of"
THINKS_S = 0.1
WHOLE_ANSWER = ["user", "assistant", "tool", "tool", "assistant"]


# -- a worker: one process that answers messages ---------------------------------------------------------------------


async def work(folder: Path, thread_id: str, message_ids: list[str], kind: str) -> None:
    """Answer each message. `kind`: "plain" answers without tools, "stuck" never leaves its tools."""

    @tool(effect="once")
    async def charge_card(ctx: ToolContext) -> str:
        """Charge the customer's card."""
        append(folder / "charges", ctx.idempotency_key)
        return await finished_or_stuck("charge_card", "charged 20 EUR")

    @tool(effect="read")
    async def look_up(ctx: ToolContext) -> str:
        """Look the order up."""
        append(folder / "lookups", ctx.idempotency_key)
        return await finished_or_stuck("look_up", "order 7 is paid on delivery")

    async def finished_or_stuck(name: str, result: str) -> str:
        if kind == "stuck":
            say(f"{STUCK} {name}")
            await asyncio.Event().wait()
        return result

    def decide(request: Request) -> str | Reply:
        """The model: first two calls at once, then an answer that names the message."""
        append(folder / "model_calls", thread_id)
        last = max(i for i, message in enumerate(request.messages) if message["role"] == "user")
        results = request.messages[last + 1 :]
        if kind != "plain" and not results:
            return calls(("charge_card", {}), ("look_up", {}))
        doubt = " (a person must check whether the card was charged)" if "unknown" in str(results) else ""
        return f"answer to {request.messages[last]['content']}{doubt}"

    async with await ThreadStore.create(f"sqlite:///{folder}/conversations.db") as store:
        model = ScriptedModel([decide] * 100, delay_s=THINKS_S)
        agent = Agent(model=model, tools=[charge_card, look_up], thread_store=store)
        say(READY)
        await asyncio.to_thread(sys.stdin.readline)
        for message_id in message_ids:
            say(f"delivers {message_id}")
            thread = Thread(id=thread_id, messages=[Message(id=message_id, role="user", content=message_id)])
            result = await agent.go(thread)
            say(f"has {result.content!r}" + (", recorded before: the model was not asked" if result.replayed else ""))


def say(line: str) -> None:
    """One line for the parent's timeline."""
    print(line, flush=True)


def append(path: Path, line: str) -> None:
    """What a process does to the outside world stays done when it is killed."""
    with path.open("a") as file:
        file.write(line + "\n")


# -- the parent: starts workers, does the damage, judges the result --------------------------------------------------


class Worker:
    """A process of this very program, its lines shown on the timeline as they come."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, folder: Path, thread_id: str, message_ids: list[str], kind: str = "tools") -> Worker:
        """A worker that is ready to deliver when told to."""
        command = [sys.executable, __file__, "worker", str(folder), thread_id, ",".join(message_ids), kind]
        worker = cls(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE))
        await worker.until(READY)
        return worker

    def go(self) -> None:
        """Let it deliver."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    async def until(self, wanted: str = "", times: int = 1) -> list[str]:
        """Show its lines until so many have begun like this; to its end without one. The lines."""
        assert self._process.stdout is not None
        lines: list[str] = []
        while not wanted or sum(line.startswith(wanted) for line in lines) < times:
            line = (await self._process.stdout.readline()).decode().strip()
            if not line:
                break
            lines.append(line)
            self.show(line)
        return lines

    def show(self, line: str) -> None:
        """A line on the timeline."""
        print(f"  {monotonic() - STARTED:6.2f} s  process {self._process.pid:<7} {line}", flush=True)

    async def kill(self) -> None:
        """kill -9: no cleaning up, no goodbye."""
        self.show("KILL -9")
        self._process.kill()
        await self._process.wait()


async def two_workers(folder: Path) -> dict[str, bool]:
    """Two processes answer three messages each on one thread, at the same time."""
    inputs = {name: [f"{name}{number}" for number in (1, 2, 3)] for name in ("A", "B")}
    workers = await asyncio.gather(*(Worker.start(folder, "shared", ids) for ids in inputs.values()))
    for worker in workers:
        worker.go()
    await asyncio.gather(*(worker.until() for worker in workers))
    messages = await conversation(folder, "shared")
    groups = [messages[place : place + 5] for place in range(0, len(messages), 5)]
    return {
        "every message is answered, and only once": sorted(g[0].id for g in groups) == sorted(inputs["A"] + inputs["B"])
        and all(group[-1].text == f"answer to {group[0].id}" for group in groups),
        "no call is torn from its results": all([m.role for m in group] == WHOLE_ANSWER for group in groups),
        "each worker's order is kept": all(
            [g[0].id for g in groups if g[0].id in own] == own for own in inputs.values()
        ),
    }


async def retried_webhook(folder: Path) -> dict[str, bool]:
    """One event arrives at three processes at the same moment, and again at a new one."""
    workers = await asyncio.gather(*(Worker.start(folder, "customer", ["evt_1"], "plain") for _ in range(3)))
    for worker in workers:
        worker.go()
    said = await asyncio.gather(*(worker.until() for worker in workers))
    late = await Worker.start(folder, "customer", ["evt_1"], "plain")
    late.go()
    said.append(await late.until())
    messages = await conversation(folder, "customer")
    return {
        "the model was asked once": lines_of(folder / "model_calls").count("customer") == 1,
        "all four deliveries have the same answer": all("answer to evt_1" in lines[-1] for lines in said),
        "the event stands in the thread once": [m.role for m in messages] == ["user", "assistant"],
    }


async def kill_in_mid_tool(folder: Path) -> dict[str, bool]:
    """A process is killed after its tool charged a card and before it could say so; another one goes on."""
    before = len(lines_of(folder / "charges"))
    victim = await Worker.start(folder, "order-7", ["buy"], "stuck")
    victim.go()
    await victim.until(STUCK, times=2)
    await victim.kill()
    killed = monotonic()
    heir = await Worker.start(folder, "order-7", ["buy", "thanks"])
    heir.go()
    await heir.until()
    messages = await conversation(folder, "order-7")
    looked_up = [key for key in lines_of(folder / "lookups") if key.startswith("order-7/")]
    charged = [key for key in lines_of(folder / "charges")[before:] if messages[1].id in key]
    return {
        "the card was charged once": len(charged) == 1,
        "the model knows that the outcome is unknown": "unknown" in messages[2].text,
        "the look-up ran again under the same key": len(looked_up) == 3 and looked_up[0] == looked_up[1],
        "the answer and one more turn are there": [m.role for m in messages] == WHOLE_ANSWER * 2,
        "nobody waited for the dead process's lease of 30 s": monotonic() - killed < 20,
    }


async def conversation(folder: Path, thread_id: str) -> list[Message]:
    """What is stored, shown."""
    async with await ThreadStore.create(f"sqlite:///{folder}/conversations.db") as store:
        messages = (await store.get_thread(thread_id)).messages
    print(f"\n  thread {thread_id!r} as stored:")
    for message in messages:
        names = ", ".join(call.name for call in message.tool_calls)
        print(f"    {message.role:<10} {message.text}{'calls ' + names if names else ''}")
    return messages


def lines_of(path: Path) -> list[str]:
    """The lines that the processes have appended."""
    return path.read_text().splitlines() if path.exists() else []


async def main() -> int:
    """Run the three, one after the other; 0 if all leave a correct conversation."""
    disasters = {
        "1. Two workers on one thread": two_workers,
        "2. A retried webhook": retried_webhook,
        "3. A kill -9 in the middle of a tool": kill_in_mid_tool,
    }
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="three-disasters-") as folder:
        for title, disaster in disasters.items():
            print(f"\n{title}\n  {disaster.__doc__}\n")
            checks = await disaster(Path(folder))
            print()
            for check, holds in checks.items():
                print(f"  {'yes' if holds else 'NO '}  {check}")
            verdicts.append(all(checks.values()))
            print(f"  verdict: {'one correct conversation' if verdicts[-1] else 'FAILED'}")
    survived, took_s = sum(verdicts), monotonic() - STARTED
    print(f"\n{survived} of {len(verdicts)} disasters left one correct conversation, in {took_s:.0f} s")
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        asyncio.run(work(Path(sys.argv[2]), sys.argv[3], sys.argv[4].split(","), sys.argv[5]))
    else:
        sys.exit(asyncio.run(main()))
