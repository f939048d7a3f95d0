"""k-centre greedy picks: exact, lazy and in bounded memory."""

from typing import NamedTuple

import numpy as np

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.arrays.rows import RowArray, row_slices
from overread.arrays.selection import smallest

__all__ = ["k_centre_greedy"]

# Sizes of the search: the hot set at first and at most, the rows and centres of one block of distances (4 MB).
_HOT = 512
_HOT_LIMIT = 2048
_ROWS = 2048
_CENTRES = 512
_PAIRS = 256  # whose differences in float64 stay in the processor's cache
_EXPONENT = 30  # features beyond 2^30 or below 2^-30 are scaled


def k_centre_greedy(features: RowArray, is_open: BoolArray, k: int) -> IntArray:
    """min(k, n) positions among the n open ones, each the farthest from all items that are not open and all picks.

    features: (N, D) finite floats, Euclidean distance; is_open: (N,). Sener and Savarese, arXiv 1708.00489,
    Algorithm 1. Without an item that is not open, the first pick is the farthest from the mean of the features.
    Ties: lower position first. Duplicates come last, once each.

    >>> k_centre_greedy(np.array([[0.0], [1.0], [5.0], [9.0]]), np.array([False, True, True, True]), 2).tolist()
    [3, 2]

    Exact, and lazy: `nearest` holds the squared distance to the nearest of those centres that an item was compared
    with, which can only fall when it meets more. So only an item that leads has to meet all centres, and the
    leader that has met them all is the pick. The items that lead meet the centres in steps that grow: most of them
    fall behind early. Features are read a few thousand rows at a time and may be larger than memory.
    """
    candidates = np.flatnonzero(is_open)
    labelled = np.flatnonzero(~is_open)
    k = min(k, len(candidates))
    if k == 0:
        return candidates[:0]
    distances = _Distances(features)
    centres = np.concatenate([labelled, np.zeros(k, np.int64)])
    n_centres = len(labelled)
    if n_centres == 0:
        centres[0] = np.argmax(distances.to_mean())
        n_centres = 1
    nearest = np.full(len(is_open), np.inf)
    nearest[centres[:n_centres]] = -1.0  # a centre never leads
    met = np.full(len(is_open), min(n_centres, _CENTRES))  # the first so many centres were compared with
    distances.lower(nearest, candidates, centres[: met[0]])
    n_hot = _HOT
    while n_centres < len(centres):
        hot = smallest(-nearest, min(n_hot, len(nearest)))
        if met[hot[0]] == n_centres:
            ready = np.sort(hot[:_HOT])
            ready = ready[met[ready] == n_centres]
            n_centres = _pick_while_leading(distances, nearest, ready, centres, n_centres)
            met[ready] = n_centres
        else:
            # Reading the centres is worth it for many items at a time, where many items have to meet them.
            n_hot = min(2 * n_hot, _HOT_LIMIT)
            behind = hot[(met[hot] < n_centres) & (nearest[hot] >= 0)]
            for count, group in [(count, behind[met[behind] == count]) for count in np.unique(met[behind])]:
                met[group] = min(n_centres, count + max(count, _CENTRES))
                distances.lower(nearest, group, centres[count : met[group[0]]])
    return centres[len(labelled) :]


def _pick_while_leading(
    distances: "_Distances", nearest: FloatArray, ready: IntArray, centres: IntArray, n_centres: int
) -> int:
    """The number of centres after picks among `ready`, which have met all, until another item leads or all are made."""
    own = nearest[ready]
    nearest[ready] = -1.0
    rival = int(np.argmax(nearest))
    rows = distances.prepared(ready)
    while n_centres < len(centres):
        leader = int(np.argmax(own))
        if (own[leader], -ready[leader]) < (nearest[rival], -rival):
            break
        centres[n_centres] = ready[leader]
        n_centres += 1
        own[leader] = -1.0
        rows.lower(own, rows.part(slice(leader, leader + 1)))
    nearest[ready] = own
    return n_centres


class _Prepared(NamedTuple):
    """Rows for exact distances, and for lower bounds of them by one float32 matrix product."""

    rows: FloatArray  # (B, D)
    factors: FloatArray  # (B, D + 2): centred rows, 1, and the squared norm less its error

    def part(self, rows: slice) -> "_Prepared":
        return _Prepared(self.rows[rows], self.factors[rows])

    def lower(self, nearest: FloatArray, centres: "_Prepared") -> None:
        """Nothing; lowers `nearest` (B,) to the squared distance to the nearest of `centres`, where that is less."""
        right = centres.factors * np.float32(-2)
        right[:, -2], right[:, -1] = centres.factors[:, -1], 1
        bound = self.factors @ right.T
        # The likely nearest centre first: it leaves few others that could be nearer still.
        likely = bound.argmin(axis=1)
        best = bound[np.arange(len(bound)), likely]
        items = np.flatnonzero((best < nearest.astype(np.float32)) & (nearest > 0))
        self._lower_pairs(nearest, items, centres, likely[items])
        bound[items, likely[items]] = np.inf
        left = bound if len(items) == len(bound) else bound[items]
        nearer = (left.min(axis=1) < nearest[items].astype(np.float32)) & (nearest[items] > 0)
        items, left = items[nearer], left[nearer]
        i, j = np.nonzero(left < nearest[items, None].astype(np.float32))
        self._lower_pairs(nearest, items[i], centres, j)

    def _lower_pairs(self, nearest: FloatArray, items: IntArray, centres: "_Prepared", others: IntArray) -> None:
        for start in range(0, len(items), _PAIRS):
            a, b = items[start : start + _PAIRS], others[start : start + _PAIRS]
            difference = np.subtract(self.rows[a], centres.rows[b], dtype=np.float64)
            np.minimum.at(nearest, a, _squared_norms(difference))


class _Distances:
    """Exact squared Euclidean distances, of which a float32 matrix product finds the few that matter.

    The product gives each distance with a known bound on its error (Higham, Accuracy and Stability, section 3.1:
    D + 2 roundings in the product, D in each norm, here taken with some for the rest), hence a lower bound of the
    truth. Only a pair whose lower bound is below what the item already has is computed by differences in float64.
    Thus equal rows have distance 0, and equal distances tie, whatever the blocks and threads of the product do.
    """

    def __init__(self, features: RowArray) -> None:
        self._features = features
        self._dtype = np.result_type(features.dtype, np.float32)
        total, size = np.zeros(features.shape[1]), 0.0
        for part in row_slices(features):
            rows = features[part]
            total += rows.sum(axis=0, dtype=np.float64)
            size = max(size, float(rows.max()), -float(rows.min()))
        # A power of two changes no digit, and keeps the squares within float32 where they would leave it.
        exponent = int(np.frexp(size)[1])
        self._scale = self._dtype.type(2.0**-exponent if abs(exponent) > _EXPONENT else 1.0)
        self._mean = total / max(len(features), 1) * float(self._scale)
        self._relative_error = np.float32((1.5 * features.shape[1] + 16) * np.finfo(np.float32).eps)

    def to_mean(self) -> FloatArray:
        """Squared distances (N,) to the mean of all rows."""
        return np.concatenate(
            [_squared_norms(self._rows(self._features[part]) - self._mean) for part in row_slices(self._features)]
        )

    def lower(self, nearest: FloatArray, items: IntArray, centres: IntArray) -> None:
        """Nothing; lowers `nearest[items]` to the squared distance to the nearest of `centres`, where that is less."""
        for i in range(0, len(items), _ROWS):
            some = items[i : i + _ROWS]
            rows, own = self.prepared(some), nearest[some]
            for j in range(0, len(centres), _CENTRES):
                rows.lower(own, self.prepared(centres[j : j + _CENTRES]))
            nearest[some] = own

    def prepared(self, positions: IntArray) -> _Prepared:
        """The rows at `positions`, read."""
        rows = self._rows(self._features[positions])
        factors = np.empty((len(rows), rows.shape[1] + 2), np.float32)
        centred = factors[:, :-2]
        np.subtract(rows, self._mean.astype(rows.dtype), out=centred, casting="same_kind")
        norms = np.einsum("ij,ij->i", centred, centred)
        factors[:, -2] = 1
        factors[:, -1] = (1 - self._relative_error) * norms - np.float32(1e-30)  # 1e-30: underflow
        return _Prepared(rows, factors)

    def _rows(self, rows: FloatArray) -> FloatArray:
        rows = rows.astype(self._dtype, copy=False)
        return rows if self._scale == 1 else rows * self._scale


def _squared_norms(rows: FloatArray) -> FloatArray:
    """Squared norms (B,) of `rows`, which are lost."""
    norms: FloatArray = np.square(rows, out=rows).sum(axis=1)
    return norms
