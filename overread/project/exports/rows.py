"""Every item with its label, where that comes from, and all that was said of it, some thousand at a time."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from overread.arrays.agreed import MAJORITY
from overread.errors import RunError
from overread.project.folder import Project
from overread.project.snapshot import NOTHING, snapshot_of_reads, take_snapshot
from overread.project.words import command
from overread.results import round_file
from overread.store import StoredRead, current_among

__all__ = ["Labelled", "Row", "labelled_items"]

ROWS_AT_ONCE = 10_000

Row = dict[str, Any]


class Labelled(NamedTuple):
    """One item after the last round."""

    position: int
    row: Row
    """What an exported table says of it, but for the reads: `id`, `given`, `suggested`, `label` ..."""
    reads: list[Row]
    """Every read that was ever made of it, as JSON values."""
    standing: frozenset[int]
    """Numbers of those `reads` that stand: opinions and adjudications that nothing replaces."""
    suggested_probability: float
    """Of the class that the model suggests, by the image alone."""


def labelled_items(project: Project) -> Iterator[list[Labelled]]:
    """All items of the project in batches, by position; RunError before phase 1, or where scores are lost."""
    if not project.rounds:
        raise RunError(f"phase 1 comes first: `{command('learn', project.folder)}`")
    path = round_file(project.folder, "scores", len(project.rounds) - 1)
    names = project.store.classes
    events = _ByItem(project.store.all_reads())
    # After the reads, whose stream is of one moment: nobody in it is missing.
    readers = {reader.id: reader.name for reader in project.store.readers()}
    agreed = None if project.consensus == MAJORITY else _agreed_labels(project)
    position = 0
    for batch in _scores(path):
        found = []
        for scored in batch:
            found.append(_labelled(position, scored, events.of(position), names, readers, agreed))
            position += 1
        yield found
    if position != project.state["dataset"]["items"]:
        raise RunError(f"the scores of {project.folder} hold {position} items, not all: restore them from a copy")


def _scores(path: Path) -> Iterator[list[Row]]:
    """The rows of a file of scores; RunError where it is lost or damaged."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE):
                yield batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"{path}, the scores of a round, cannot be read ({error}): check its permissions, or restore it from a copy"
        ) from None


class _Agreed(NamedTuple):
    """What follows from all reads together."""

    labels: Mapping[int, int]
    """Item -> label, where readers agree."""
    seen: Mapping[int, frozenset[int]]
    """Item -> numbers of its reads."""


def _agreed_labels(project: Project) -> _Agreed:
    """What readers agree on under a rule that has to see all reads."""
    standing = list(project.store.current_reads())
    found = snapshot_of_reads(standing, len(project.store.classes), project.consensus)
    seen: dict[int, set[int]] = {}
    for read in standing:
        seen.setdefault(read.item, set()).add(read.sequence)
    return _Agreed(
        dict(zip(found.positions.tolist(), found.labels.tolist(), strict=True)),
        {item: frozenset(numbers) for item, numbers in seen.items()},
    )


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


def _labelled(
    position: int,
    scored: Row,
    events: list[StoredRead],
    names: tuple[str, ...],
    readers: dict[int, str],
    agreed: _Agreed | None,
) -> Labelled:
    """agreed: of items that were read; None = it follows from the reads of the item alone."""
    standing = current_among(events)
    label, source = _label_of(position, scored, standing, len(names), agreed)
    row = {
        "id": scored["id"],
        "given": names[scored["given"]],
        "suggested": names[scored["suggested"]],
        "label": names[label],
        "source": source,
        "presumed_clean": scored["presumed_clean"],
        "label_quality": scored["label_quality"],
        "probability": float(scored[f"prob_{label}"]),
        "round": max((read.round for read in events if read.round is not None), default=None),
    }
    reads = [_as_json(read, names, readers) for read in events]
    probability = float(scored[f"prob_{scored['suggested']}"])
    return Labelled(position, row, reads, frozenset(read.sequence for read in standing), probability)


def _label_of(
    position: int, scored: Row, standing: list[StoredRead], n_classes: int, agreed: _Agreed | None
) -> tuple[int, str]:
    """The label of an item, and where it comes from."""
    # While the stream of all reads goes on, another one may have come, of which that state knows.
    if agreed is None or agreed.seen.get(position, frozenset()) != {read.sequence for read in standing}:
        own = take_snapshot((read._replace(item=0) for read in standing), 1, n_classes) if standing else NOTHING
        found = int(own.labels[0]) if len(own.labels) else None
    else:
        found = agreed.labels.get(position)
    if found is not None:
        decided = any(read.kind == "adjudication" for read in standing)
        return found, "adjudicated" if decided else "read"
    if any(read.label is not None for read in standing):
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
