"""Stored embeddings as a training loop wants them: some rows, centred and scaled, without a copy of all of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from overread.arrays import FloatArray, IntArray
from overread.arrays.rows import RowArray, row_slices

__all__ = ["EmbeddingRows", "Scaling", "SideBySide", "scaling_of", "standardised"]

# What is smaller than this is standardised once and kept in memory; what is larger, batch by batch.
IN_MEMORY_BYTES = 512 << 20


class Scaling(NamedTuple):
    """Mean and deviation (D,) of every dimension; 1 where the deviation is 0."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]


class EmbeddingRows:
    """The rows of `embeddings` at `positions`, numbered anew from 0; centred and scaled where `scaling` says how.

    Made when they are asked for, so nothing is copied before.  The numbers are those of the whole array to the bit.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, embeddings: RowArray, positions: IntArray, scaling: Scaling | None = None) -> None:
        self._embeddings = embeddings
        self._positions = positions
        self._scaling = scaling
        self.shape = (len(positions), embeddings.shape[1])

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, rows: slice | IntArray, /) -> FloatArray:
        found = self._embeddings[self._positions[rows]]
        if self._scaling is None:
            return found
        return np.asarray((found - self._scaling.mean) / self._scaling.scale, dtype=np.float32)


class SideBySide:
    """Embeddings of several backbones, one behind the other in every row, joined when they are asked for.

    Each is divided by the root of its mean squared distance to its mean over the rows at `positions`, so that all have
    an equal say in distances and penalties, whatever their width.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, parts: Sequence[RowArray], positions: IntArray) -> None:
        self._parts = parts
        self._spreads = [_spread(part, positions) for part in parts]
        self.shape = (len(parts[0]), sum(part.shape[1] for part in parts))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | IntArray, /) -> FloatArray:
        scaled = [part[rows] / spread for part, spread in zip(self._parts, self._spreads, strict=True)]
        return np.concatenate(scaled, axis=1).astype(np.float32)


def _spread(embeddings: RowArray, positions: IntArray) -> float:
    """Root of the mean squared distance to the mean; 1 where that is 0."""
    _, squares = _mean_and_squares(embeddings, positions)
    return float(np.sqrt(squares.sum() / len(positions))) or 1.0


def scaling_of(embeddings: RowArray, positions: IntArray) -> Scaling:
    """Mean and deviation over the rows at `positions`, in float64, in two passes over parts of them."""
    mean, squares = _mean_and_squares(embeddings, positions)
    deviation = np.sqrt(squares / len(positions))
    return Scaling(mean, np.where(deviation > 0, deviation, 1.0))


def _mean_and_squares(embeddings: RowArray, positions: IntArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (D,) over the rows at `positions`, and the sum (D,) of their squared distances to it."""
    rows = EmbeddingRows(embeddings, positions)
    mean = _sum(rows, np.zeros(rows.shape[1]), 1) / len(rows)
    return mean, _sum(rows, mean, 2)


def _sum(rows: EmbeddingRows, mean: NDArray[np.float64], power: int) -> NDArray[np.float64]:
    """Sum (D,) of the powers of the rows' differences to `mean`.

    Added row by row, and the sum so far as the first of the next part: not a bit depends on the size of the parts.
    """
    total = np.zeros((1, rows.shape[1]))
    for part in row_slices(rows):
        values = rows[part].astype(np.float64) - mean
        total = np.concatenate([total, values if power == 1 else values * values]).sum(axis=0, keepdims=True)
    return np.asarray(total[0])


def standardised(embeddings: RowArray, positions: IntArray, scaling: Scaling) -> RowArray:
    """The rows at `positions`, centred and scaled: an array where it is small, else a view that makes them."""
    rows = EmbeddingRows(embeddings, positions, scaling)
    if 4 * rows.shape[0] * rows.shape[1] > IN_MEMORY_BYTES:
        return rows
    kept = np.empty(rows.shape, np.float32)
    for part in row_slices(rows):
        kept[part] = rows[part]
    return kept
