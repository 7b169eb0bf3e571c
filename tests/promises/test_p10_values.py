"""P10: all backends take, refuse and return the same values."""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from narrator import Message, Thread, ThreadStore, ToolCall, Usage
from narrator._backend import CallRecord

ANY_TEXT = st.text(st.characters(), max_size=40)  # NUL and lone surrogates too
KEYS = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=20)
NUMBERS = st.one_of(
    st.integers(),
    st.integers(min_value=-(10**300), max_value=10**300),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([-0.0, 1e308, 5e-324, 5.0, 5, 2**63, -(2**63) - 1]),
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
IDS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=255)
TIMES = st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-7, minutes=-30))]))
PARTS = st.lists(st.dictionaries(KEYS, JSON, max_size=3).map(lambda part: part | {"type": "text"}), max_size=3)
OPTIONAL = st.none() | ANY_TEXT

EXTREMES = [datetime.min, datetime.max, datetime(1970, 1, 1) - timedelta(microseconds=1), datetime(9999, 12, 31)]


def in_range(at: datetime) -> bool:
    return 1 < at.year < 9999


def messages() -> st.SearchStrategy[Message]:
    return st.builds(
        Message,
        id=IDS,
        role=st.sampled_from(["system", "user", "assistant", "tool"]),
        content=st.none() | ANY_TEXT | PARTS,
        name=OPTIONAL,
        tool_call_id=OPTIONAL,
        tool_calls=st.lists(st.builds(ToolCall, id=ANY_TEXT, name=ANY_TEXT, arguments=ANY_TEXT), max_size=2),
        metadata=st.dictionaries(KEYS, JSON, max_size=3),
        usage=st.none() | st.builds(Usage, input_tokens=st.integers(0, 10**9), cost_usd=st.floats(0, 1e9)),
        created_at=TIMES.filter(in_range),
    )


def threads() -> st.SearchStrategy[Thread]:
    return st.builds(
        Thread,
        id=IDS,
        title=OPTIONAL,
        metadata=st.dictionaries(KEYS.filter(lambda key: key != "last_updated"), JSON, max_size=4),
        messages=st.lists(messages(), max_size=3, unique_by=lambda message: message.id),
        owner=st.none() | IDS,
        created_at=TIMES.filter(in_range),
    )


def exact(value: Any) -> Any:
    """A form in which 5 and 5.0, True and 1, 0.0 and -0.0 differ, and the order of keys does not count."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items() if key not in ("last_updated", "updated_at")}
    return [exact(item) for item in value] if isinstance(value, list) else repr(value)


async def test_every_value_comes_back_the_same_on_all_backends(postgres_url: str, tmp_path: Path) -> None:
    stores = [
        await ThreadStore.create(),
        await ThreadStore.create(f"sqlite+aiosqlite:///{tmp_path}/values.db"),
        await ThreadStore.create(postgres_url),
    ]

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(threads())
    def every_store_returns(thread: Thread) -> None:
        drawn.append(thread)

    drawn: list[Thread] = []
    every_store_returns()
    for thread in drawn:
        returned = []
        for store in stores:
            saved = thread.model_copy(deep=True)
            view = store.for_owner(thread.owner) if thread.owner else store
            await view.delete_thread(thread.id)
            await view.save_thread(saved)
            found = await view.get_thread(thread.id)
            assert found == saved
            returned.append(exact(found.model_dump()))
            by_value = {key: value for key, value in found.metadata.items() if key != "last_updated"}
            assert thread.id in [summary.id for summary in await view.list_threads(metadata=by_value)]
        assert returned[0] == returned[1] == returned[2] == exact(thread.model_dump())
    for store in stores:
        await store.close()


async def test_extreme_and_naive_times_are_aware_utc(store: ThreadStore) -> None:
    east = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=5)))
    times = [*EXTREMES, *(at.replace(tzinfo=UTC) for at in EXTREMES), east]
    for number, at in enumerate(times):
        thread = Thread(id=f"t{number}", messages=[Message(role="user", created_at=at)], created_at=at)
        await store.save_thread(thread)
        found = await store.get_thread(thread.id)
        for time in (found.created_at, found.messages[0].created_at):
            assert time.tzinfo is UTC
            assert time == (at if at.tzinfo else at.replace(tzinfo=UTC))
        assert found == thread


@pytest.mark.parametrize(
    "at",
    [
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_a_time_outside_the_calendar_is_refused_by_name(at: datetime) -> None:
    with pytest.raises(ValidationError, match="created_at"):
        Message(role="user", created_at=at)
    with pytest.raises(ValidationError, match="created_at"):
        Thread(created_at=at)


def test_nul_and_lone_surrogates_in_text_are_replaced() -> None:
    dirty, clean = "a\x00b\ud800c\udc00\U0001f600", "a\ufffdb\ufffdc\ufffd\U0001f600"
    call = ToolCall(id=dirty, name=dirty, arguments=dirty)
    assert (call.id, call.name, call.arguments) == (clean, clean, clean)
    message = Message(
        role="user",
        content=[{"type": "text", "text": dirty, "deep": [{"x": dirty}]}],
        name=dirty,
        tool_call_id=dirty,
        metadata={"a": [dirty]},
    )
    assert message.content == [{"type": "text", "text": clean, "deep": [{"x": clean}]}]
    assert (message.name, message.tool_call_id, message.metadata) == (clean, clean, {"a": [clean]})
    thread = Thread(title=dirty, metadata={"a": dirty})
    assert (thread.title, thread.metadata) == (clean, {"a": clean})
    message.content = dirty
    message.metadata["b"] = dirty
    thread.title = dirty
    thread.metadata["a"] = {"x": dirty}
    assert (message.content, message.metadata["b"], thread.title, thread.metadata["a"]) == (
        clean,
        clean,
        clean,
        {"x": clean},
    )


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"a": {"b": [1, math.nan]}}, r"metadata\['a'\]\['b'\]\[1\]"),
        ({"a": math.inf}, r"metadata\['a'\]"),
        ({"a": [{"b": b"bytes"}]}, r"metadata\['a'\]\[0\]\['b'\]"),
        ({"a": datetime(2026, 1, 1)}, r"metadata\['a'\].*isoformat"),
        ({"a": {1: 2}}, r"metadata\['a'\] has the key 1"),
        ({"a\x00": 1}, r"metadata has the key 'a\\x00'"),
        ({"a": {"\ud800": 1}}, r"metadata\['a'\] has the key"),
        ({"k" * 256: 1}, "256 characters"),
        ({"a": {1, 2}}, "set"),
        ({"a": 10**5000}, "integer of more than 4000 digits"),
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused_by_its_path(metadata: dict[Any, Any], path: str) -> None:
    for model in (Thread, lambda **fields: Message(role="user", **fields)):
        with pytest.raises(ValidationError, match=path):
            model(metadata=metadata)
    with pytest.raises(ValidationError, match=path.replace("metadata", "content.0.")):
        Message(role="user", content=[{"type": "text"} | metadata])
    [(key, value)] = metadata.items()
    message, thread = Message(role="user"), Thread()
    for holder in (message, thread):
        with pytest.raises(ValueError, match=r"key|JSON|digits"):
            holder.metadata[key] = value
        with pytest.raises(ValueError, match=r"key|JSON|digits"):
            holder.metadata.update(metadata)
        assert holder.metadata == {}


def test_other_bad_values_are_refused_at_construction() -> None:
    for cost in (math.nan, math.inf):
        with pytest.raises(ValidationError, match="cost_usd"):
            Usage(cost_usd=cost)
    loop: dict[str, Any] = {}
    loop["x"] = loop
    with pytest.raises(ValidationError, match="deeper than 64"):
        Thread(metadata=loop)
    with pytest.raises(ValidationError, match="colour"):
        Message(role="user", colour="red")
    with pytest.raises(ValidationError, match="role 'bot' is unknown"):
        Message(role="bot")


@pytest.mark.parametrize("value", ["", "x" * 256, "a\x00b", "a\nb", "\x7f", "\x85", "\ud800", "a\tb"])
def test_bad_ids_are_refused_and_named(value: str) -> None:
    for make, what in ((lambda: Thread(id=value), "thread id"), (lambda: Message(role="user", id=value), "message id")):
        with pytest.raises(ValidationError, match=what):
            make()
    with pytest.raises(ValidationError, match="owner"):
        Thread(owner=value)


async def test_ids_of_any_unicode_are_distinct_by_case_and_normal_form(store: ThreadStore) -> None:
    ids = [
        "a",
        "A",
        " a",
        "a ",
        "\u00e9",
        "e\u0301",
        "ß",
        "SS",
        "ss",
        "\U0001f600" * 255,
        "\u202e",
        "\ufffe",
        "'\"\\%_",
    ]
    ids += ["x" * 254 + end for end in "yz"]
    assert unicodedata.normalize("NFC", "e\u0301") in ids
    for number, id in enumerate(ids):
        messages = [Message(id=other, role="user", content=str(number)) for other in ids]
        await store.save_thread(Thread(id=id, messages=messages, metadata={"n": number}))
    for number, id in enumerate(ids):
        found = await store.get_thread(id)
        assert (found.id, found.metadata["n"]) == (id, number)
        assert [m.id for m in found.messages] == ids
    assert sorted(s.id for s in await store.list_threads()) == sorted(ids)


async def test_long_ids_everywhere_fit_the_indexes(store: ThreadStore) -> None:
    long = "\U0001f600" * 255
    view = store.for_owner(long)
    call_id = "".join(chr(0x4E00 + (i * 7919) % 20000) for i in range(3000))  # some providers put a signature into it
    asked = Message(id=long, role="assistant", tool_calls=[ToolCall(id=call_id, name="f")])
    thread = Thread(id=long, messages=[asked], metadata={long: long * 100})
    await view.save_thread(thread)
    async with view.turn(thread) as turn:
        await turn.start_calls(long, [call_id])
        result = Message(role="tool", tool_call_id=call_id, content="x")
        await turn.append(result, behind=long, finishes=(long, call_id))
        assert await turn.call_states(long) == {call_id: CallRecord("finished")}
    assert await view.get_thread(long) == thread
    assert [s.id for s in await view.list_threads(metadata={long: long * 100})] == [long]
