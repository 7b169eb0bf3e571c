"""Player: lets an agent answer recorded exchanges, one `go` each, and compares what comes with what is recorded."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from narrator import FileStore, Message, NarratorError, Thread
from tyler._setup import RunOptions
from tyler._steps import FAILED
from tyler.agent import Agent
from tyler.approval import Approval
from tyler.errors import TylerError
from tyler.model import Reply, Request, estimated_tokens
from tyler.testing._lines import spoken
from tyler.testing._played import NO_TOOL, Desk, PlayedTool
from tyler.testing._record import Exchange, RecordedCall, RecordedStep
from tyler.testing._report import Difference, Kind, ReplayStep
from tyler.testing._scripted import last_message
from tyler.testing._shown import shown
from tyler.tools import ToolResult

_SHOWN_CHARS = 160
Outcome = tuple[str, bool, list[tuple[str, str]]]


class _RecordOver(BaseException):
    """The model is asked, and nothing more is recorded. No Exception: nobody takes it for a failure of the model."""


class RecordedModel:
    """Says what is recorded of the exchange that is played."""

    name = "replay"

    def __init__(self, desk: Desk, gone: set[str]) -> None:
        self._desk = desk
        self._gone = gone  # tools that the agent has no more; it offers the PlayedTool that gives their results
        self.requests: list[Request] = []
        self.begin([])

    def begin(self, steps: Sequence[RecordedStep]) -> None:
        """Say these from now on."""
        self.steps = steps
        self.offered: list[set[str]] = []  # the names of the tools in the request for each step that was said
        self.one_too_many: Request | None = None
        self._desk.changed.clear()

    async def takes_images(self) -> bool:
        """No: what a model would see of them is not compared."""
        return False

    async def count_tokens(self, messages: Sequence[dict[str, Any]]) -> int:
        """An estimate."""
        return estimated_tokens(messages)

    async def stream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """The next recorded message."""
        tools = [tool for tool in request.tools if tool["function"]["name"] not in self._gone]
        request = replace(request, tools=tools)
        place = len(self.offered)
        if place == len(self.steps):
            self.one_too_many = request
            raise _RecordOver
        self.requests.append(request)
        self.offered.append({tool["function"]["name"] for tool in tools})
        self._desk.step, self._desk.calls = place, {call.call.id: call for call in self.steps[place].calls}
        async for piece in spoken(self.steps[place].reply, request):
            yield piece

    async def close(self) -> None:
        """Nothing is held."""


@dataclass
class _Ended:
    """How the runs over one exchange ended: a Result's status, "record over", or an error."""

    status: str = "record over"
    error: Exception | None = None


class Player:
    """One agent over one record, exchange by exchange."""

    def __init__(self, agent: Agent, exchanges: Iterable[Exchange], run_tools: set[str], files: FileStore) -> None:
        called = {call.call.name for e in exchanges for step in e.steps for call in step.calls}
        self._gone = called - agent.tools_by_name.keys()
        self._desk = Desk(files)
        self.model = RecordedModel(self._desk, self._gone)
        self._agent = copy.copy(agent)
        self._agent.model = self.model
        self._agent.thread_store = self._agent.file_store = None
        self._agent.context = None  # a summary would be a request to a model that is not in the record
        self._agent.tools_by_name = {
            name: PlayedTool(name, tool, self._desk, real=name in run_tools)
            for name, tool in [*agent.tools_by_name.items(), *((name, None) for name in sorted(self._gone))]
        }
        # Who decided then is in the record: a denied call has its result there.
        self._agent.approval = Approval("auto", self._agent.tools_by_name)

    async def play(self, number: int, exchange: Exchange, thread: Thread, options: RunOptions) -> list[ReplayStep]:
        """Answer the inputs at the end of the thread; what happened, step by step."""
        start = len(thread.messages)
        self.model.begin(exchange.steps)
        ended = await self._run(thread, options) if exchange.steps else _Ended()
        seen = [ReplayStep(number, message.role, _said(message)) for message in exchange.inputs]
        outcomes = _outcomes(thread.messages[start:])
        for place, step in enumerate(exchange.steps[: len(self.model.offered)]):
            seen.append(ReplayStep(number, "model", _said(step.message)))
            results = outcomes[place] if place < len(outcomes) else {}
            seen += [self._compared(number, place, call, results.get(call.call.id)) for call in step.calls]
        seen += [ReplayStep(number, "note", note) for note in exchange.notes]
        if exchange.inputs and not (exchange.steps or exchange.behind):
            seen.append(ReplayStep(number, "note", "not answered in the record, and not replayed"))
        if problem := self._end(number, exchange, ended):
            seen.append(ReplayStep(number, "end", problem.what, [problem]))
        return seen

    async def _run(self, thread: Thread, options: RunOptions) -> _Ended:
        """`go`, and again where the record shows that somebody called it again."""
        while True:
            said = len(self.model.offered)
            try:
                status = (await self._agent.go(thread, **options)).status
            except _RecordOver:
                return _Ended()
            except (TylerError, NarratorError) as error:
                return _Ended(error=error)
            # Then too a run ended here, by failures that repeat or by calls that it closed; more can only be there
            # since another one went on.
            stopped_then = status == "repeated_failure" or any(not call.ended for call in self._desk.calls.values())
            if not (stopped_then and said < len(self.model.offered) < len(self.model.steps)):
                return _Ended(status)

    def _compared(self, number: int, place: int, call: RecordedCall, outcome: Outcome | None) -> ReplayStep:
        name, found = call.call.name, list[Difference]()
        what = shown(f"{name}({call.call.arguments})", _SHOWN_CHARS)
        changed = self._desk.changed.get((place, call.call.id))
        if changed is not None:
            kind: Kind = "tool" if NO_TOOL in changed else "arguments"
            found.append(Difference(kind, number, f"{what} would be treated otherwise", *changed))
        elif name in self._agent.tools_by_name.keys() - self._gone - self.model.offered[place]:
            told = f"{what} is called, and the request does not offer {shown(repr(name), _SHOWN_CHARS)}"
            found.append(Difference("definition", number, told))
        recorded = _outcome_of(call.result)
        if outcome is not None and outcome != recorded:
            told = f"the result of {what} is another one"
            found.append(Difference("result", number, told, _as_text(recorded), _as_text(outcome)))
        result = shown(_as_text(outcome or recorded), _SHOWN_CHARS)
        return ReplayStep(number, "call", f"{what} -> {result}", found)

    def _end(self, number: int, exchange: Exchange, ended: _Ended) -> Difference | None:
        """What is wrong with how the exchange ended."""
        said, recorded = len(self.model.offered), len(exchange.steps)
        if ended.error is not None:
            told = f"after {said} of {recorded} requests the run failed: {type(ended.error).__name__}: {ended.error}"
            return Difference("error", number, shown(told, 3 * _SHOWN_CHARS))
        if self.model.one_too_many is not None and exchange.answered:
            told = f"the model is asked once more, behind {last_message(self.model.one_too_many)}"
            return Difference("extra_request", number, told)
        if said < recorded:
            told = f"the run ended with the status {ended.status!r} after {said} of {recorded} requests"
            return Difference("missing_request", number, told)
        return None


def _outcomes(added: Sequence[Message]) -> list[dict[str, Outcome]]:
    """The results that runs added, for each message of the model, by call id."""
    outcomes: list[dict[str, Outcome]] = []
    for message in added:
        if message.role == "assistant":
            outcomes.append({})
        elif message.role == "tool" and outcomes:
            result = ToolResult(message.text, list(message.attachments), bool(message.metadata.get(FAILED)))
            outcomes[-1].setdefault(message.tool_call_id or "", _outcome_of(result))
    return outcomes


def _outcome_of(result: ToolResult) -> Outcome:
    return result.content, result.failed, [(file.filename, file.file_id) for file in result.attachments]


def _as_text(outcome: Outcome) -> str:
    text, failed, files = outcome
    attached = "".join(f"\n[file {name}, sha256 {file_id[:12]}]" for name, file_id in files)
    return f"{'(failed) ' if failed else ''}{text}{attached}"


def _said(message: Message) -> str:
    files = "".join(f" [file {attachment.filename}]" for attachment in message.attachments)
    called = "".join(f" [calls {call.name}]" for call in message.tool_calls)
    return shown(f"{message.text}{files}{called}".strip(), _SHOWN_CHARS)
