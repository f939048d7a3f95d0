"""Rows that need not be in memory: what is asked of feature arrays that may be larger than it."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from overread.arrays import FloatArray, IntArray

__all__ = ["RowArray", "row_slices"]

# Small enough that a few copies of it, in float64 too, are nothing; large enough to be read at full speed.
BLOCK_BYTES = 4 << 20


class RowArray(Protocol):
    """(N, D) numbers by row: an array, or a view of a file that reads what is asked for and hands out a copy."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)"""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the rows that are handed out."""

    def __len__(self) -> int:
        """N"""

    def __getitem__(self, rows: slice | IntArray, /) -> FloatArray:
        """The rows of a slice, or those at positions (B,) in their order."""


def row_slices(rows: RowArray) -> Iterator[slice]:
    """Slices of some megabytes that cover all `rows` in order.

    >>> [(part.start, part.stop) for part in row_slices(np.zeros((3, 1 << 18)))]
    [(0, 2), (2, 3)]
    """
    at_once = max(1, BLOCK_BYTES // max(1, int(np.prod(rows.shape[1:])) * rows.dtype.itemsize))
    for start in range(0, len(rows), at_once):
        yield slice(start, min(start + at_once, len(rows)))
