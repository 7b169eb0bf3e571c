"""The file tools: list, read, search and, where a developer says so, change files beneath one folder.

How a path stays beneath it is `_files/root.py`'s, which names are secrets `_files/secrets.py`'s.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from lye._files.listing import list_folder
from lye._files.reading import ReadLimits, Wanted, read_path
from lye._files.root import Root
from lye._files.secrets import Secrets
from lye._files.stoppable import in_thread
from lye._files.text_search import Query, search
from lye._files.writing import edit_path, write_path
from tyler.tools import Tool, tool

MAX_TEXT_BYTES = 10_000_000
MAX_DOCUMENT_BYTES = 25_000_000
MAX_ENTRIES = 1_000
MAX_MATCHES = 200
TIMEOUT_S = 10.0
DOCUMENT_TIMEOUT_S = 30.0


def files_tools(
    root: str | os.PathLike[str] = ".",
    *,
    write: bool = False,
    deny: Sequence[str] = (),
    allow_secrets: Sequence[str] = (),
    allow_hard_links: bool = False,
    max_text_bytes: int = MAX_TEXT_BYTES,
    max_document_bytes: int = MAX_DOCUMENT_BYTES,
    max_entries: int = MAX_ENTRIES,
    max_matches: int = MAX_MATCHES,
    timeout_s: float = TIMEOUT_S,
    document_timeout_s: float = DOCUMENT_TIMEOUT_S,
) -> list[Tool]:
    """`list_files`, `read_file` and `search_files` beneath the folder `root`; with `write`, `write_file` and
    `edit_file` as well.

    The root "." is the folder where the program stands at each call, unless that is `/` or a home. Any other one is
    looked up now, and must stay the same folder. `deny` shuts more names ("*.sql", "private"), `allow_secrets` opens
    some that the built-in patterns shut (".env.test"), `allow_hard_links` files that have more than one name.
    `max_text_bytes` bounds a text read, searched or written, `timeout_s` a listing or a search. Raises ValueError for
    a root that is no folder, an entry that is no pattern, and a limit that is not above 0.
    """
    limits = {
        "max_text_bytes": max_text_bytes,
        "max_document_bytes": max_document_bytes,
        "max_entries": max_entries,
        "max_matches": max_matches,
        "timeout_s": timeout_s,
        "document_timeout_s": document_timeout_s,
    }
    for name, value in limits.items():
        if not value > 0:
            raise ValueError(f"{name} is {value!r}; pass a number above 0")
    folder = Root.of(root, Secrets.of(deny, allow_secrets), allow_hard_links)
    read_limits = ReadLimits(max_text_bytes, max_document_bytes, document_timeout_s)

    @tool(risk="read", effect="read", touches={"private"})
    async def list_files(path: str = ".", pattern: str | None = None, depth: int | None = None) -> str:
        """List files and folders with their sizes. Entries that cannot be opened are marked.

        Args:
            path: The folder, written from the opened one down
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
        """Read a file: text, a PDF, a Word, Excel or PowerPoint document; of a CSV table the first rows.

        Args:
            path: The file, written from the opened folder down
            page: Which page of a long text, from 1
            first_line: Only the lines from this one on, counted from 1
            last_line: Only the lines up to this one
            encoding: The charset, if it is not UTF-8: 'windows-1251', 'shift_jis'
        """
        return await read_path(folder, Wanted(path, page, first_line, last_line, encoding), read_limits)

    @tool(risk="read", effect="read", touches={"private"})
    async def search_files(
        query: str, path: str = ".", regex: bool = False, pattern: str | None = None, ignore_case: bool = False
    ) -> str:
        """Find the lines of text files that hold a text. Returns path, line number and line of each.

        Args:
            query: The text, on one line
            path: The folder or file to search, written from the opened folder down
            regex: Take the query for a regular expression of Python's
            pattern: Only files whose names fit: '*.py', 'src/**/*.md'
            ignore_case: Take capitals and small letters for the same
        """
        wanted = Query(query, path, regex, pattern, ignore_case, max_matches, max_text_bytes, timeout_s)
        return await search(folder, wanted)

    @tool(risk="write", effect="idempotent", touches={"private"})
    async def write_file(path: str, content: str) -> str:
        """Write a text file, in place of the one that is there. Missing folders are made.

        Args:
            path: The file, written from the opened folder down
            content: The whole text of the file
        """
        return await in_thread(lambda stop: write_path(folder, path, content, max_text_bytes, stop))

    # Not "idempotent": where `new` holds `old`, a second time would change more.
    @tool(risk="write", effect="once", touches={"private"})
    async def edit_file(path: str, old: str, new: str) -> str:
        """Replace one piece of a text file. Fails when `old` is not there, or there more than once.

        Args:
            path: The file, written from the opened folder down
            old: The text to replace, exactly as it is in the file, long enough to be there once
            new: The text to put in its place
        """
        return await in_thread(lambda stop: edit_path(folder, path, old, new, max_text_bytes, stop))

    reading = [list_files, read_file, search_files]
    return [*reading, write_file, edit_file] if write else reading


FILES_TOOLS = files_tools()
