"""Agent: a model, a purpose and tools, and the one loop that answers a thread.

The agent is configuration: no state of a run lives on it, so one agent serves any number of conversations
at once. The loop's steps are in `_run.py`, the rule for the next one in `_steps.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack, overload

from narrator import FileStore, Message, Thread, ThreadStore
from narrator.errors import ConfigurationError
from tyler._litellm import LitellmModel
from tyler._run import Run
from tyler._setup import RunOptions, Setup, checked
from tyler._steps import INPUTS, Done, next_action
from tyler._sync import run_sync
from tyler._tracing import RunTrace
from tyler._unsaved import RunTurn, unsaved_turn
from tyler.approval import Approval, Approve
from tyler.budget import Budget
from tyler.config_file import agent_arguments
from tyler.context import ContextWindow
from tyler.errors import NothingToAnswer
from tyler.events import Event, Finished
from tyler.fallback import FallbackModel, named
from tyler.model import Model
from tyler.output import Output
from tyler.preview import Preview, preview
from tyler.result import OutputT_co, Result, Status
from tyler.tools import collect

DEFAULT_WAIT_S = 60.0
DEFAULT_BUDGET = Budget()


class Agent:
    """Answers threads. Any number of `go`s at once, also on one agent.

    `model_name` is litellm's ("gpt-4o", "anthropic/claude-sonnet-4-5"); `model` any other Model instead, such as
    `tyler.testing.ScriptedModel`. `tools` are plain typed functions, `@tool`s, or lists of them. Without
    `thread_store` nothing is kept but in the Thread object; `file_store` takes the attachments. `model_params`
    go to each request. `fallback_models`, Models or names, are asked in turn where the model cannot answer
    (FallbackModel). `budget`: what each run may use up; 50 model calls unless given. `approve`: which calls need a
    human's approval, and who is asked (see `tyler.approval.Approval`). `guard`: whether calls that go outward are asked
    about once private data and untrusted content have met in the conversation. `context`: how much of a long thread the
    model sees.
    """

    def __init__(
        self,
        name: str = "agent",
        model_name: str | None = None,
        purpose: str = "",
        tools: Iterable[Callable[..., Any] | Sequence[Callable[..., Any]]] = (),
        thread_store: ThreadStore | None = None,
        file_store: FileStore | None = None,
        *,
        model: Model | None = None,
        api_base: str | None = None,
        api_key: str | None = None,
        model_params: Mapping[str, Any] | None = None,
        fallback_models: Iterable[Model | str] = (),
        budget: Budget = DEFAULT_BUDGET,
        approve: Approve | None = None,
        guard: bool = True,
        context: ContextWindow | None = None,
    ) -> None:
        if (model_name is None) == (model is None):
            raise ConfigurationError(f"agent {name!r} needs a model: pass model_name='gpt-4o', or model=, not both")
        self.name = name
        self.purpose = purpose
        self.budget = budget
        self.context = context
        self.tools_by_name = collect(tools)
        self.approval = Approval(approve, self.tools_by_name)
        self.guard = guard
        self.thread_store = thread_store
        self.file_store = file_store
        self.model: Model = model or LitellmModel(
            model_name or "", api_base=api_base, api_key=api_key, params=model_params
        )
        if fallbacks := [named(self.model, m) if isinstance(m, str) else m for m in fallback_models]:
            self.model = FallbackModel([self.model, *fallbacks])
        if thread_store is not None and file_store is not None:
            thread_store.use_files(file_store)

    @classmethod
    def from_config(cls, path: str | Path, **overrides: Any) -> Self:
        """The agent that a file (.yaml, .json, .toml) describes; `overrides` are Agent's parameters, and win.

        The modules of its tools are imported, so a file is as trusted as code. ConfigurationError, with file, line and
        key path, for whatever is wrong. Reads files: call it when the program starts.
        """
        return cls(**agent_arguments(path, overrides))

    async def stream(
        self, thread: Thread | str, *, output: type[Any] | None = None, **options: Unpack[RunOptions]
    ) -> AsyncGenerator[Event, None]:
        """Answer the thread, step by step; the last event is Finished. Every message is stored before its event.

        What is new in `thread` is stored at once; then the run waits up to `wait_s` for the thread's turn, and
        answers. A message whose answer is recorded already gets that answer and no model is called. An
        interrupted run is taken up where it stopped. `output`: a pydantic model (or dataclass, or TypedDict) that the
        answer is to be; one that does not fit goes back to the model, three times at most. The options are
        RunOptions. Raises NothingToAnswer, ThreadBusy, LeaseLost, ModelError, and what `save_thread` raises; what was
        stored stays stored.
        """
        setup_of = partial(self._setup, checked(options), None if output is None else Output(output))
        thread = _as_thread(thread)
        with RunTrace(self.name, options.get("model") or self.model, thread) as trace:
            fresh = await self._store_input(thread)
            async with self._turn(thread, options.get("wait_s", DEFAULT_WAIT_S)) as turn:
                run = Run(turn, fresh or _last_input(thread), setup_of(thread), trace)
                status: Status = "completed"
                while not isinstance(action := next_action(run.part.messages()), Done):
                    if stop := run.stop(action):
                        status = stop
                        break
                    async with aclosing(run.perform(action)) as events:
                        async for event in events:
                            yield event
            result = trace.completed(run.result(status))
        yield Finished(result)

    @overload
    async def go(
        self, thread: Thread | str, *, output: type[OutputT_co], **options: Unpack[RunOptions]
    ) -> Result[OutputT_co]: ...
    @overload
    async def go(self, thread: Thread | str, **options: Unpack[RunOptions]) -> Result[None]: ...
    async def go(
        self, thread: Thread | str, *, output: type[Any] | None = None, **options: Unpack[RunOptions]
    ) -> Result[Any]:
        """Answer the thread (text makes a new one): `stream`, drained. See there for what it stores and raises."""
        async with aclosing(self.stream(thread, output=output, **options)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return event.result
        raise AssertionError("a stream ends with Finished or an exception")

    @overload
    def go_sync(
        self, thread: Thread | str, *, output: type[OutputT_co], **options: Unpack[RunOptions]
    ) -> Result[OutputT_co]: ...
    @overload
    def go_sync(self, thread: Thread | str, **options: Unpack[RunOptions]) -> Result[None]: ...
    def go_sync(
        self, thread: Thread | str, *, output: type[Any] | None = None, **options: Unpack[RunOptions]
    ) -> Result[Any]:
        """`go` for scripts; works inside a running loop (a notebook) too, which it blocks."""
        return run_sync(self.go(thread, output=output, **options))  # type: ignore[arg-type]  # None is the other overload

    async def preview(
        self, thread: Thread | str, *, output: type[Any] | None = None, **options: Unpack[RunOptions]
    ) -> Preview:
        """The request that `go` would begin with, with its tokens; no model is asked and nothing is stored.

        Of the thread as this object has it. Raises NothingToAnswer where there is nothing to send.
        """
        setup = self._setup(checked(options), None if output is None else Output(output), _as_thread(thread))
        return await preview(_as_thread(thread), setup)

    async def close(self) -> None:
        """Give back the model's connections of this event loop. The stores are their owner's to close."""
        await self.model.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, {self.model!r}, tools={list(self.tools_by_name)!r})"

    def _setup(self, options: RunOptions, output: Output[Any] | None, thread: Thread) -> Setup:
        model, store = options.get("model") or self.model, self.thread_store
        return Setup(
            model=named(self.model, model) if isinstance(model, str) else model,
            params=options.get("model_params") or {},
            purpose=self.purpose,
            tools=self.tools_by_name,
            files=self._files(thread),
            store=store.for_owner(thread.owner) if store and thread.owner else store,
            deps=options.get("deps"),
            budget=options.get("budget") or self.budget,
            approval=self.approval,
            guard=self.guard,
            output=output,
            window=self.context,
        )

    def _files(self, thread: Thread) -> FileStore | None:
        """Where this thread's files are: its owner's, if it has one."""
        files = self.thread_store.file_store if self.thread_store else self.file_store
        return files.for_owner(thread.owner) if files and thread.owner else files

    async def _store_input(self, thread: Thread) -> str | None:
        """Store what is new; the id of the last message if it is a new input, else None."""
        if not thread.messages:
            raise NothingToAnswer(f"thread {thread.id!r} is empty; thread.add_message(Message(role='user', ...)) first")
        last = thread.messages[-1]
        if self.thread_store is not None:
            fresh = last.role in INPUTS and not self.thread_store.has_saved(thread, last)
            await self.thread_store.save_thread(thread)
            return last.id if fresh else None
        if (files := self._files(thread)) is not None:
            for attachment in (a for message in thread.messages for a in message.attachments):
                await files.save(attachment)
        return None

    def _turn(self, thread: Thread, wait_s: float) -> AbstractAsyncContextManager[RunTurn]:
        if self.thread_store is None:
            return unsaved_turn(thread, wait_s)
        return self.thread_store.turn(thread, wait_s=wait_s)


def _as_thread(thread: Thread | str) -> Thread:
    if isinstance(thread, Thread):
        return thread
    if not isinstance(thread, str):
        raise TypeError(f"go() takes a Thread or text, not {type(thread).__name__}")
    return Thread(messages=[Message(role="user", content=thread)])


def _last_input(thread: Thread) -> str | None:
    """The last message that was not added by a run."""
    return next((m.id for m in reversed(thread.messages) if m.role in INPUTS), None)
