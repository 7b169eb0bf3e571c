"""P11: metadata filters are typed exact matches with bound parameters."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from narrator import Thread, ThreadStore

VALUES = {
    "int": 5,
    "other int": 6,
    "text": "5",
    "true": True,
    "one": 1,
    "text true": "true",
    "false": False,
    "zero": 0,
    "null": None,
    "text null": "null",
    "empty text": "",
    "half": 0.5,
    "big": 2**80,
    "list": [1, "1"],
    "other list": ["1", 1],
    "empty list": [],
    "object": {"a": 1, "b": {"c": [1, 2], "d": None}},
    "other object": {"a": 1, "b": {"c": [2, 1], "d": None}},
    "empty object": {},
    "quote": "' OR '1'='1",
    "drop": "x'; DROP TABLE narrator_threads; --",
    "pattern": "%",
    "case": "Straße",
    "other case": "STRASSE",
    "composed": "\u00e9",
    "decomposed": "e\u0301",
}


async def found(store: ThreadStore, **metadata: object) -> list[str]:
    return sorted(summary.id for summary in await store.list_threads(metadata=metadata))


async def test_each_value_finds_its_own_thread_alone(store: ThreadStore) -> None:
    for name, value in VALUES.items():
        await store.save_thread(Thread(id=name, metadata={"key": value, "common": True}))
    for name, value in VALUES.items():
        assert await found(store, key=value) == [name]
        assert await found(store, key=value, common=True) == [name]
        assert await found(store, key=value, common=False) == []
    assert await found(store, common=True) == sorted(VALUES)


async def test_numbers_compare_as_numbers(store: ThreadStore) -> None:
    await store.save_thread(Thread(id="int", metadata={"n": 5, "deep": {"n": [1, 0]}}))
    await store.save_thread(Thread(id="float", metadata={"n": 5.0, "deep": {"n": [1.0, -0.0]}}))
    await store.save_thread(Thread(id="huge", metadata={"n": 1e308}))
    for value in (5, 5.0):
        assert await found(store, n=value) == ["float", "int"]
    assert await found(store, deep={"n": [1.0, 0.0]}) == ["float", "int"]
    assert await found(store, n=int(1e308)) == ["huge"]
    assert await found(store, n=5.000001) == []


async def test_the_order_of_keys_in_an_object_does_not_matter(store: ThreadStore) -> None:
    await store.save_thread(Thread(id="t", metadata={"o": {"a": 1, "b": [{"x": 1, "y": 2}]}}))
    assert await found(store, o={"b": [{"y": 2, "x": 1}], "a": 1}) == ["t"]
    assert await found(store, o={"a": 1}) == []


async def test_an_unknown_key_finds_nothing(store: ThreadStore) -> None:
    await store.save_thread(Thread(id="t", metadata={"a": 1, "5": "x"}))
    for key in ("b", "A", "a ", "", "1; --", "last_updated"):
        assert await found(store, **{key: 1}) == []
    assert await found(store, b=None) == [], "a key that is not there is no null"
    assert await found(store, a=1, b=1) == []


async def test_a_filter_that_is_not_json_is_refused_by_name(store: ThreadStore) -> None:
    for filters, named in (
        ({"a": math.nan}, "'a'"),
        ({"a": {"b": object()}}, "'b'"),
        ({5: "x"}, "5"),
        ({"a\ud800": 1}, "a"),
    ):
        with pytest.raises(ValueError, match=named):
            await store.list_threads(metadata=filters)  # type: ignore[arg-type]


async def test_a_changed_or_removed_value_is_found_no_more(store: ThreadStore) -> None:
    thread = Thread(id="t", metadata={"a": 1, "b": 1})
    await store.save_thread(thread)
    thread.metadata["a"] = 2
    del thread.metadata["b"]
    await store.save_thread(thread)
    assert await found(store, a=1) == []
    assert await found(store, b=1) == []
    assert await found(store, a=2) == ["t"]


async def test_the_same_pair_under_another_key_is_not_found(store: ThreadStore) -> None:
    await store.save_thread(Thread(id="t", metadata={"ab": "c", "x": "y"}))
    assert await found(store, a="bc") == []
    assert await found(store, y="x") == []


async def test_pages_with_a_filter_hold_every_thread_once(store: ThreadStore) -> None:
    for i in range(12):
        await store.save_thread(Thread(id=f"t{i}", metadata={"odd": i % 2}))
    seen, before = [], None
    while page := await store.list_threads(metadata={"odd": 1}, limit=4, before=before):
        seen += [summary.id for summary in page]
        before = page[-1]
    assert seen == [f"t{i}" for i in range(11, 0, -2)]
    assert len(await store.list_threads(limit=2**70)) == 12
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="limit"):
            await store.list_threads(limit=wrong)


@pytest.mark.parametrize("limit", [None, 7])
async def test_many_threads_and_few_are_found_alike_by_one_filter_and_by_two(tmp_path: Path, limit: int | None) -> None:
    """On SQLite the statement depends on how many there are."""
    path = tmp_path / "many.db"
    async with await ThreadStore.create(f"sqlite:///{path}") as store:
        await store.save_thread(Thread(id="first", metadata={"many": 1, "few": 1}))
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)"
                " INSERT INTO narrator_threads (owner, id, created_at, updated_at, message_count, tail, revision,"
                " reshaped, last_write) SELECT '', 't' || i, 0, i, 0, 0, 1, 0, '' FROM n"
            )
            for name, every in (("many", 1), ("few", 100)):
                raw.execute(
                    "INSERT INTO narrator_thread_metadata SELECT t.key, m.name, m.value, m.digest"
                    " FROM narrator_threads t, narrator_thread_metadata m"
                    " WHERE m.name = ? AND t.id <> 'first' AND t.updated_at % ? = 0",
                    (name, every),
                )
        many = ["first", *(f"t{i}" for i in range(1200, 0, -1))]
        few = ["first", *(f"t{i}" for i in range(1200, 0, -100))]
        for metadata, expected in (({"many": 1}, many), ({"few": 1}, few), ({"many": 1, "few": 1}, few)):
            page = await store.list_threads(metadata=metadata, limit=limit)
            assert [summary.id for summary in page] == expected[:limit]
