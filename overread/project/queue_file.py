"""The queue of a round as files: what was drawn for the audit and what was chosen, and tables to read by hand."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from overread.errors import RunError
from overread.files import write_json, write_text
from overread.results import round_file

__all__ = ["disputed_file", "read_queue", "table_file", "write_disputed", "write_queue"]

HEAD = ["id", "image", "label", "comment"]


def write_queue(folder: Path, number: int, queue: Mapping[str, list[int]], rows: Sequence[tuple[str, str]]) -> None:
    """Write the positions of round `number`, and `rows` (id, where the image is) in the order in which they are read.

    The table has neither the given label nor why an item was chosen: who reads is not told either.
    """
    write_json(_positions_file(folder, number), {**queue, "rows": [list(row) for row in rows]})
    _write_table(table_file(folder, number), rows)


def read_queue(folder: Path, number: int) -> dict[str, list[int]]:
    """`audited` and `chosen` positions of round `number`; RunError where the file is lost."""
    queue = _read(folder, number)
    return {name: queue[name] for name in ("audited", "chosen")}


def write_disputed(folder: Path, n_rounds: int, positions: Iterable[int]) -> None:
    """Write the table of the items at `positions` after the last round, for the one who decides; none for no items.

    Each round has its own: what somebody has filled in stays.
    """
    where: dict[int, Sequence[str]] = {}
    for number in range(1, n_rounds + 1):
        queue = _read(folder, number)
        where.update(zip([*queue["audited"], *queue["chosen"]], queue["rows"], strict=True))
    rows = [where[position] for position in positions if position in where]
    if rows:
        _write_table(disputed_file(folder, n_rounds), rows)


def disputed_file(folder: Path, number: int) -> Path:
    """The table of the items that are disputed after round `number`."""
    return folder / "queue" / f"disputed-{number:03d}.csv"


def table_file(folder: Path, number: int) -> Path:
    """The table of round `number` that can be filled in by hand."""
    return round_file(folder, "queue", number, ".csv")


def _write_table(path: Path, rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    writer.writerows([*row, "", ""] for row in rows)
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
