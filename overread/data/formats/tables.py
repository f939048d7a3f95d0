"""Reading a CSV table: its columns, its ragged rows, and quotes that are never closed."""

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from overread.config import did_you_mean
from overread.data.texts import shown
from overread.errors import DataError

__all__ = ["Table", "read_table", "stream_table"]

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
    rows = _Rows(path)
    columns: list[list[str]] = [[] for _ in rows.header]
    ragged: dict[int, str] = {}
    lines: list[tuple[int, int]] = []
    for i, row in enumerate(rows):
        if row.ragged:
            ragged[i] = row.ragged
        lines.append((row.first, row.last))
        for column, text in zip(columns, row.fields, strict=True):
            column.append(text)
    return Table(path, dict(zip(rows.header, columns, strict=True)), ragged, lines)


def stream_table(path: Path, needed: Collection[str]) -> Iterator[dict[str, str]]:
    """The rows of the table that `read_table` would read, by column, one after another in bounded memory.

    DataError as of `read_table`, when it is reached; also for a ragged row, and where a column of `needed` is absent.
    """
    rows = _Rows(path)
    for name in needed:
        if name not in rows.header:
            known = did_you_mean(name, [shown(other) for other in rows.header])
            raise DataError(f"{path} has no column {name!r}: {known}")
    for row in rows:
        if row.ragged:
            raise DataError(f"{row.ragged}; mend the table")
        yield dict(zip(rows.header, row.fields, strict=True))


class _Row(NamedTuple):
    fields: list[str]
    """As many as the header has, stripped."""
    first: int
    last: int
    """Lines, from 1."""
    ragged: str
    """Why the fields may stand in the wrong columns; empty = they do not."""


class _Rows:
    """The rows below the header of a table, read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._raw = self._lines()
        first = next(self._raw, None)
        self._second = next(self._raw, None)
        if first is None or self._second is None:
            raise DataError(f"the table {path} has no rows below its header")
        self.header = [name.strip() for name in first[0]]
        twice = sorted({name for name in self.header if self.header.count(name) > 1})
        if twice:
            raise DataError(f"the table {path} has the column {twice[0]!r} twice")

    def __iter__(self) -> Iterator[_Row]:
        assert self._second is not None
        width = len(self.header)
        for i, (fields, first, last) in enumerate(chain([self._second], self._raw)):
            ragged = ""
            if len(fields) != width:
                ragged = f"row {i + 1} of {self._path} has {len(fields)} fields where the header has {width}"
                if first < last:
                    ragged += f", and goes from line {first} to line {last}: {UNCLOSED}"
            yield _Row([text.strip() for text in (fields + [""] * width)[:width]], first, last, ragged)

    def _lines(self) -> Iterator[tuple[list[str], int, int]]:
        """Fields, first and last line of every row, the header too; blank lines are passed over."""
        last, held = 0, None
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as stream:
                first = stream.readline()
                stream.seek(0)
                reader = csv.reader(chain(stream, [END]), delimiter=max(",;\t", key=first.count))
                for fields in reader:
                    if fields:
                        if held is not None:
                            yield held
                        held = fields, last + 1, reader.line_num
                    last = reader.line_num
        except OSError as error:
            raise DataError(f"the table {self._path} cannot be read ({error.strerror})") from None
        except UnicodeDecodeError as error:
            raise DataError(
                f"the table {self._path} cannot be read as UTF-8 text ({error}): save it as UTF-8"
            ) from None
        except csv.Error as error:
            raise DataError(
                f"the table {self._path} cannot be read from line {last + 1} on ({error}): {UNCLOSED}"
            ) from None
        assert held is not None
        if held[0] != [END]:
            raise DataError(f"the row of {self._path} that begins in line {held[1]} never ends: {UNCLOSED}")
