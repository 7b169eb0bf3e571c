"""ScriptedModel: what its lines do, and what it says when they do not fit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from narrator import Message, Thread, ToolCall, Usage
from tyler import Agent, Attachment, ModelUnavailable, Reasoning, Reply, Request, TextDelta
from tyler.testing import Delayed, Line, Pieces, ScriptedModel, calls


async def said(*script: Line) -> list[str | Reply]:
    """What a stream brings."""
    return [piece async for piece in ScriptedModel(script).stream(Request([{"role": "user", "content": "hi"}]))]


async def test_pieces_are_streamed_as_they_are() -> None:
    assert await said(Pieces("On", "ce  ", "", "\n")) == ["On", "ce  ", "\n", Reply(content="Once  \n")]
    assert await said(Pieces()) == [Reply()]


async def test_a_reply_ends_pieces_with_what_comes_beside_the_text() -> None:
    call = calls(("look", {"at": 1}), usage=Usage(output_tokens=3), reasoning=Reasoning("scripted", "hm"))
    *pieces, reply = await said(Pieces("I ", "look.", call))
    assert pieces == ["I ", "look."]
    assert reply == Reply("I look.", call.tool_calls, Usage(output_tokens=3), reasoning=Reasoning("scripted", "hm"))


async def test_an_answer_that_fails_in_the_middle_is_no_answer() -> None:
    agent = Agent(model=ScriptedModel([Pieces("Once ", "upon ", ModelUnavailable("gone")), "a time"]))
    thread = Thread(messages=[Message(role="user", content="a story")])
    streamed: list[object] = []

    async def read() -> None:
        async for event in agent.stream(thread):
            streamed.append(event)

    with pytest.raises(ModelUnavailable, match="gone"):
        await read()
    assert streamed == [TextDelta("Once "), TextDelta("upon ")]
    assert [m.role for m in thread.messages] == ["user"]
    assert (await agent.go(thread)).content == "a time"


async def test_a_delayed_line_or_piece_comes_later() -> None:
    loop = asyncio.get_running_loop()
    for line in (
        Delayed(0.05, "hello"),
        Pieces(Delayed(0.02, Delayed(0.03, "hel")), "lo"),
        lambda r: Delayed(0.05, "hello"),
    ):
        started = loop.time()
        pieces = await said(line)
        assert loop.time() - started >= 0.045
        assert pieces[-1] == Reply(content="hello")
    with pytest.raises(ModelUnavailable):
        await said(Delayed(0.001, ModelUnavailable("late")))


async def test_a_delay_is_cancelled_with_the_run() -> None:
    agent = Agent(model=ScriptedModel([Pieces("Once ", Delayed(60, "upon a time"))]))
    thread = Thread(messages=[Message(role="user", content="a story")])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await agent.go(thread)
    assert [m.text for m in thread.messages] == ["a story", "Once "]


async def test_a_function_of_the_request_may_be_async_and_return_any_line() -> None:
    async def later(request: Request) -> Line:
        await asyncio.sleep(0)
        return Pieces(str(request.messages[-1]["content"]), "!")

    assert (await said(later))[-1] == Reply(content="hi!")
    assert (await said(lambda request: later))[-1] == Reply(content="hi!")
    with pytest.raises(TypeError, match="function of the script returned is a int"):
        await said(lambda request: 3)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: ScriptedModel(["a", 2]), TypeError, "line 2 of the script is a int"),  # type: ignore[list-item]
        (lambda: ScriptedModel([ToolCall(id="1", name="x")]), TypeError, "a ToolCall; give text"),  # type: ignore[list-item]
        (lambda: Delayed(-1, "a"), ValueError, "-1"),
        (lambda: Delayed(float("nan"), "a"), ValueError, "nan"),
        (lambda: Delayed(1, None), TypeError, "NoneType"),  # type: ignore[arg-type]
        (lambda: Pieces("a", 1), TypeError, "not a int"),  # type: ignore[arg-type]
        (lambda: Pieces(Delayed(1, lambda request: "a")), TypeError, "function"),
        (lambda: Pieces(Reply(), "a"), ValueError, "put it last"),
        (lambda: Pieces(ValueError(), "a"), ValueError, "behind the ValueError"),
        (lambda: Pieces("a", Reply(content="b")), ValueError, "content"),
    ],
)
def test_what_is_no_line_is_refused_where_it_is_written(
    make: Callable[[], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        make()


async def test_a_script_that_is_over_says_which_request_came_and_behind_what() -> None:
    def look() -> str:
        """Look."""
        return "a \x1b[31mcat" + "t" * 10_000

    agent = Agent(model=ScriptedModel([calls(("look", {}))]), tools=[look])
    with pytest.raises(AssertionError) as caught:
        await agent.go("What is there?")
    assert "the script of 1 lines is over, and request 2 came, behind the tool message 'a " in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "\x1b" not in str(caught.value)


async def test_no_picture_is_dumped() -> None:
    picture = Message(role="user", content="look", attachments=[Attachment(filename="a.png", content=b"x" * 5000)])
    with pytest.raises(AssertionError, match=r"'look \[image_url\]'"):
        await Agent(model=ScriptedModel([], takes_images=True)).go(Thread(messages=[picture]))


async def test_lines_that_were_not_used_are_told() -> None:
    model = ScriptedModel(["a", "b" * 10_000, "c"])
    await Agent(model=model).go("hi")
    with pytest.raises(
        AssertionError, match="2 of 3 lines of the script were not used; the next one is 'bbb"
    ) as caught:
        model.assert_done()
    assert len(str(caught.value)) < 300
    await Agent(model=model).go("hi")
    await Agent(model=model).go("hi")
    model.assert_done()


def test_runs_on_several_loops_share_a_script_and_each_line_is_given_once() -> None:
    model = ScriptedModel([str(n) for n in range(200)])
    agent = Agent(model=model)
    answers: list[str] = []

    async def ask_many() -> None:
        results = await asyncio.gather(*(agent.go("hi") for _ in range(20)))
        answers.extend(result.content for result in results)

    threads = [threading.Thread(target=lambda: asyncio.run(ask_many())) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers, key=int) == [str(n) for n in range(200)]
    assert len(model.requests) == 200
    model.assert_done()
