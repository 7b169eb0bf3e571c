"""Tools: plain typed functions that a model may call.

`@tool` and `as_tool` make a Tool, `collect` makes the set an agent works with, `run_tool` runs one call
and turns every outcome into a result. When a call may run, and where its result is kept, is left to
the agent's loop.
"""

from __future__ import annotations

import asyncio
import copy
import difflib
import inspect
import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, overload

from pydantic import ValidationError

from narrator._values import clean_text
from tyler._daemon_thread import in_daemon_thread
from tyler._left_open import LeftOpen
from tyler._raw_schema import RawSchema
from tyler._repeated_key import repeated_key
from tyler._schema import Signature, underlying
from tyler._tool_output import ToolResult, cap_output, drain, to_result
from tyler._touches import Touch, Touches, check_touches, touches_by_risk, touches_of

if TYPE_CHECKING:
    from narrator.file_store import FileStore
    from narrator.thread_store import ThreadStore

__all__ = [
    "Effect",
    "Risk",
    "Tool",
    "ToolArgumentsError",
    "ToolContext",
    "ToolResult",
    "ToolTimeout",
    "Touch",
    "as_tool",
    "cap_output",
    "collect",
    "run_tool",
    "tool",
]

Risk = Literal["read", "write", "external", "exec"]
Effect = Literal["read", "idempotent", "once"]

_MAX_FAILURE_CHARS = 2_000


class Parameters(Protocol):
    """What a tool takes: words and a JSON schema for the model, checked arguments for the call."""

    @property
    def description(self) -> str: ...
    @property
    def json_schema(self) -> dict[str, Any]: ...
    def parse(self, arguments: str, context: object) -> tuple[list[Any], dict[str, Any]]: ...
    def explain(self, error: ValidationError) -> str: ...


class ToolArgumentsError(ValueError):
    """The model's arguments do not fit the tool; the message tells the model how to mend them."""


class ToolTimeout(TimeoutError):
    """The tool did not finish within its `timeout_s`."""


def _nobody(data: object) -> None:
    """Who hears of a call's progress outside a run."""


@dataclass(frozen=True)
class ToolContext:
    """What a tool may know about its call: declare a parameter annotated `ToolContext` to receive it.

    The model neither sees nor sets it. `idempotency_key` is the same when an interrupted call runs again;
    `deps` is whatever the application passed to the run. The stores are the thread's owner's, if it has one.
    `touched`: what the conversation has touched so far, of "private", "untrusted" and "outward".
    """

    thread_id: str
    owner: str | None
    call_id: str
    idempotency_key: str
    file_store: FileStore | None = None
    deps: Any = None
    thread_store: ThreadStore | None = None
    touched: frozenset[Touch] = frozenset()
    on_progress: Callable[[object], None] = field(default=_nobody, repr=False)

    def progress(self, data: object) -> None:
        """Tell who reads the run's events how far the call is: a ToolProgress event. From any thread; not stored."""
        self.on_progress(data)


@dataclass(frozen=True, eq=False)
class Tool:
    """A function with the name, description and JSON schema that a model needs to call it.

    Made by `@tool` or `as_tool`; still callable like the function. `risk` says what a call may touch
    (who must approve it), `effect` whether it may run again after a crash. `timeout_s` cancels an
    async function; a sync one runs in a thread of its own, which nothing can stop: the call ends with
    ToolTimeout and the thread runs on to its end, or to the end of the program. `needs_approval`: whether
    a human has to allow a call, or a function of its arguments that says so; None: where the risk is
    "exec". `touches` is what the guard has to know: whether a call's result is "private" data or
    "untrusted" content, and whether its arguments go "outward"; a function of the arguments may say so;
    None: what the risk says. `declared` stands in for what the function's hints and docstring say, where
    the schema comes from elsewhere (an MCP server).
    """

    function: Callable[..., Any]
    _: KW_ONLY
    name: str
    risk: Risk = "write"
    effect: Effect = "once"
    timeout_s: float | None = None
    needs_approval: bool | Callable[[dict[str, Any]], bool] | None = None
    touches: Touches | None = None
    declared: Parameters | None = field(default=None, repr=False)
    _signature: Parameters = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", self.name):
            raise ValueError(
                f"tool name {self.name!r}: use 1 to 64 of a-z, A-Z, 0-9, _ and -, as in @tool(name='look_up')"
            )
        for value, allowed in ((self.risk, Risk), (self.effect, Effect)):
            if value not in get_args(allowed):
                raise ValueError(f"tool {self.name!r}: {value!r} is not one of {get_args(allowed)}")
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise ValueError(f"tool {self.name!r}: timeout_s={self.timeout_s!r} must be above 0")
        if self.touches is not None and not callable(self.touches):
            check_touches(self.name, self.touches)
        try:
            signature = self.declared or Signature(self.function, ToolContext)
        except TypeError as error:
            raise TypeError(f"{self.name!r} cannot be a tool: {error}") from error
        object.__setattr__(self, "_signature", signature)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def description(self) -> str:
        """The docstring's words before its sections."""
        return self._signature.description

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments, a private copy."""
        return copy.deepcopy(self._signature.json_schema)

    def asks(self, arguments: dict[str, Any]) -> bool:
        """Whether a human has to allow a call with these arguments, unless the agent says otherwise."""
        if callable(self.needs_approval):
            return bool(self.needs_approval(arguments))
        return self.risk == "exec" if self.needs_approval is None else self.needs_approval

    def touched(self, arguments: dict[str, Any]) -> frozenset[Touch]:
        """What a call with these arguments touches, of "private", "untrusted" and "outward"."""
        if self.touches is None:
            return touches_by_risk(self.risk, self.effect)
        return touches_of(self.name, self.touches, arguments)

    def check(self, arguments: str) -> None:
        """ToolArgumentsError unless a call with this JSON text would start."""
        self._parse(arguments, None)

    def definition(self) -> dict[str, Any]:
        """The tool as the chat-completions API describes one; a private copy."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    async def call(self, arguments: str, ctx: ToolContext) -> ToolResult:
        """Check the model's arguments (JSON text), run the function, and turn what it returns into a result.

        Raises ToolArgumentsError before the function starts, ToolTimeout, and whatever the function raises.
        """
        args, kwargs = self._parse(arguments, ctx)
        try:
            async with asyncio.timeout(self.timeout_s) as deadline:
                value = await drain(await _invoke(self.function, args, kwargs))
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise ToolTimeout(
                f"{self.name} was stopped: it did not finish within {self.timeout_s:g} s; "
                "whether it had an effect is unknown"
            ) from error
        return to_result(self.name, value)

    def _parse(self, arguments: str, ctx: ToolContext | None) -> tuple[list[Any], dict[str, Any]]:
        text = clean_text(arguments).strip()
        text = "{}" if text in ("", "null") else text  # what models send to a tool without parameters
        if (key := repeated_key(text)) is not None:  # a human who approves might read the one that is not taken
            raise ToolArgumentsError(f"{self.name} was not run, its arguments have {key[:64]!r} twice. Send each once.")
        try:
            return self._signature.parse(text, ctx)
        except ValidationError as error:
            advice = f"{self.name} was not run, its arguments are wrong. Mend them and call it again:\n"
            text = cap_output(advice + self._signature.explain(error), _MAX_FAILURE_CHARS)
            raise ToolArgumentsError(text) from error


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    risk: Risk = "write",
    effect: Effect = "once",
    timeout_s: float | None = None,
    needs_approval: bool | Callable[[dict[str, Any]], bool] | None = None,
    touches: Touches | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    risk: Risk = "write",
    effect: Effect = "once",
    timeout_s: float | None = None,
    needs_approval: bool | Callable[[dict[str, Any]], bool] | None = None,
    touches: Touches | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a function a Tool: `@tool`, or `@tool(risk="read", effect="read")`.

    The model learns the parameters from the type hints and their meaning from the docstring (Google,
    NumPy or Sphinx style). The name is the function's unless given.
    """

    def decorate(function: Callable[..., Any]) -> Tool:
        if isinstance(function, Tool):
            raise TypeError(f"{function.name!r} is a tool already; change one with dataclasses.replace(...)")
        if isinstance(function, type) or not callable(function):
            raise TypeError(f"{function!r} cannot be a tool; pass a function, bound method or callable object")
        chosen = _name_of(function) if name is None else name
        return Tool(
            function,
            name=chosen,
            risk=risk,
            effect=effect,
            timeout_s=timeout_s,
            needs_approval=needs_approval,
            touches=touches,
        )

    return decorate if function is None else decorate(function)


def as_tool(function: Callable[..., Any]) -> Tool:
    """The Tool itself, or a Tool with the careful defaults (risk "write", effect "once") from a function."""
    return function if isinstance(function, Tool) else tool()(function)


def collect(tools: Iterable[Callable[..., Any] | Sequence[Callable[..., Any]]]) -> dict[str, Tool]:
    """The tools by name, in order; lists among them (`tools=[WEB_TOOLS, mine]`) are opened one level.

    Raises ValueError when two have one name.
    """
    found: dict[str, Tool] = {}
    for entry in tools:
        for item in entry if isinstance(entry, Sequence) else [entry]:
            new = as_tool(item)
            if other := found.get(new.name):
                raise ValueError(
                    f"two tools are named {new.name!r}: {_where(other)} and {_where(new)}; "
                    "rename one with @tool(name=...)"
                )
            found[new.name] = new
    return found


async def run_tool(tools: Mapping[str, Tool], name: str, arguments: str, ctx: ToolContext) -> ToolResult:
    """Run one call of the model; every outcome, an unknown tool or a raising one too, is a result.

    Only a cancellation from outside, KeyboardInterrupt, and LeftOpen (there is no outcome yet) leave it as exceptions.
    """
    if name not in tools:
        return _failure(_unknown_tool(name, tools), "unknown_tool")
    try:
        return await tools[name].call(arguments, ctx)
    except LeftOpen:
        raise
    except (ToolArgumentsError, ToolTimeout) as error:
        return _failure(str(error), type(error).__name__)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return _failure(f"{name} failed: something it waited for was cancelled", "CancelledError")
    except SystemExit as error:  # a tool must not end the program
        return _failure(f"{name} failed: {_describe(error)}", type(error).__qualname__)
    except Exception as error:  # a tool is anybody's code: the one broad except of the project
        return _failure(f"{name} failed: {_describe(error)}", type(error).__qualname__)


async def _invoke(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    if _is_async(function) or _is_async(type(function).__call__):  # the latter for callable objects
        value = function(*args, **kwargs)
    else:
        value = await in_daemon_thread(lambda: function(*args, **kwargs))
    while inspect.isawaitable(value):
        value = await value
    return value


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _name_of(function: Callable[..., Any]) -> str:
    """Its own name; an object's is its class's; a partial's, unless set, that of the function within."""
    name = getattr(function, "__name__", None) or getattr(getattr(function, "func", None), "__name__", None)
    return str(name or type(function).__name__)


def _where(tool: Tool) -> str:
    if isinstance(tool.declared, RawSchema) and tool.declared.origin:
        return tool.declared.origin
    definition = underlying(tool.function)
    return f"{getattr(definition, '__module__', '?')}.{getattr(definition, '__qualname__', tool.name)}"


def _unknown_tool(name: str, tools: Mapping[str, Tool]) -> str:
    close = difflib.get_close_matches(name[:64], tools, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    available = f"The tools are: {', '.join(tools)}." if tools else "There are no tools."
    return f"There is no tool named {name[:64]!r}.{hint} {available}"


def _describe(error: BaseException) -> str:
    """Type and message without traceback; the standard library's formatter survives a failing __str__."""
    text = "".join(traceback.format_exception_only(error)).strip()
    inner = error.exceptions[:5] if isinstance(error, BaseExceptionGroup) else ()
    return "\n- ".join([text, *map(_describe, inner)])


def _failure(text: str, error_type: str) -> ToolResult:
    return ToolResult(cap_output(clean_text(text), _MAX_FAILURE_CHARS), failed=True, error_type=error_type)
