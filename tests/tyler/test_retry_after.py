"""How long a provider asks to wait."""

import time
from email.utils import formatdate

import pytest

from tyler._retry_after import retry_after_s


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
    ],
)
def test_seconds(headers: dict[str, str], seconds: float) -> None:
    assert retry_after_s(headers) == seconds


@pytest.mark.parametrize("form", [{"usegmt": True}, {}])
def test_a_date(form: dict[str, bool]) -> None:
    assert retry_after_s({"retry-after": formatdate(time.time() + 100, **form)}) == pytest.approx(100, abs=5)


@pytest.mark.parametrize("value", ["", "-5", "nan", "inf", "-inf", "1e999", "soon", "Wed, 99 Foo", formatdate(0)])
def test_what_is_no_time_to_wait_is_none(value: str) -> None:
    assert retry_after_s({"retry-after": value, "retry-after-ms": value}) is None
