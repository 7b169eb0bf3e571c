"""Approvals on every backend: a call waits for a human, one decision is for one call as it is."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from narrator import ApprovalNotFound, Message, OwnerMismatch, PendingCall, Thread, ThreadStore, ToolCall
from narrator.errors import ConfigurationError
from tyler import Agent, ApprovalNeeded, ApprovalRequest, Budget, Finished, Result, Tool, tool
from tyler._gate import DENIED
from tyler._run import CANCELLED
from tyler._tool_calls import UNKNOWN_OUTCOME
from tyler.approval import ask_in_terminal
from tyler.testing import ScriptedModel, calls


class Shop:
    """A shop with one tool that needs a human, and one that does not."""

    def __init__(self, **options: Any) -> None:
        self.refunded: list[int] = []
        self.looked_up = 0
        options = {"needs_approval": True, **options}

        @tool(**options)
        def refund(order: int) -> str:
            """Refund an order."""
            self.refunded.append(order)
            return f"refunded {order}"

        @tool(risk="read", effect="read")
        def look_up(order: int) -> str:
            """Where an order is."""
            self.looked_up += 1
            return "in the post"

        self.tools: list[Tool] = [refund, look_up]


def asking(*orders: int, text: str = "Done.") -> ScriptedModel:
    return ScriptedModel([calls(*(("refund", {"order": order}) for order in orders)), text])


def order(text: str = "Refund it") -> Thread:
    return Thread(id="t", messages=[Message(role="user", content=text)])


async def paused(store: ThreadStore, shop: Shop, *orders: int, **options: Any) -> Result:
    """A run that waits for a decision on each of these refunds."""
    result = await Agent(model=asking(*(orders or (7,))), tools=shop.tools, thread_store=store, **options).go(order())
    assert (result.status, shop.refunded) == ("awaiting_approval", [])
    return result


async def gone_on(store: ThreadStore, shop: Shop, text: str = "Done.", **options: Any) -> Result:
    """The next go, by whoever comes: from the stored thread alone."""
    agent = Agent(model=ScriptedModel([text] if text else []), tools=shop.tools, thread_store=store, **options)
    return await agent.go(await store.get_thread("t"))


def results(thread: Thread) -> list[str]:
    return [message.text for message in thread.messages if message.role == "tool"]


async def test_the_run_pauses_and_says_what_waits(store: ThreadStore) -> None:
    shop = Shop()
    wanted = calls(("refund", {"order": 7}), ("look_up", {"order": 7}))
    agent = Agent(model=ScriptedModel([wanted]), tools=shop.tools, thread_store=store)
    events = [event async for event in agent.stream(order())]
    asked = [event.pending for event in events if isinstance(event, ApprovalNeeded)]
    assert isinstance(events[-1], Finished)
    result = events[-1].result
    assert (result.status, result.pending, result.content) == ("awaiting_approval", asked, "")
    assert [(p.tool_name, p.call.arguments, p.thread_id, p.owner) for p in asked] == [
        ("refund", '{"order": 7}', "t", None)
    ]
    assert (shop.refunded, shop.looked_up) == ([], 1)  # what needs nobody is run meanwhile
    assert await store.pending_calls() == await store.pending_calls("t") == asked
    assert await store.pending_calls("other") == []


async def test_a_decision_of_another_process_is_acted_on_by_a_third(sql_url: str) -> None:
    shop = Shop()
    async with await ThreadStore.create(sql_url) as first:
        await paused(first, shop)
    async with await ThreadStore.create(sql_url) as second:
        (pending,) = await second.pending_calls()
        assert await second.decide(pending.id, approved=True, by="ann") == pending
        assert await second.pending_calls() == []
    async with await ThreadStore.create(sql_url) as third:
        result = await gone_on(third, shop)
        assert (result.status, result.content, result.pending) == ("completed", "Done.", [])
        assert (shop.refunded, results(await third.get_thread("t"))) == ([7], ["refunded 7"])


async def test_go_before_the_decision_asks_the_same_question_and_adds_nothing(store: ThreadStore) -> None:
    shop = Shop()
    first = await paused(store, shop)
    again = await gone_on(store, shop, text="")
    assert (again.status, again.pending, again.new_messages) == ("awaiting_approval", first.pending, [])
    assert await store.pending_calls() == first.pending


async def test_the_model_reads_why_a_call_was_denied(store: ThreadStore) -> None:
    shop = Shop()
    first = await paused(store, shop)
    await store.decide(first.pending[0].id, approved=False, reason="no receipt\x00")
    result = await gone_on(store, shop, "Sorry.")
    assert (result.status, result.content, shop.refunded) == ("completed", "Sorry.", [])
    (told,) = (m for m in result.thread.messages if m.role == "tool")
    assert told.text == f"{DENIED} Reason: no receipt\ufffd"
    assert told.metadata["failed"] is True


async def test_each_call_is_decided_by_itself(store: ThreadStore) -> None:
    shop = Shop()
    first = await paused(store, shop, 1, 2, 3)
    await store.decide(first.pending[0].id, approved=True)
    half = await gone_on(store, shop, text="")
    assert (half.status, half.pending, shop.refunded) == ("awaiting_approval", first.pending[1:], [1])
    await store.decide(first.pending[1].id, approved=False)
    await store.decide(first.pending[2].id, approved=True)
    result = await gone_on(store, shop)
    assert (result.status, shop.refunded) == ("completed", [1, 3])
    assert results(result.thread) == ["refunded 1", DENIED, "refunded 3"]


async def test_an_approval_is_for_these_arguments_only(store: ThreadStore) -> None:
    shop = Shop()
    first = await paused(store, shop)
    await store.decide(first.pending[0].id, approved=True)
    thread = await store.get_thread("t")
    (call,) = thread.messages[1].tool_calls
    thread.messages[1].tool_calls = [ToolCall(id=call.id, name="refund", arguments='{"order": 8}')]
    await store.save_thread(thread)
    result = await gone_on(store, shop, text="")
    assert (result.status, shop.refunded) == ("awaiting_approval", [])
    assert [p.call.arguments for p in result.pending] == ['{"order": 8}']
    with pytest.raises(ApprovalNotFound, match="asked about anew"):
        await store.decide(first.pending[0].id, approved=True)
    await store.decide(result.pending[0].id, approved=True)
    await gone_on(store, shop)
    assert shop.refunded == [8]


async def test_an_approval_is_for_the_tool_as_it_is_defined(store: ThreadStore) -> None:
    first = await paused(store, Shop())
    await store.decide(first.pending[0].id, approved=True)
    changed = Shop(risk="exec")
    result = await gone_on(store, changed, text="")
    assert (result.status, changed.refunded) == ("awaiting_approval", [])
    assert result.pending[0].id != first.pending[0].id


async def test_an_approval_is_used_once(store: ThreadStore) -> None:
    """The process dies within the call: the approval is gone with it, and nothing runs twice."""
    shop = Shop()
    first = await paused(store, shop)
    await store.decide(first.pending[0].id, approved=True)
    thread = await store.get_thread("t")
    async with store.turn(thread) as turn:
        records = await turn.call_states(thread.messages[1].id)
        call = thread.messages[1].tool_calls[0]
        digest = records[call.id].digest
        assert digest is not None
        assert await turn.start_calls(thread.messages[1].id, [call.id], {call.id: digest}) == {call.id}
        assert await turn.start_calls(thread.messages[1].id, [call.id], {call.id: digest}) == set()
    with pytest.raises(ApprovalNotFound):
        await store.decide(first.pending[0].id, approved=True)
    result = await gone_on(store, shop)
    assert (results(result.thread), shop.refunded) == ([UNKNOWN_OUTCOME], [])


async def test_an_interrupted_call_that_may_repeat_needs_no_second_approval(store: ThreadStore) -> None:
    shop = Shop(effect="idempotent")
    first = await paused(store, shop)
    await store.decide(first.pending[0].id, approved=True)
    thread = await store.get_thread("t")
    async with store.turn(thread) as turn:
        (call,) = thread.messages[1].tool_calls
        digest = (await turn.call_states(thread.messages[1].id))[call.id].digest
        await turn.start_calls(thread.messages[1].id, [call.id], {call.id: str(digest)})
    result = await gone_on(store, shop)
    assert (result.status, shop.refunded) == ("completed", [7])


async def test_an_approval_that_is_too_old_is_asked_for_again(store: ThreadStore) -> None:
    shop = Shop()
    first = await paused(store, shop)
    await store.decide(first.pending[0].id, approved=True, valid_for=timedelta(microseconds=1))
    await asyncio.sleep(0.002)
    again = await gone_on(store, shop, text="")
    assert (again.status, shop.refunded) == ("awaiting_approval", [])
    assert again.pending[0].id != first.pending[0].id
    await store.decide(again.pending[0].id, approved=True, valid_for=timedelta(hours=1))
    assert (await gone_on(store, shop)).status == "completed"
    assert shop.refunded == [7]


async def test_a_decision_may_be_changed_until_it_is_used(store: ThreadStore) -> None:
    shop = Shop()
    first = await paused(store, shop)
    await store.decide(first.pending[0].id, approved=True)
    await store.decide(first.pending[0].id, approved=False, reason="on second thought")
    assert "on second thought" in results((await gone_on(store, shop)).thread)[0]
    with pytest.raises(ApprovalNotFound):
        await store.decide(first.pending[0].id, approved=True)


async def test_only_the_owner_sees_and_decides(store: ThreadStore) -> None:
    shop = Shop()
    ann, bob = store.for_owner("ann"), store.for_owner("bob")
    first = await paused(ann, shop)
    assert first.pending[0].owner == "ann"
    assert await bob.pending_calls() == []
    with pytest.raises(ApprovalNotFound):
        await bob.decide(first.pending[0].id, approved=True)
    assert await ann.pending_calls() == await store.pending_calls() == first.pending
    with pytest.raises(OwnerMismatch):
        bob.for_owner("ann")
    await ann.decide(first.pending[0].id, approved=True)
    assert (await gone_on(ann, shop)).status == "completed"


@pytest.mark.parametrize("nonsense", ["", "x", "' OR 1=1 --", "\x00", "\ud800", "a" * 100_000])
async def test_a_decision_on_nothing_is_refused(store: ThreadStore, nonsense: str) -> None:
    await paused(store, Shop())
    with pytest.raises(ApprovalNotFound, match="pending_calls"):
        await store.decide(nonsense, approved=True)
    assert len(await store.pending_calls()) == 1
    with pytest.raises(ValueError, match="above 0"):
        await store.decide(nonsense, approved=True, valid_for=timedelta(0))


async def test_the_oldest_question_comes_first(store: ThreadStore) -> None:
    shop = Shop()
    for name in "abc":
        thread = Thread(id=name, messages=[Message(role="user", content="?")])
        await Agent(model=asking(1), tools=shop.tools, thread_store=store).go(thread)
    assert [p.thread_id for p in await store.pending_calls(limit=2)] == ["a", "b"]
    await store.delete_thread("a")
    assert [p.thread_id for p in await store.pending_calls()] == ["b", "c"]


async def test_newer_input_waits_behind_the_decision(store: ThreadStore) -> None:
    shop = Shop()
    first = await paused(store, shop)
    thread = await store.get_thread("t")
    thread.add_message(Message(role="user", content="Hello?"))
    agent = Agent(model=ScriptedModel(["Done, and hello."]), tools=shop.tools, thread_store=store)
    assert (await agent.go(thread)).status == "awaiting_approval"
    await store.decide(first.pending[0].id, approved=True)
    result = await agent.go(thread)
    assert (result.status, shop.refunded) == ("completed", [7])
    assert [m.role for m in result.thread.messages] == ["user", "assistant", "tool", "user", "assistant"]


async def test_two_workers_act_on_a_decision_once(store: ThreadStore) -> None:
    shop = Shop()
    first = await paused(store, shop)
    await store.decide(first.pending[0].id, approved=True)
    agent = Agent(model=ScriptedModel(["Done."]), tools=shop.tools, thread_store=store)
    copies = [await store.get_thread("t"), await store.get_thread("t")]
    one, two = await asyncio.gather(*map(agent.go, copies))
    assert (one.content, two.content, shop.refunded) == ("Done.", "Done.", [7])
    assert sorted([one.replayed, two.replayed]) == [False, True]


async def test_a_cancelled_run_takes_its_questions_back(store: ThreadStore) -> None:
    shop = Shop()
    agent = Agent(model=asking(7), tools=shop.tools, thread_store=store)
    events = agent.stream(order())
    async for event in events:
        if isinstance(event, ApprovalNeeded):
            await events.aclose()
            break
    assert results(await store.get_thread("t")) == [CANCELLED]
    assert await store.pending_calls() == []
    with pytest.raises(ApprovalNotFound):
        await store.decide(event.pending.id, approved=True)


async def test_the_end_of_the_runs_time_does_not_take_the_question_back(store: ThreadStore) -> None:
    shop = Shop()

    async def hang() -> None:
        await asyncio.Event().wait()

    model = ScriptedModel([calls(("hang", {}), ("refund", {"order": 7}))])
    agent = Agent(model=model, tools=[*shop.tools, hang], thread_store=store, budget=Budget(seconds=0.1))
    result = await agent.go(order())
    assert (result.status, len(result.pending), len(results(result.thread))) == ("awaiting_approval", 1, 1)
    await store.decide(result.pending[0].id, approved=True)
    await gone_on(store, shop)
    assert shop.refunded == [7]


async def test_what_waits_is_no_budget_of_calls(store: ThreadStore) -> None:
    shop = Shop()
    first = await paused(store, shop, 1, 2, budget=Budget(tool_calls=1))
    for pending in first.pending:
        await store.decide(pending.id, approved=True)
    result = await gone_on(store, shop, text="", budget=Budget(tool_calls=1))
    assert (result.status, shop.refunded) == ("tool_call_limit", [1])


def verdicts(found: list[ApprovalRequest], answer: Any) -> Callable[[ApprovalRequest], Any]:
    def decide(request: ApprovalRequest) -> Any:
        found.append(request)
        return answer

    return decide


@pytest.mark.parametrize("answer", [True, False, "no receipt"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_function_is_asked(answer: bool | str, is_async: bool) -> None:
    shop, found = Shop(), list[ApprovalRequest]()
    decide = verdicts(found, answer)

    async def decide_later(request: ApprovalRequest) -> Any:
        await asyncio.sleep(0)
        return decide(request)

    model = ScriptedModel([calls(("refund", {"order": 7}), ("look_up", {"order": 7})), "Done."])
    agent = Agent(model=model, tools=shop.tools, approve=decide_later if is_async else decide)
    result = await agent.go("Refund it", deps="mine")
    (request,) = found
    assert (request.tool_name, request.arguments, request.risk) == ("refund", {"order": 7}, "write")
    assert request.context.deps == "mine"
    told = {True: "refunded 7", False: DENIED, "no receipt": f"{DENIED} Reason: no receipt"}[answer]
    assert (results(result.thread)[0], shop.looked_up) == (told, 1)


async def test_a_function_that_does_not_know_leaves_it_to_somebody_else(store: ThreadStore) -> None:
    shop = Shop()
    first = await paused(store, shop, approve=lambda request: None)
    await store.decide(first.pending[0].id, approved=True)
    await gone_on(store, shop, approve=lambda request: False)  # what was decided stands
    assert shop.refunded == [7]


async def test_what_a_function_raises_ends_the_run_and_the_call_stays_open(store: ThreadStore) -> None:
    shop = Shop()

    def fails(request: ApprovalRequest) -> bool:
        raise RuntimeError("the approver is away")

    agent = Agent(model=asking(7), tools=shop.tools, thread_store=store, approve=fails)
    with pytest.raises(RuntimeError, match="is away"):
        await agent.go(order())
    assert shop.refunded == []
    await gone_on(store, shop, approve="auto")
    assert shop.refunded == [7]


async def test_an_answer_that_is_none_is_no_approval(store: ThreadStore) -> None:
    agent = Agent(model=asking(7), tools=Shop().tools, thread_store=store, approve=lambda request: 1)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="answered 1 for refund"):
        await agent.go(order())


@pytest.mark.parametrize(
    ("approve", "risk", "needs", "waits"),
    [
        (None, "write", None, False),
        (None, "exec", None, True),
        (None, "exec", False, False),
        (None, "read", True, True),
        ("auto", "exec", True, False),
        ("ask", "write", None, True),
        ("ask", "read", None, False),
        ("ask", "read", True, True),
        ({"refund": "auto"}, "exec", None, False),
        ({"ref*": "ask"}, "read", None, True),
        ({"look_up": "ask"}, "write", None, False),
        ({"look_up": "ask"}, "exec", None, True),
        ({"refund": "auto", "*": "ask"}, "write", None, False),
        (None, "write", lambda arguments: arguments["order"] > 5, True),
        (None, "write", lambda arguments: arguments["order"] > 9, False),
    ],
)
async def test_who_has_to_wait(store: ThreadStore, approve: Any, risk: Any, needs: Any, waits: bool) -> None:
    shop = Shop(risk=risk, needs_approval=needs)
    result = await Agent(model=asking(7), tools=shop.tools, thread_store=store, approve=approve).go(order())
    assert (result.status, shop.refunded) == (("awaiting_approval", []) if waits else ("completed", [7]))


async def test_deny_as_a_rule() -> None:
    shop = Shop()
    result = await Agent(model=asking(7), tools=shop.tools, approve={"refund": "deny"}).go("Refund it")
    assert (results(result.thread), shop.refunded) == ([DENIED], [])


@pytest.mark.parametrize(
    ("approve", "message"),
    [
        ("yes", r"approve is 'yes'; use 'auto', 'ask', 'deny'"),
        ({"refund": "maybe"}, r"approve\['refund'\] is 'maybe'"),
        ({"refnd": "ask"}, r"approve\['refnd'\] fits no tool of the agent; its tools are refund, look_up"),
    ],
)
def test_rules_that_cannot_work_are_refused(approve: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Agent(model=ScriptedModel([]), tools=Shop().tools, approve=approve)


async def test_without_a_store_there_is_nowhere_to_wait() -> None:
    shop = Shop()
    with pytest.raises(ConfigurationError, match=r"refund needs a human's approval.*ThreadStore\.create"):
        await Agent(model=asking(7), tools=shop.tools).go("Refund it")
    assert shop.refunded == []


async def test_a_call_that_cannot_run_is_nobodys_question(store: ThreadStore) -> None:
    shop = Shop()
    model = ScriptedModel([calls(("refund", {"order": "seven"}), ("refnd", {})), "Sorry."])
    result = await Agent(model=model, tools=shop.tools, thread_store=store, approve="ask").go(order())
    assert result.status == "completed"
    assert ["was not run" in text or "no tool named" in text for text in results(result.thread)] == [True, True]


async def test_a_model_that_goes_on_asking_for_what_is_denied_is_stopped() -> None:
    model = ScriptedModel([calls(("refund", {"order": 7}))] * 4)
    result = await Agent(model=model, tools=Shop().tools, approve="deny").go("Refund it")
    assert (result.status, len(model.requests)) == ("repeated_failure", 3)


async def test_the_terminal_is_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shop = Shop()
    replies = iter(["n", "y", "not without a receipt"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(replies))
    model = ScriptedModel([calls(*[("refund", {"order": n}) for n in (1, 2, 3)]), "Done."])
    result = await Agent(model=model, tools=shop.tools, approve=ask_in_terminal).go("Refund them")
    assert results(result.thread) == [DENIED, "refunded 2", f"{DENIED} Reason: not without a receipt"]
    assert 'refund (write) wants to run with\n{\n  "order": 1\n}' in capsys.readouterr().out


def test_a_pending_call_does_not_show_its_arguments() -> None:
    call = ToolCall(id="c", name="refund", arguments='{"secret": 1}')
    pending = PendingCall("p", "t", None, "m", call, Message(role="user").created_at)
    assert "secret" not in repr(pending)
