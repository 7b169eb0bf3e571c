"""The public conformance suite, run on the three backends of this package."""

from __future__ import annotations

import pytest

from narrator import FileStore, ThreadStore
from narrator.testing import Check, checks


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
async def test_the_backend_keeps_the_promise(check: Check, store_url: str | None) -> None:
    async def make_store() -> ThreadStore:
        return await ThreadStore.create(store_url, file_store=await FileStore.create())

    await check(make_store)
