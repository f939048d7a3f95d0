"""The queue of a round as files: what was drawn for the audit and what was chosen, and tables to read by hand."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from overread.data.formats.tables import stream_table
from overread.errors import DataError, RunError
from overread.files import write_json, write_text
from overread.results import round_file

__all__ = ["disputed_file", "read_queue", "read_rows", "table_file", "write_disputed", "write_queue"]

HEAD = ["id", "image", "label", "comment"]


def write_queue(folder: Path, number: int, queue: Mapping[str, list[int]], rows: Sequence[tuple[str, str]]) -> None:
    """Write the positions of round `number`, and `rows` (id, where the image is) in the order in which they are read.

    The table has neither the given label nor why an item was chosen: who reads is not told either.  There is none
    without rows.
    """
    write_json(_positions_file(folder, number), {**queue, "rows": [list(row) for row in rows]})
    if rows:
        _write_table(table_file(folder, number), HEAD, [dict(zip(HEAD, row, strict=False)) for row in rows])
    else:
        # Of a selection that was killed before its round was opened.
        table_file(folder, number).unlink(missing_ok=True)


def read_queue(folder: Path, number: int) -> dict[str, list[int]]:
    """`audited` and `chosen` positions of round `number`; RunError where the file is lost."""
    queue = _read(folder, number)
    return {name: queue[name] for name in ("audited", "chosen")}


def read_rows(folder: Path, n_rounds: int) -> dict[int, tuple[str, str]]:
    """Position -> (id, where the image is) of every item that one of the first rounds asked for."""
    where: dict[int, tuple[str, str]] = {}
    for number in range(1, n_rounds + 1):
        queue = _read(folder, number)
        where.update(zip([*queue["audited"], *queue["chosen"]], map(tuple, queue["rows"]), strict=True))
    return where


def write_disputed(folder: Path, number: int, rows: Sequence[tuple[str, str]]) -> None:
    """Write the table of the items on which readers do not agree after round `number`, for the one who decides.

    rows: (id, where the image is).  Each round has its own table, and none where there are no rows.  Rows that it has
    stay, also with what somebody has filled in; a table that cannot be read any more stays as it is.
    """
    path = disputed_file(folder, number)
    try:
        there = {row["id"]: row for row in _rows_of(path)}
    except DataError:
        return
    new = {name: {"id": name, "image": image} for name, image in rows if name not in there}
    if new:
        # Columns of one's own stay, such as who decided.
        head = list(dict.fromkeys([*HEAD, *(name for row in there.values() for name in row)]))
        _write_table(path, head, [*there.values(), *new.values()])


def _rows_of(path: Path) -> Iterator[dict[str, str]]:
    return stream_table(path, HEAD[:1]) if path.exists() else iter(())


def disputed_file(folder: Path, number: int) -> Path:
    """The table of the items that are disputed after round `number`."""
    return folder / "queue" / f"disputed-{number:03d}.csv"


def table_file(folder: Path, number: int) -> Path:
    """The table of round `number` that can be filled in by hand."""
    return round_file(folder, "queue", number, ".csv")


def _write_table(path: Path, head: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, head, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _positions_file(folder: Path, number: int) -> Path:
    return round_file(folder, "queue", number, ".json")


def _read(folder: Path, number: int) -> dict[str, Any]:
    path = _positions_file(folder, number)
    try:
        queue: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {name: queue[name] for name in ("audited", "chosen", "rows")}
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}, the queue of a round, cannot be read ({error}); restore it from a copy") from None
