"""Making tools, and running the calls of a model: every outcome is one result."""

import asyncio
import contextvars
import dataclasses
import functools
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

import pytest

from narrator.attachment import Attachment
from tyler.tools import Tool, ToolContext, ToolResult, ToolTimeout, as_tool, collect, run_tool, tool

CTX = ToolContext(thread_id="t", owner="ann", call_id="c", idempotency_key="k", file_store=None, deps={"db": 1})


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(name="look_up", risk="read", effect="read", timeout_s=5)
async def find(query: str) -> str:
    """Find something."""
    return f"found {query}"


async def run(function: Any, arguments: str = "{}") -> ToolResult:
    made = as_tool(function)
    return await run_tool({made.name: made}, made.name, arguments, CTX)


def test_a_bare_decorator_gives_careful_defaults() -> None:
    assert (add.name, add.risk, add.effect, add.timeout_s) == ("add", "write", "once", None)
    assert add.description == "Add two numbers."


def test_the_decorators_options_are_kept() -> None:
    assert (find.name, find.risk, find.effect, find.timeout_s) == ("look_up", "read", "read", 5)


async def test_a_decorated_function_can_still_be_called() -> None:
    assert add(1, b=2) == 3
    assert await find("it") == "found it"


def test_a_tool_is_taken_as_it_is() -> None:
    assert as_tool(add) is add
    with pytest.raises(TypeError, match=r"'add' is a tool already; .*replace"):
        tool(add)
    renamed = dataclasses.replace(add, name="plus", risk="read")
    assert (renamed.name, renamed.risk, renamed.definition()["function"]["name"]) == ("plus", "read", "plus")


@pytest.mark.parametrize("name", ["", "two words", "dotted.name", "ü", "x" * 65, "line\n"])
def test_a_name_that_providers_refuse_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="tool name") as caught:
        tool(name=name)(lambda: None)
    assert repr(name) in str(caught.value)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(ValueError, match="'<lambda>'"):
        as_tool(lambda: None)


@pytest.mark.parametrize("options", [{"risk": "none"}, {"effect": "twice"}, {"timeout_s": 0}, {"timeout_s": -1}])
def test_an_option_that_does_not_exist_is_refused_by_value(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tool 'f'") as caught:
        tool(name="f", **options)(lambda: None)
    assert repr(next(iter(options.values()))) in str(caught.value)


@pytest.mark.parametrize("thing", ["add", None, 3, dict, ToolContext])
def test_what_is_no_function_is_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match="cannot be a tool"):
        as_tool(thing)


class Shop:
    def __init__(self, stock: int) -> None:
        self.stock = stock

    def sell(self, count: int) -> int:
        """Sell some."""
        return self.stock - count

    async def close(self) -> str:
        return f"closed with {self.stock}"

    async def __call__(self, word: str) -> str:
        return f"{word} {self.stock}"


async def test_bound_methods_partials_and_callable_objects_are_tools() -> None:
    shop = Shop(5)
    assert (await run(shop.sell, '{"count": 2}')).content == "3"
    assert (await run(shop.close)).content == "closed with 5"
    assert (await run(shop, '{"word": "stock"}')).content == "stock 5"
    assert (await run(functools.partial(shop.sell, 1))).content == "4"
    named = functools.partial(shop.close)
    named.__name__ = "shut"  # type: ignore[attr-defined]
    assert as_tool(named).name == "shut"
    assert (await run(named)).content == "closed with 5"


async def test_functions_wrapped_by_a_decorator_keep_their_parameters() -> None:
    async def inner(word: str) -> str:
        return word

    @functools.wraps(inner)
    def outer(*args: Any, **kwargs: Any) -> Awaitable[str]:
        return inner(*args, **kwargs)

    assert (await run(outer, '{"word": "hi"}')).content == "hi"


async def test_a_sync_tool_runs_in_a_thread_and_keeps_context_variables() -> None:
    user = contextvars.ContextVar("user", default="nobody")
    user.set("ann")

    def who() -> list[Any]:
        return [user.get(), threading.current_thread() is threading.main_thread()]

    assert (await run(who)).content == '["ann",false]'


async def test_an_async_tool_runs_on_the_loop() -> None:
    async def who() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert (await run(who)).content == "true"


async def test_a_returned_awaitable_is_awaited() -> None:
    def later() -> Awaitable[str]:
        return asyncio.sleep(0, "done")

    assert (await run(later)).content == "done"


async def test_generator_tools_are_collected() -> None:
    def lines() -> Iterator[str]:
        yield "a\n"
        yield "b"

    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    assert (await run(lines)).content == "a\nb"
    assert (await run(numbers)).content == "[1,2]"


async def test_the_tool_reads_its_context() -> None:
    def who(ctx: ToolContext) -> dict[str, Any]:
        return {name: value for name, value in vars(ctx).items() if name != "on_progress"}

    assert (await run(who)).content == (
        '{"thread_id":"t","owner":"ann","call_id":"c","idempotency_key":"k","file_store":null,"deps":{"db":1},'
        '"thread_store":null,"touched":[]}'
    )


@pytest.mark.parametrize("arguments", ['{"a": 1, "b": 2, "a": 3}', '{"\\u0061": 1, "a": 3, "b": 2}'])
async def test_an_argument_that_is_there_twice_is_refused(arguments: str) -> None:
    result = await run_tool(collect([add]), "add", arguments, CTX)
    assert result.failed
    assert result.content == "add was not run, its arguments have 'a' twice. Send each once."


async def test_a_result_that_says_how_it_failed_keeps_that() -> None:
    def draw() -> ToolResult:
        return ToolResult("no", failed=True, error_type="OutOfPaper")

    result = await run(draw)
    assert (result.failed, result.error_type) == (True, "OutOfPaper")


async def test_attachments_reach_the_result() -> None:
    def draw() -> tuple[str, Attachment]:
        return "Drawn.", Attachment(filename="a.png", content=b"\x89")

    result = await run(draw)
    assert result.content == "Drawn.\n[file: a.png, image/png, 1 bytes]"
    assert [file.filename for file in result.attachments] == ["a.png"]
    assert not result.failed


async def test_an_unknown_tool_names_the_ones_there_are() -> None:
    result = await run_tool(collect([add, find]), "lookup", "{}", CTX)
    assert result == ToolResult(
        "There is no tool named 'lookup'. Did you mean 'look_up'? The tools are: add, look_up.", failed=True
    )
    assert (await run_tool({}, "x" * 10_000, "{}", CTX)).content.endswith("'. There are no tools.")


async def test_wrong_arguments_are_a_failed_result() -> None:
    result = await run(add, '{"a": "one", "c": 3}')
    assert result.failed
    assert result.content == (
        "add was not run, its arguments are wrong. Mend them and call it again:\n"
        "- a: Input should be a valid integer, unable to parse string as an integer, got 'one'\n"
        '- b: required, but missing; expected {"type": "integer"}\n'
        "- c: unknown; the parameters are: a, b"
    )


class SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


RAISED: list[tuple[BaseException, str]] = [
    (TypeError("bad value"), "fail failed: TypeError: bad value"),
    (ValueError(), "fail failed: ValueError"),
    (KeyError("name"), "fail failed: KeyError: 'name'"),
    (TimeoutError("too slow"), "fail failed: TimeoutError: too slow"),
    (SystemExit(3), "fail failed: SystemExit: 3"),
    (SilentError(), "fail failed: tests.tyler.test_tools.SilentError: <exception str() failed>"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "fail failed: UnicodeDecodeError: "),
    (ValueError("nul \x00 and \ud800"), "fail failed: ValueError: nul � and �"),
    (
        ExceptionGroup("several", [ValueError("one"), ExceptionGroup("inner", [OSError("two")])]),
        "fail failed: ExceptionGroup: several (2 sub-exceptions)\n- ValueError: one\n"
        "- ExceptionGroup: inner (1 sub-exception)\n- OSError: two",
    ),
    (asyncio.CancelledError(), "fail failed: something it waited for was cancelled"),
    (StopIteration("end"), "StopIteration"),
    (StopAsyncIteration("end"), "StopAsyncIteration"),
    (RecursionError("deep"), "fail failed: RecursionError: deep"),
    (ToolTimeout("inner"), "inner"),
]


@pytest.mark.parametrize("kind", ["sync", "async", "generator"])
@pytest.mark.parametrize(("error", "text"), RAISED, ids=lambda value: type(value).__name__)
async def test_a_raising_tool_is_a_failed_result(error: BaseException, text: str, kind: str) -> None:
    def fail() -> None:
        raise error

    async def fail_async() -> None:
        raise error

    def fail_midway() -> Iterator[str]:
        yield "some"
        raise error

    chosen = {"sync": fail, "async": fail_async, "generator": fail_midway}[kind]
    result = await run(tool(name="fail")(chosen))
    assert result.failed
    assert text in result.content
    assert "Traceback" not in result.content


async def test_a_long_error_is_capped() -> None:
    def fail() -> None:
        raise ValueError("x" * 1_000_000)

    result = await run(fail)
    assert len(result.content) <= 2000
    assert result.content.startswith("fail failed: ValueError: x")


async def test_a_thread_that_exits_the_program_does_not() -> None:
    def leave() -> None:
        sys.exit("bye")

    assert (await run(leave)).content == "leave failed: SystemExit: bye"


async def test_a_slow_async_tool_is_cancelled() -> None:
    cancelled = asyncio.Event()

    @tool(timeout_s=0.01)
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ToolTimeout, match=r"wait was stopped: it did not finish within 0\.01 s"):
        await wait.call("{}", CTX)
    assert cancelled.is_set()
    assert (await run(wait)).failed


async def test_a_slow_sync_tool_ends_the_call_but_not_its_thread() -> None:
    go_on, ended = threading.Event(), threading.Event()

    @tool(timeout_s=0.01)
    def wait() -> None:
        go_on.wait(30)
        ended.set()

    result = await run(wait)
    assert result.failed
    assert "whether it had an effect is unknown" in result.content
    assert not ended.is_set()
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 30)


async def test_hanging_sync_tools_take_nobody_elses_threads() -> None:
    """More of them than the default executor has threads: files are still read and stored, other tools still run."""
    release = threading.Event()

    @tool(timeout_s=0.01)
    def hang() -> None:
        release.wait(30)

    try:
        results = await asyncio.gather(*(run(hang) for _ in range(50)))
        assert all(result.failed for result in results)
        async with asyncio.timeout(5):
            assert await asyncio.to_thread(lambda: "free") == "free"
            assert (await run(free)).content == "free"
    finally:
        release.set()


def free() -> str:
    return "free"


def test_a_hanging_sync_tool_does_not_keep_the_program_from_ending() -> None:
    program = """
import asyncio, time
from tyler.tools import ToolContext, run_tool, collect, tool
@tool(timeout_s=0.05)
def hang():
    time.sleep(60)
print(asyncio.run(run_tool(collect([hang]), "hang", "{}", ToolContext("t", None, "c", "k"))).content)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("hang was stopped")


async def test_a_slow_stream_is_under_the_same_limit() -> None:
    @tool(timeout_s=0.01)
    async def talk() -> AsyncIterator[str]:
        yield "a"
        await asyncio.Event().wait()

    assert "did not finish" in (await run(talk)).content


async def test_cancelling_the_run_goes_through() -> None:
    started = asyncio.Event()

    async def wait() -> None:
        started.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(run(wait))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_time_limit_around_the_run_goes_through() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await run(wait)


async def test_keyboard_interrupt_goes_through() -> None:
    async def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await as_tool(stop).call("{}", CTX)
    coroutine = run(stop)
    with pytest.raises(KeyboardInterrupt):
        coroutine.send(None)


async def test_concurrent_calls_of_one_tool_do_not_mix() -> None:
    async def echo(ctx: ToolContext, number: int) -> list[Any]:
        await asyncio.sleep(0)
        return [ctx.call_id, number]

    tools = collect([echo])
    contexts = [dataclasses.replace(CTX, call_id=str(i)) for i in range(100)]
    results = await asyncio.gather(
        *(run_tool(tools, "echo", f'{{"number": {i}}}', ctx) for i, ctx in enumerate(contexts))
    )
    assert [r.content for r in results] == [f'["{i}",{i}]' for i in range(100)]


async def test_sync_calls_run_side_by_side() -> None:
    barrier = threading.Barrier(3, timeout=30)

    def meet() -> str:
        barrier.wait()
        return "met"

    results = await asyncio.gather(*(run(meet) for _ in range(3)))
    assert [r.content for r in results] == ["met"] * 3


def test_collect_keeps_order_and_opens_lists() -> None:
    def plain() -> None: ...

    tools = collect([[find, plain], add])
    assert list(tools) == ["look_up", "plain", "add"]
    assert all(isinstance(made, Tool) for made in tools.values())
    assert collect([]) == {}
    with pytest.raises(TypeError, match="cannot be a tool"):
        collect([[[find]]])  # type: ignore[list-item]


def test_two_tools_of_one_name_are_refused() -> None:
    def other() -> None: ...

    with pytest.raises(ValueError, match="two tools are named 'add'") as caught:
        collect([add, tool(name="add")(other)])
    assert "test_tools.add" in str(caught.value)
    assert "other" in str(caught.value)


def test_importing_tools_is_quick_and_light() -> None:
    script = (
        "import sys, time, pydantic; from pydantic import BaseModel, create_model\n"
        "start = time.process_time(); import tyler.tools; took = time.process_time() - start\n"
        "@tyler.tools.tool\ndef f(a: int): ...\n"
        "heavy = {'litellm', 'sqlalchemy', 'trafilatura', 'docstring_parser', 'openai'} & set(sys.modules)\n"
        "print(took, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    took, heavy = done.stdout.split(" ", 1)
    assert heavy.strip() == "[]"
    assert float(took) < 1.0  # 0.05 s here; the bound only catches a heavy import, on any machine
