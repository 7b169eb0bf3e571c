"""The guide's snippets, cut out of the copy beside this file, and the two things tests do to them: name another
database, and mend the three that cannot work as printed. docs/guide-notes.md tells users the same.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

GUIDE = Path(__file__).with_name("persistence-guide.txt")

# First and last line of each, counted from 1.
PYTHON = {
    "quick start": (18, 58),
    "sqlite": (67, 67),
    "postgresql": (72, 74),
    "in memory": (97, 97),
    "creating threads": (105, 115),
    "saving and loading": (119, 129),
    "message history": (134, 144),
    "user threads": (150, 158),
    "topic threads": (162, 175),
    "sessions": (179, 201),
    "attachments": (206, 234),
    "summarization": (240, 271),
    "context injection": (275, 286),
    "thread names": (292, 299),
    "metadata": (303, 311),
    "cleanup": (315, 321),
    "support agent": (325, 386),
    "support agent's use": (388, 396),
    "message limit": (426, 430),
    "batch": (434, 438),
    "caching": (442, 446),
}
SHELL = {
    "docker setup": (79, 83),
    "docker management": (85, 92),
    "database setup": (403, 410),
    "pool": (415, 419),
}

# What is printed -> what works.
MENDS = {
    "support agent": {
        'return messages[-1].content if messages else "No response"': 'return result.content or "No response"',
    },
    # At the margin: printed, it stands in the body of the class.
    "support agent's use": {
        "    agent = SupportAgent()": "agent = SupportAgent()",
        "    await agent.initialize()": "await agent.initialize()",
        "    response = await": "response = await",
    },
    "caching": {
        "from functools import lru_cache\n\n@lru_cache(maxsize=100)\n": "cached_threads = {}\n\n",
        "    return await thread_store.get_thread(thread_id)": """\
    if thread_id not in cached_threads:
        cached_threads[thread_id] = await thread_store.get_thread(thread_id)
    return cached_threads[thread_id]""",
    },
}

_CREATE = re.compile(r'ThreadStore\.create\(\s*"([^"]+)"\s*\)')  # a line that is commented out does not match


def lines() -> list[str]:
    """The guide, line by line."""
    return GUIDE.read_text(encoding="utf-8").splitlines()


def printed(name: str) -> str:
    """A snippet as the guide prints it."""
    first, last = (PYTHON | SHELL)[name]
    return "\n".join(lines()[first - 1 : last]) + "\n"


def mended(name: str) -> str:
    """A snippet with its mends."""
    text = printed(name)
    for wrong, right in MENDS[name].items():
        assert wrong in text, wrong
        text = text.replace(wrong, right)
    return text


def on(url: str | None, text: str) -> str:
    """The snippet with its database replaced by `url`; None means memory: `create()` without a URL."""
    call = "ThreadStore.create()" if url is None else f'ThreadStore.create("{url}")'
    return _CREATE.sub(lambda _: call, text)


async def run(text: str, namespace: dict[str, Any]) -> None:
    """Run it as a notebook would: `await` is allowed at the top, names stay in the namespace."""
    code = compile(text, "the guide", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        await eval(code, namespace)
    else:
        exec(code, namespace)
