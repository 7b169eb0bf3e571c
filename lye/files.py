"""The file tools: list, read, search and, where a developer says so, change files beneath one folder.

How a path stays beneath it is `_root.py`'s, which names are secrets `_secrets.py`'s.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from lye._listing import list_folder
from lye._reading import ReadLimits, Wanted, read_path
from lye._root import Root
from lye._secrets import Secrets
from lye._stoppable import in_thread
from tyler.tools import Tool, tool

MAX_READ_BYTES = 10_000_000
MAX_ENTRIES = 1_000
TIMEOUT_S = 10.0
MAX_DOCUMENT_BYTES = 25_000_000
DOCUMENT_TIMEOUT_S = 30.0


def files_tools(
    root: str | os.PathLike[str] = ".",
    *,
    write: bool = False,
    deny: Sequence[str] = (),
    allow_secrets: Sequence[str] = (),
    allow_hard_links: bool = False,
    max_read_bytes: int = MAX_READ_BYTES,
    max_entries: int = MAX_ENTRIES,
    timeout_s: float = TIMEOUT_S,
    max_document_bytes: int = MAX_DOCUMENT_BYTES,
    document_timeout_s: float = DOCUMENT_TIMEOUT_S,
) -> list[Tool]:
    """x"""
    limits = {"max_read_bytes": max_read_bytes, "max_entries": max_entries, "timeout_s": timeout_s}
    for name, value in limits.items():
        if not value > 0:
            raise ValueError(f"{name} is {value!r}; pass a number above 0")
    read_limits = ReadLimits(max_read_bytes, max_document_bytes, document_timeout_s)
    folder = Root.of(root, Secrets.of(deny, allow_secrets), allow_hard_links)

    @tool(risk="read", effect="read", touches={"private"})
    async def list_files(path: str = ".", pattern: str | None = None, depth: int | None = None) -> str:
        """List files and folders with their sizes. Entries that cannot be opened are marked.

        Args:
            path: The folder, from the opened one down
            pattern: Only names that fit, at any depth: '*.py', 'src/**/*.md'
            depth: How many levels of folders; 1 is this folder alone
        """
        return await in_thread(lambda stop: list_folder(folder, path, pattern, depth, max_entries, stop), timeout_s)

    @tool(risk="read", effect="read", touches={"private"})
    async def read_file(
        path: str,
        page: int = 1,
        first_line: int | None = None,
        last_line: int | None = None,
        encoding: str | None = None,
    ) -> str:
        """Read a file: text, a PDF, a Word, Excel or PowerPoint document; of a CSV table its first rows.

        Args:
            path: The file, from the opened folder down
            page: Which page of a long text, from 1
            first_line: Only the lines from this one, counted from 1
            last_line: Only the lines up to this one
            encoding: The charset, if the file is not UTF-8: 'windows-1251', 'shift_jis'
        """
        return await read_path(folder, Wanted(path, page, first_line, last_line, encoding), read_limits)

    return [list_files, read_file]


FILES_TOOLS = files_tools()
