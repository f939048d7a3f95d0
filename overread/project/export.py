"""The cleaned set with the history of every label, row by row, so that memory does not grow with the project."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from overread.errors import RunError
from overread.files import atomic_path
from overread.project.folder import Project
from overread.project.snapshot import take_snapshot
from overread.results import round_file
from overread.store import StoredRead, current_among

__all__ = ["FORMATS", "export_labels"]

ROWS_AT_ONCE = 10_000
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("given", pa.string()),
        ("suggested", pa.string()),
        ("label", pa.string()),
        ("source", pa.string()),
        ("presumed_clean", pa.bool_()),
        ("label_quality", pa.float64()),
        ("probability", pa.float64()),
        ("round", pa.int64()),
        ("reads", pa.string()),
    ]
)

Row = dict[str, Any]
Write = Callable[[list[Row]], None]


def export_labels(project: Project, out: Path, form: str) -> int:
    """The number of rows written to `out`: every item with its label and where that comes from.

    form: csv or parquet.  Columns: `given`, what the model suggests, `label` and its `source` (adjudicated, read,
    disputed = what the model suggests where readers do not agree, given = what the model agrees with, model), the
    `probability` of the label by the image alone, and `reads`, JSON with every read that was ever made of the item,
    those that were replaced later included.  Written whole or not at all.
    Errors: RunError before phase 1, and for a file that the project is made of.
    """
    sources = [project.config.data.path, project.config.data.metadata, project.state.get("labels")]
    if out.exists() and any(each is not None and Path(each).exists() and out.samefile(each) for each in sources):
        raise RunError(f"{out} holds the images or labels of the project: give another file with --out")
    if out.is_dir():
        raise RunError(f"{out} is a folder: give a file with --out")
    if out.absolute().is_relative_to(project.folder.absolute()):
        raise RunError(f"{out} lies in the project folder: give a file outside of it with --out")
    if not project.rounds:
        raise RunError(f"phase 1 comes first: `overread learn {project.folder}`")
    count = 0
    with atomic_path(out) as path, FORMATS[form](path) as write:
        for rows in _batches(project):
            write(rows)
            count += len(rows)
        if count != project.state["dataset"]["items"]:
            raise RunError(f"the scores of {project.folder} hold {count} items, not all: restore them from a copy")
    return count


@contextmanager
def _csv(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, SCHEMA.names, lineterminator="\n")
        writer.writeheader()
        yield writer.writerows


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    with pq.ParquetWriter(path, SCHEMA) as writer:
        yield lambda rows: writer.write_table(pa.Table.from_pylist(rows, SCHEMA))


FORMATS = {"csv": _csv, "parquet": _parquet}


def _batches(project: Project) -> Iterator[list[Row]]:
    path = round_file(project.folder, "scores", len(project.rounds) - 1)
    names = project.store.classes
    events = _ByItem(project.store.all_reads())
    # After the reads, whose stream is of one moment: nobody in it is missing.
    readers = {reader.id: reader.name for reader in project.store.readers()}
    position = 0
    for batch in _scores(path):
        rows = []
        for scored in batch:
            rows.append(_row(scored, events.of(position), names, readers))
            position += 1
        yield rows


def _scores(path: Path) -> Iterator[list[Row]]:
    """The rows of a file of scores; RunError where it is lost or damaged."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE):
                yield batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path}, the scores of a round, cannot be read ({error}); restore it from a copy") from None


class _ByItem:
    """A stream of reads in the order of their items, asked for item by item."""

    def __init__(self, reads: Iterator[StoredRead]) -> None:
        self._groups = groupby(reads, key=lambda read: read.item)
        self._next = next(self._groups, None)

    def of(self, position: int) -> list[StoredRead]:
        """The reads of the item at `position`; positions are asked for in ascending order."""
        if self._next is None or self._next[0] != position:
            return []
        found = list(self._next[1])
        self._next = next(self._groups, None)
        return found


def _row(scored: Row, events: list[StoredRead], names: tuple[str, ...], readers: dict[int, str]) -> Row:
    label, source = _label_of(scored, events, len(names))
    return {
        "id": scored["id"],
        "given": names[scored["given"]],
        "suggested": names[scored["suggested"]],
        "label": names[label],
        "source": source,
        "presumed_clean": scored["presumed_clean"],
        "label_quality": scored["label_quality"],
        "probability": float(scored[f"prob_{label}"]),
        "round": max((read.round for read in events if read.round is not None), default=None),
        "reads": json.dumps([_as_json(read, names, readers) for read in events], ensure_ascii=False),
    }


def _label_of(scored: Row, events: list[StoredRead], n_classes: int) -> tuple[int, str]:
    """The label of an item, and where it comes from."""
    if events:
        standing = current_among(events)
        agreed = take_snapshot((read._replace(item=0) for read in standing), 1, n_classes)
        if len(agreed.positions):
            decided = any(read.kind == "adjudication" for read in standing)
            return int(agreed.labels[0]), "adjudicated" if decided else "read"
        if len(agreed.disputed):
            return int(scored["suggested"]), "disputed"
    # Of an item whose read was taken back the scores still hold what was said.
    label = int(scored["suggested"] if scored["bought"] else scored["exported"])
    return label, "given" if label == scored["given"] else "model"


def _as_json(read: StoredRead, names: tuple[str, ...], readers: dict[int, str]) -> Row:
    return {
        "read": read.sequence,
        "reader": readers[read.reader],
        "kind": read.kind,
        "label": None if read.label is None else names[read.label],
        "round": read.round,
        "when": read.when.isoformat(),
        "seconds": read.seconds,
        "shown": read.shown,
        "comment": read.comment,
        "replaces": read.supersedes,
    }
