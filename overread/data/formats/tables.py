"""Reading a CSV table: its columns, its ragged rows, and quotes that are never closed."""

import csv
from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from overread.config import did_you_mean
from overread.data.texts import shown
from overread.errors import DataError

__all__ = ["Table", "read_table"]

# Follows the last line: a quote that is still open swallows it.
END = "end of the table"
UNCLOSED = "look for a quote that is not closed; a quote within a quoted field is written twice"


@dataclass(frozen=True)
class Table:
    """A table of N rows, all fields stripped."""

    path: Path
    columns: dict[str, list[str]]
    """Name -> (N,)."""
    ragged: dict[int, str]
    """Row -> why its fields may stand in the wrong columns."""
    lines: list[tuple[int, int]]
    """(N,) the first and the last line of every row, from 1."""

    def column(self, name: str, key: str) -> list[str]:
        """The fields (N,) of a column; DataError naming the configuration key where there is none."""
        if name not in self.columns:
            known = did_you_mean(name, [shown(other) for other in self.columns])
            raise DataError(f"{self.path} has no column {name!r} ({key}): {known}")
        return self.columns[name]

    def refuse_ragged(self) -> None:
        """DataError for the first row whose fields may stand in the wrong columns, if there is one."""
        if self.ragged:
            raise DataError(f"{next(iter(self.ragged.values()))}; mend the table")

    def line_breaks(self, names: Collection[str | None]) -> dict[int, str]:
        """Rows with a line break in one of the columns `names`, which one quote too few has brought there."""
        return {
            i: f"row {i + 1} of {self.path}, line {first} to {last}, has a line break in {name!r}: {UNCLOSED}"
            for name, fields in self.columns.items()
            if name in names
            for i, (first, last) in enumerate(self.lines)
            if first < last and len(fields[i].splitlines()) > 1
        }


def read_table(path: Path) -> Table:
    """The table at `path`, separated by the most frequent of comma, semicolon and tab in its first line.

    DataError: no UTF-8 text, no rows, a column twice, a quote that is never closed.
    """
    rows: list[list[str]] = []
    lines: list[tuple[int, int]] = []
    last = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            reader = csv.reader(chain(stream, [END]), delimiter=max(",;\t", key=first.count))
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append((last + 1, reader.line_num))
                last = reader.line_num
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the table {path} cannot be read as UTF-8 text ({error}): save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"the table {path} cannot be read from line {last + 1} on ({error}): {UNCLOSED}") from None
    if rows.pop() != [END]:
        raise DataError(f"the row of {path} that begins in line {lines[-1][0]} never ends: {UNCLOSED}")
    if len(rows) < 2:
        raise DataError(f"the table {path} has no rows below its header")
    header = [name.strip() for name in rows[0]]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"the table {path} has the column {twice[0]!r} twice")
    ragged: dict[int, str] = {}
    width = len(header)
    for i, (row, (begin, end)) in enumerate(zip(rows[1:], lines[1:-1], strict=True)):
        if len(row) != width:
            ragged[i] = f"row {i + 1} of {path} has {len(row)} fields where the header has {width}"
            if begin < end:
                ragged[i] += f", and goes from line {begin} to line {end}: {UNCLOSED}"
            row[:] = (row + [""] * width)[:width]
    columns = {name: [row[k].strip() for row in rows[1:]] for k, name in enumerate(header)}
    return Table(path, columns, ragged, lines[1:-1])
