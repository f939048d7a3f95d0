"""What all readers of an item say together, and the labels that a model learns from: a pure function of the reads.

An adjudication decides.  Else it is the class that more readers named than any other, or the one that is most probable
by the errors of the readers, as the project was told; where there is none the item is disputed, and as good as unread.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from overread.arrays import BoolArray, IntArray
from overread.arrays.agreed import MAJORITY, agreed_labels
from overread.arrays.consensus import CANNOT_TELL, count_votes
from overread.errors import RunError
from overread.files import write_table
from overread.store import StoredRead

__all__ = [
    "NOTHING",
    "Snapshot",
    "load_snapshot",
    "opinions_among",
    "save_snapshot",
    "snapshot_of_reads",
    "take_snapshot",
]


class Snapshot(NamedTuple):
    """The state of the reads at one time; arrays have one row for each item with a label that readers agree on."""

    positions: IntArray
    """(R,) ascending."""
    labels: IntArray
    """(R,) what readers say together."""
    rounds: IntArray
    """(R,) the round in which the item was first read; 0 = before or beside all rounds."""
    disputed: IntArray
    """(D,) items that were read, and on whose label readers do not agree."""
    unclear: IntArray
    """(U,) items of which all who read them said that they cannot tell."""


NOTHING = Snapshot(*(np.empty(0, dtype=np.int64) for _ in Snapshot._fields))


def opinions_among(reads: Iterable[StoredRead]) -> tuple[IntArray, IntArray, IntArray]:
    """Item, reader and label (R,) of the standing `reads` that are no adjudications, for `arrays.consensus`."""
    rows = [
        (read.item, read.reader, CANNOT_TELL if read.label is None else read.label)
        for read in reads
        if read.kind != "adjudication"
    ]
    item, reader, label = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return item, reader, label


def take_snapshot(reads: Iterable[StoredRead], n_items: int, n_classes: int, rule: str = MAJORITY) -> Snapshot:
    """The snapshot of the standing `reads`, in any order.

    rule: one of `RULES`.  Under the first one the label of an item follows from its own reads.
    """
    reads = list(reads)
    item, reader, label = opinions_among(reads)
    readers, reader = np.unique(reader, return_inverse=True)
    votes = count_votes(item, label, n_items, n_classes)
    agreed = agreed_labels(item, reader, label, n_items, len(readers), n_classes, rule)
    first: dict[int, int] = {}
    for read in reads:
        first[read.item] = min(first.get(read.item, read.round or 0), read.round or 0)
        if read.kind == "adjudication":
            assert read.label is not None
            agreed[read.item] = read.label
    seen: BoolArray = np.zeros(n_items, dtype=bool)
    seen[list(first)] = True
    positions = np.flatnonzero(agreed != CANNOT_TELL)
    open_items = seen & (agreed == CANNOT_TELL)
    return Snapshot(
        positions,
        agreed[positions],
        np.array([first[position] for position in positions.tolist()], dtype=np.int64),
        np.flatnonzero(open_items & (votes.sum(axis=1) > 0)),
        np.flatnonzero(open_items & (votes.sum(axis=1) == 0)),
    )


def snapshot_of_reads(reads: Iterable[StoredRead], n_classes: int, rule: str) -> Snapshot:
    """The same snapshot as `take_snapshot`, in time and memory that grow with the reads and not with the items."""
    reads = list(reads)
    items = np.unique(np.array([read.item for read in reads], dtype=np.int64))
    row = {item: i for i, item in enumerate(items.tolist())}
    found = take_snapshot((read._replace(item=row[read.item]) for read in reads), len(items), n_classes, rule)
    return found._replace(
        positions=items[found.positions], disputed=items[found.disputed], unclear=items[found.unclear]
    )


def save_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write what a model learns from; what is open is not part of it."""
    columns = {"position": snapshot.positions, "label": snapshot.labels, "round": snapshot.rounds}
    write_table(path, pa.table({name: pa.array(values, pa.int64()) for name, values in columns.items()}))


def load_snapshot(path: Path) -> Snapshot:
    """The snapshot that `save_snapshot` wrote; RunError where it is lost or damaged."""
    try:
        table = pq.read_table(path, columns=["position", "label", "round"])
    except (OSError, pa.ArrowException, KeyError) as error:
        raise RunError(
            f"{path}, what a round learnt from, cannot be read ({error}): check its permissions, or restore it "
            "from a copy"
        ) from None
    columns = [np.asarray(table[name], dtype=np.int64) for name in ("position", "label", "round")]
    return NOTHING._replace(positions=columns[0], labels=columns[1], rounds=columns[2])
