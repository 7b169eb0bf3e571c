"""Whatever a tool returns becomes one well-formed, bounded text."""

import array
import dataclasses
import datetime as dt
import decimal
import enum
import itertools
import json
import os
import pathlib
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, model_serializer

from narrator.attachment import Attachment
from tyler import _tool_output
from tyler._tool_output import ToolResult, cap_output, drain, to_result


class Color(enum.Enum):
    RED = "red"


class Level(enum.StrEnum):
    HIGH = "high"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class UnprintableText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no")


class Printable:
    def __str__(self) -> str:
        return 'two\n"lines"'


@dataclasses.dataclass
class Point:
    x: int
    label: str | None = None


class Order(BaseModel):
    id: int
    due: dt.date


class Refuses(BaseModel):
    @model_serializer
    def _refuse(self) -> dict[str, Any]:
        raise ValueError("not serialisable")


@dataclasses.dataclass
class Ring:
    name: str
    inner: list[Any]


class RingModel(BaseModel):
    name: str
    inner: list[Any]


class Pair(NamedTuple):
    a: int
    b: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is\n ", "as it is\n "),
        ("", "(no output)"),
        (None, "(no output)"),
        (True, "true"),
        (3, "3"),
        (2.5, "2.5"),
        (b"bytes \xc3\xa9", "bytes é"),
        (bytearray(b"ab"), "ab"),
        (memoryview(b"ab"), "ab"),
        ({"a": [1, None, "é"]}, '{"a":[1,null,"é"]}'),
        ((1, 2), "[1,2]"),
        ({1}, "[1]"),
        (Pair(1, 2), "[1,2]"),
        ([], "[]"),
        (Point(1), '{"x":1,"label":null}'),
        ([Order(id=1, due=dt.date(2026, 1, 2))], '[{"id":1,"due":"2026-01-02"}]'),
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "2026-01-02T00:00:00Z"),
        (dt.timedelta(minutes=1), "PT1M"),
        (decimal.Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (Color.RED, "red"),
        (Level.HIGH, "high"),
        (UnprintableText("text"), "text"),
        ({Color.RED: {Level.HIGH}}, '{"red":["high"]}'),
        (float("nan"), "NaN"),
        ([float("inf"), decimal.Decimal("NaN")], '["Infinity","NaN"]'),
        ({(1, 2): 3}, '{"1,2":3}'),
        (Printable(), 'two\n"lines"'),
        ([Printable()], '["two\\n\\"lines\\""]'),
        (Unprintable(), "<Unserializable Unprintable object>"),
        ({"a": Unprintable()}, '{"a":"<Unserializable Unprintable object>"}'),
        (ValueError("returned"), "returned"),
        (array.array("i", [1]), "array('i', [1])"),
        ("nul \x00 and \ud800", "nul � and �"),
        ({"\udcff": os.fsdecode(b"\xff")}, None),
        ({"name": os.fsdecode(b"\xff")}, '{"name":"�"}'),
        ({"raw": b"\xff\xfe"}, '{"raw":"__4="}'),
        (10**5000, None),
        ({"big": 10**5000}, None),
        (Refuses(), None),
        (object, "<class 'object'>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_becomes_one_text(value: Any, text: str | None) -> None:
    result = to_result("look_up", value)
    result.content.encode()
    assert result.content
    assert "\x00" not in result.content
    assert (result.attachments, result.failed) == ([], False)
    if text is not None:
        assert result.content == text


@pytest.mark.parametrize("make", [dict, Ring, RingModel])
def test_a_cycle_is_shown_once(make: Any) -> None:
    ring = make(name="ring", inner=[])
    (ring["inner"] if isinstance(ring, dict) else ring.inner).append(ring)
    content = to_result("t", ring).content
    assert "ring" in content
    assert len(content) < 1000


def test_what_json_cannot_show_is_said_in_words() -> None:
    ring: dict[str, Any] = {"name": "ring", "raw": b"\xff"}
    ring["inner"] = ring
    content = to_result("t", ring).content
    assert content.startswith("(not all of this can be shown: Circular reference detected")
    assert "'name': 'ring'" in content


def test_a_very_deep_value_is_one_text() -> None:
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    assert to_result("t", deep).content.startswith("[[")


def test_a_wide_cycle_stays_small() -> None:
    wide: list[Any] = []
    wide.extend([wide] * 1000)
    assert len(to_result("t", wide).content) <= 100_000


def test_bytes_that_are_no_text_become_a_named_file() -> None:
    result = to_result("draw", b"\x89PNG\x00\xff")
    assert [(file.filename, file.content) for file in result.attachments] == [("draw.bin", b"\x89PNG\x00\xff")]
    assert result.content == "[file: draw.bin, application/octet-stream, 6 bytes]"


def test_attachments_are_kept_and_named() -> None:
    chart = Attachment(filename="chart.png", content=b"\x89")
    line = "[file: chart.png, image/png, 1 bytes]"
    assert to_result("t", chart) == ToolResult(line, [chart])
    assert to_result("t", [chart, chart]) == ToolResult(f"{line}\n{line}", [chart, chart])
    assert to_result("t", ("The chart.", chart)) == ToolResult(f"The chart.\n{line}", [chart])
    mixed = to_result("t", {"pages": 2, "file": chart})
    assert mixed.attachments == [chart]
    assert json.loads(mixed.content.splitlines()[0])["pages"] == 2
    assert mixed.content.endswith(line)


def test_a_file_over_the_limit_is_refused_openly() -> None:
    result = to_result("t", b"\xff" * (_tool_output.MAX_FILE_BYTES + 1))
    assert result.attachments == []
    assert result.failed
    assert "50,000,001 bytes]\n(files over 50,000,000 bytes were not kept)" in result.content


def test_a_ready_result_stays_but_its_text_is_made_safe() -> None:
    chart = Attachment(filename="chart.png", content=b"\x89")
    ready = ToolResult("x", [chart], failed=True)
    assert to_result("t", ready) == ready
    assert to_result("t", ToolResult("\x00" + "x" * 200_000)).content.startswith("�x")
    assert len(to_result("t", ToolResult("x" * 200_000)).content) <= 100_000
    assert to_result("t", ToolResult({"a": 1})).content == '{"a":1}'  # type: ignore[arg-type]


def test_five_megabytes_keep_head_and_tail() -> None:
    text = "HEAD" + "x" * 5_000_000 + "TAIL"
    content = to_result("t", text).content
    assert len(content) <= 100_000
    assert content.startswith("HEAD")
    assert content.endswith("TAIL")
    assert content == to_result("t", text).content


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 500, 1_000_000])
@pytest.mark.parametrize("limit", [100, 101, 2000])
def test_capped_text_accounts_for_every_character(size: int, limit: int) -> None:
    text = "é" * size
    capped = cap_output(text, limit)
    assert len(capped) <= limit
    assert cap_output(capped, limit) == capped
    if size > limit:
        left_out = int(capped.split("[... ")[1].split(" ")[0].replace(",", ""))
        assert capped.count("é") + left_out == size
    else:
        assert capped == text


async def test_a_generator_of_text_is_joined() -> None:
    assert await drain(word for word in ["a", "b"]) == "ab"


async def test_other_iterators_become_lists() -> None:
    assert await drain(map(int, "12")) == [1, 2]
    assert await drain([1]) == [1]
    assert await drain(iter(())) == ""


async def test_an_endless_generator_is_stopped_and_closed() -> None:
    closed = []

    def count() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.append(True)

    items = await drain(count())
    assert items[-2:] == [9_999, "[stopped after 10,000 items]"]
    assert closed == [True]


async def test_an_endless_async_generator_is_stopped_and_closed() -> None:
    closed = []

    async def talk() -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * 1000
        finally:
            closed.append(True)

    text = await drain(talk())
    assert text.endswith("x\n[stopped after 1,000 items]")
    assert closed == [True]
