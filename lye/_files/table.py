"""A CSV or TSV file's header, number of rows, and first rows as a table."""

from __future__ import annotations

import csv
import io
import itertools
from dataclasses import dataclass

SHOWN_ROWS = 20
_MAX_COLUMNS, _MAX_CELL_CHARS = 30, 80
_SEPARATORS = ",\t;|"


@dataclass(frozen=True)
class Table:
    """The first rows, the header among them, and how many rows are below the header."""

    rows: list[list[str]]
    row_count: int
    column_count: int
    separator: str

    def notes(self) -> tuple[str, ...]:
        """The header lines of an excerpt."""
        shown = min(SHOWN_ROWS, self.row_count)
        named = {"\t": "tab"}.get(self.separator, self.separator)
        more = "; call again with first_line=1 for the text itself" if shown < self.row_count else ""
        return (
            f"Table: {self.row_count:,} rows below the header, {self.column_count:,} columns, separator {named}",
            f"Rows 1 to {shown} are shown{more}" if shown else "It has no rows",
        )

    def text(self) -> str:
        """A Markdown table."""
        width = min(self.column_count, _MAX_COLUMNS)
        lines = [_line(row, width, self.column_count) for row in self.rows]
        lines.insert(1, "|" + " --- |" * (width + (width < self.column_count)))
        return "\n".join(lines)


def read_table(text: str, is_tsv: bool) -> Table | None:
    """The table; None when the text is no regular one."""
    first = text.partition("\n")[0]
    separator = "\t" if is_tsv else max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=separator)
    try:
        shown = list(itertools.islice((row for row in reader if row), SHOWN_ROWS + 1))
        more = sum(1 for row in reader if row)
    except csv.Error:  # a field over csv's limit, a NUL
        return None
    return Table(shown, len(shown) - 1 + more, len(shown[0]), separator) if shown else None


def _line(row: list[str], width: int, column_count: int) -> str:
    cells = [_cell(cell) for cell in (row + [""] * width)[:width]]
    if width < column_count:
        cells.append(f"... {column_count - width:,} more")
    return "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    short = text if len(text) <= _MAX_CELL_CHARS else text[: _MAX_CELL_CHARS - 3] + "..."
    return " ".join(short.split()).replace("\\", "\\\\").replace("|", "\\|")
