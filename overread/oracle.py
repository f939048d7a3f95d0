"""Who answers reads, and the count of what was answered: the only door to the truth.

The two phases never hold the reference labels.  They hold an `Oracle`, and every label that it gives is a `Read` that
is kept, counted and written to the run folder, whatever it was asked for.
"""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from overread.arrays import IntArray
from overread.errors import RunError
from overread.files import write_table
from overread.rng import generator

__all__ = ["Oracle", "Read", "SimulatedOracle", "load_reads", "save_reads"]


class Read(NamedTuple):
    """One answer on one item."""

    position: int
    label: int
    round: int
    purpose: str
    """`bought` by the sampler, `audit` where it was drawn at random, or `leak` where the published code's label leak is
    reproduced."""


class Oracle(Protocol):
    """Answers questions about items and remembers every answer."""

    reads: list[Read]

    def answer(self, positions: IntArray, round_number: int, purpose: str) -> IntArray:
        """Labels of `positions` (k,), in their order; each one is recorded in `reads`."""


class SimulatedOracle:
    """A reader who knows the reference labels and errs in a share `error_rate` of the reads.

    An erring reader names a uniformly drawn other class.  Errors depend on seed and round alone.
    """

    def __init__(self, reference: IntArray, n_classes: int, error_rate: float, seed: int) -> None:
        self._reference = reference
        self._n_classes = n_classes
        self._error_rate = error_rate
        self._seed = seed
        self.reads: list[Read] = []

    def answer(self, positions: IntArray, round_number: int, purpose: str) -> IntArray:
        labels = self._reference[positions].copy()
        if self._error_rate > 0.0:
            rng = generator(self._seed, "oracle", round_number, purpose)
            errs = rng.random(len(labels)) < self._error_rate
            shift = rng.integers(1, self._n_classes, size=len(labels))
            labels[errs] = (labels[errs] + shift[errs]) % self._n_classes
        self.reads += [
            Read(int(position), int(label), round_number, purpose)
            for position, label in zip(positions, labels, strict=True)
        ]
        return labels


def save_reads(path: Path, reads: list[Read], ids: np.ndarray[tuple[int], np.dtype[np.str_]]) -> None:
    """Write all reads to `path` as Parquet, atomically."""
    # With types, which a list without entries does not say.
    columns = {
        "id": pa.array([str(ids[read.position]) for read in reads], pa.string()),
        "position": pa.array([read.position for read in reads], pa.int64()),
        "label": pa.array([read.label for read in reads], pa.int64()),
        "round": pa.array([read.round for read in reads], pa.int64()),
        "purpose": pa.array([read.purpose for read in reads], pa.string()),
    }
    write_table(path, pa.table(columns))


def load_reads(path: Path, last_round: int) -> list[Read]:
    """Reads of the rounds up to `last_round`; later ones belong to a round that was not completed."""
    try:
        rows = pq.read_table(path).to_pylist()
        reads = [Read(row["position"], row["label"], row["round"], row["purpose"]) for row in rows]
    except (OSError, pa.ArrowException, KeyError) as error:
        raise RunError(f"the reads in {path} cannot be read ({error}); start again in another folder") from None
    return [read for read in reads if read.round <= last_round]
