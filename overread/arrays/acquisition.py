"""Samplers: which open items of the pool are read next.

A sampler is a function `(pool, k, rng) -> positions` under `@sampler(name, needs=...)`: min(k, number of open items)
distinct open positions, best first, ties by the lower position. None of them looks at the given label.
"""

import difflib
from collections.abc import Callable, Collection
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.special import entr

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.arrays.rows import RowArray, row_slices
from overread.arrays.selection import smallest
from overread.errors import ConfigError, DataError

__all__ = [
    "Pool",
    "Sampler",
    "bald",
    "coreset",
    "entropy",
    "least_confidence",
    "list_samplers",
    "margin",
    "random",
    "sampler",
    "sampler_needs",
    "select",
]


class Pool(NamedTuple):
    """All training items as a sampler sees them, N rows each; None for what no sampler in use needs."""

    probs: FloatArray | None  # (N, C), softmax outputs under the evaluation transform
    draws: FloatArray | None  # (S, N, C), softmax outputs of S passes with dropout on
    features: RowArray | None  # (N, D), inputs of the last layer; need not be in memory
    given: IntArray  # (N,), given labels
    open: BoolArray  # (N,), may be bought: presumed noisy and not yet read


A = TypeVar("A")

Sampler = Callable[[Pool, int, np.random.Generator], IntArray]


class _Entry(NamedTuple):
    function: Sampler
    needs: frozenset[str]


_REGISTRY: dict[str, _Entry] = {}
_DIMENSIONS = {"probs": "(N, C)", "draws": "(S, N, C)", "features": "(N, D)"}
_SUM_TOLERANCE = 1e-3  # half-precision softmax rows are off by about this much

# Sizes of the coreset search: its hot set at first and at most, the rows and centres of one block of distances (4 MB).
_CORESET_HOT = 512
_CORESET_HOT_LIMIT = 2048
_CORESET_ROWS = 2048
_CORESET_CENTRES = 512
_CORESET_PAIRS = 256  # whose differences in float64 stay in the processor's cache
_CORESET_EXPONENT = 30  # features beyond 2^30 or below 2^-30 are scaled


def sampler(name: str, needs: Collection[str] = ()) -> Callable[[Sampler], Sampler]:
    """A decorator that registers a function as the sampler `name`.

    needs: the optional fields of `Pool` that it reads, of "probs", "draws" and "features".
    Raises ConfigError for a name in use or an unknown need.
    """
    unknown = set(needs) - set(_DIMENSIONS)
    if name in _REGISTRY or unknown:
        reason = f"needs unknown {sorted(unknown)}" if unknown else "is already registered"
        raise ConfigError(f'the sampler "{name}" {reason}; see overread.arrays.acquisition.Pool')

    def register(function: Sampler) -> Sampler:
        _REGISTRY[name] = _Entry(function, frozenset(needs))
        return function

    return register


def list_samplers() -> list[str]:
    """Names of all registered samplers, sorted.

    >>> "entropy" in list_samplers()
    True
    """
    return sorted(_REGISTRY)


def sampler_needs(name: str) -> frozenset[str]:
    """The optional fields of `Pool` that the sampler `name` reads. Raises ConfigError for an unknown name.

    >>> sorted(sampler_needs("bald"))
    ['draws']
    """
    return _entry(name).needs


def select(name: str, pool: Pool, k: int, rng: np.random.Generator) -> IntArray:
    """Positions of the min(k, number of open items) items that the sampler `name` would have read, best first.

    The only entry for callers: checks the pool before, and the positions after. An empty pool and k = 0 give no
    position. Raises ConfigError for an unknown sampler, a negative k or a sampler that breaks its contract;
    DataError for a pool whose sizes differ, that lacks what the sampler needs, or that holds non-finite numbers
    or rows of probabilities that do not sum to one.

    >>> probs = np.array([[0.9, 0.1], [0.5, 0.5], [0.6, 0.4]])
    >>> pool = Pool(probs, None, None, given=np.array([0, 1, 0]), open=np.array([True, True, True]))
    >>> select("margin", pool, 2, np.random.default_rng(0)).tolist()
    [1, 2]
    """
    entry = _entry(name)
    if k < 0:
        raise ConfigError(f"cannot select {k} items; the budget of a round is 0 or more")
    for need in sorted(entry.needs):
        if getattr(pool, need) is None:
            raise DataError(f'the sampler "{name}" needs pool.{need} {_DIMENSIONS[need]}, but it is None')
    _check_pool(pool)
    k = min(k, int(pool.open.sum()))
    positions = entry.function(pool, k, rng)
    if len(positions) != k or len(np.unique(positions)) != k or not pool.open[positions].all():
        raise ConfigError(f'the sampler "{name}" did not return {k} distinct open positions; mend or change it')
    return positions


@sampler("random")
def random(pool: Pool, k: int, rng: np.random.Generator) -> IntArray:
    """Open positions drawn uniformly without replacement: the reference curve of every comparison."""
    return rng.permutation(np.flatnonzero(pool.open))[:k]


@sampler("entropy", needs={"probs"})
def entropy(pool: Pool, k: int, rng: np.random.Generator) -> IntArray:
    """Open positions of largest predictive entropy, nats; 0 log 0 is 0."""
    return _largest(entr(_open_rows(pool.probs, pool), dtype=np.float64).sum(axis=1), pool, k)


@sampler("least-confidence", needs={"probs"})
def least_confidence(pool: Pool, k: int, rng: np.random.Generator) -> IntArray:
    """Open positions of smallest largest probability."""
    return _largest(-_open_rows(pool.probs, pool).max(axis=1), pool, k)


@sampler("margin", needs={"probs"})
def margin(pool: Pool, k: int, rng: np.random.Generator) -> IntArray:
    """Open positions of smallest difference between the two largest probabilities; one class: all tie."""
    probs = _open_rows(pool.probs, pool)
    if probs.shape[1] == 1:
        return np.flatnonzero(pool.open)[:k]
    top = np.partition(probs, probs.shape[1] - 2, axis=1)
    return _largest(top[:, -2] - top[:, -1], pool, k)


@sampler("bald", needs={"draws"})
def bald(pool: Pool, k: int, rng: np.random.Generator) -> IntArray:
    """Open positions of largest mutual information between prediction and weights: H(mean p) - mean H(p), nats.

    Houlsby et al., arXiv 1112.5745, eq. 2, with draws of dropout as draws of weights (arXiv 1703.02910).
    Rounded to 12 decimals: draws that agree give 0 on paper, and must tie instead of being ordered by rounding.
    """
    draws = _required(pool.draws)
    mean = np.zeros((int(pool.open.sum()), draws.shape[2]))
    entropy_of_draws = np.zeros(len(mean))
    for draw in draws:
        probs = draw[pool.open].astype(np.float64)
        mean += probs / len(draws)
        entropy_of_draws += entr(probs).sum(axis=1) / len(draws)
    return _largest(np.round(entr(mean).sum(axis=1) - entropy_of_draws, 12), pool, k)


@sampler("coreset", needs={"features"})
def coreset(pool: Pool, k: int, rng: np.random.Generator) -> IntArray:
    """Open positions by k-centre greedy: each pick is the farthest from all items that are not open and all picks.

    Sener and Savarese, arXiv 1708.00489, Algorithm 1; Euclidean distance of the features. Without an item that is
    not open, the first pick is the farthest from the mean of the features. Duplicates come last, once each.

    Exact, and lazy: `nearest` holds the squared distance to the nearest of those centres that an item was compared
    with, which can only fall when it meets more. So only an item that leads has to meet all centres, and the
    leader that has met them all is the pick. The items that lead meet the centres in steps that grow: most of them
    fall behind early. Features are read a few thousand rows at a time and may be larger than memory.
    """
    features = _required(pool.features)
    candidates = np.flatnonzero(pool.open)
    labelled = np.flatnonzero(~pool.open)
    k = min(k, len(candidates))
    if k == 0:
        return candidates[:0]
    distances = _Distances(features)
    centres = np.concatenate([labelled, np.zeros(k, np.int64)])
    n_centres = len(labelled)
    if n_centres == 0:
        centres[0] = np.argmax(distances.to_mean())
        n_centres = 1
    nearest = np.full(len(pool.open), np.inf)
    nearest[centres[:n_centres]] = -1.0  # a centre never leads
    met = np.full(len(pool.open), min(n_centres, _CORESET_CENTRES))  # the first so many centres were compared with
    distances.lower(nearest, candidates, centres[: met[0]])
    n_hot = _CORESET_HOT
    while n_centres < len(centres):
        hot = smallest(-nearest, min(n_hot, len(nearest)))
        if met[hot[0]] == n_centres:
            ready = np.sort(hot[:_CORESET_HOT])
            ready = ready[met[ready] == n_centres]
            n_centres = _pick_while_leading(distances, nearest, ready, centres, n_centres)
            met[ready] = n_centres
        else:
            # Reading the centres is worth it for many items at a time, where many items have to meet them.
            n_hot = min(2 * n_hot, _CORESET_HOT_LIMIT)
            behind = hot[(met[hot] < n_centres) & (nearest[hot] >= 0)]
            for count, group in [(count, behind[met[behind] == count]) for count in np.unique(met[behind])]:
                met[group] = min(n_centres, count + max(count, _CORESET_CENTRES))
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
        for start in range(0, len(items), _CORESET_PAIRS):
            a, b = items[start : start + _CORESET_PAIRS], others[start : start + _CORESET_PAIRS]
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
        self._scale = self._dtype.type(2.0**-exponent if abs(exponent) > _CORESET_EXPONENT else 1.0)
        self._mean = total / max(len(features), 1) * float(self._scale)
        self._relative_error = np.float32((1.5 * features.shape[1] + 16) * np.finfo(np.float32).eps)

    def to_mean(self) -> FloatArray:
        """Squared distances (N,) to the mean of all rows."""
        return np.concatenate(
            [_squared_norms(self._rows(self._features[part]) - self._mean) for part in row_slices(self._features)]
        )

    def lower(self, nearest: FloatArray, items: IntArray, centres: IntArray) -> None:
        """Nothing; lowers `nearest[items]` to the squared distance to the nearest of `centres`, where that is less."""
        for i in range(0, len(items), _CORESET_ROWS):
            some = items[i : i + _CORESET_ROWS]
            rows, own = self.prepared(some), nearest[some]
            for j in range(0, len(centres), _CORESET_CENTRES):
                rows.lower(own, self.prepared(centres[j : j + _CORESET_CENTRES]))
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


def _open_rows(probs: FloatArray | None, pool: Pool) -> FloatArray:
    return _required(probs)[pool.open]


def _required(array: A | None) -> A:
    if array is None:
        raise DataError("the pool lacks an array that this sampler needs; `select` says which")
    return array


def _largest(score: FloatArray, pool: Pool, k: int) -> IntArray:
    """Open positions of the min(k, n) largest scores; score: (n,), one per open item. Ties: lower position first."""
    candidates = np.flatnonzero(pool.open)
    return candidates[smallest(-score, min(k, len(candidates)))]


def _entry(name: str) -> _Entry:
    if name not in _REGISTRY:
        close = difflib.get_close_matches(name, _REGISTRY, n=1)
        hint = f'did you mean "{close[0]}"?' if close else "there is none like it."
        raise ConfigError(f'unknown sampler "{name}": {hint} Known: {", ".join(list_samplers())}')
    return _REGISTRY[name]


def _check_pool(pool: Pool) -> None:
    """Nothing; raises DataError unless all arrays of the pool fit together and hold usable numbers."""
    n_items = len(pool.open)
    if pool.open.dtype != np.bool_ or pool.open.ndim != 1:
        raise DataError(f"pool.open is {pool.open.dtype} of shape {pool.open.shape}; give (N,) booleans")
    if pool.given.shape != (n_items,):
        raise DataError(f"pool.given has shape {pool.given.shape} but pool.open has {n_items} rows")
    for name, shape in _DIMENSIONS.items():
        array = getattr(pool, name)
        if array is None:
            continue
        if len(array.shape) != shape.count(",") + 1 or array.shape[-1] == 0 or len(array) == 0 < n_items:
            raise DataError(f"pool.{name} has shape {array.shape}; give {shape} without an empty axis")
        if array.shape[-2] != n_items:
            raise DataError(f"pool.{name} has {array.shape[-2]} rows but pool.open has {n_items}")
        if not all(np.isfinite(array[part]).all() for part in row_slices(array)):
            raise DataError(f"pool.{name} holds numbers that are not finite; the model has diverged")
        if name != "features" and n_items > 0:
            off = np.abs(array.sum(axis=-1, dtype=np.float64) - 1).max()
            if off > _SUM_TOLERANCE or array.min() < 0:
                raise DataError(
                    f"the rows of pool.{name} are no probabilities (smallest {array.min():.3g}, sum off by "
                    f"{off:.3g}); give the outputs of a softmax"
                )
