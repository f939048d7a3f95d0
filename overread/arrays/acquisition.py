"""Samplers: which open items of the pool are read next.

A sampler is a function `(pool, k, rng) -> positions` under `@sampler(name, needs=...)`: min(k, number of open items)
distinct open positions, best first, ties by the lower position. `disagreement` and `label_quality` look at the given
label; those that need the posterior know it through that; all others pass over it.
"""

import difflib
from collections.abc import Callable, Collection
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.special import entr

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.arrays.coreset import k_centre_greedy
from overread.arrays.noise import checked_labels
from overread.arrays.rows import RowArray, row_slices
from overread.arrays.selection import smallest
from overread.errors import ConfigError, DataError

__all__ = [
    "FIRST_READS",
    "Pool",
    "Sampler",
    "bald",
    "coreset",
    "disagreement",
    "entropy",
    "evenly_over_given",
    "expected_macro_f1_gain",
    "label_quality",
    "least_confidence",
    "list_samplers",
    "macro_f1",
    "margin",
    "posterior_entropy",
    "posterior_least_confidence",
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
    posterior: FloatArray | None = None  # (N, C), P(true class | x, given label, reads); rows sum to one


A = TypeVar("A")

Sampler = Callable[[Pool, int, np.random.Generator], IntArray]


class _Entry(NamedTuple):
    function: Sampler
    needs: frozenset[str]


_REGISTRY: dict[str, _Entry] = {}
_DIMENSIONS = {"probs": "(N, C)", "draws": "(S, N, C)", "features": "(N, D)", "posterior": "(N, C)"}
# Reads for each class that test the assumption on the noise before any other is bought.
FIRST_READS = 5
_SUM_TOLERANCE = 1e-3  # half-precision softmax rows are off by about this much


def sampler(name: str, needs: Collection[str] = ()) -> Callable[[Sampler], Sampler]:
    """A decorator that registers a function as the sampler `name`.

    needs: the optional fields of `Pool` that it reads, of "probs", "draws", "features" and "posterior".
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
    return _largest(_entropies(_open_rows(pool.probs, pool)), pool, k)


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
    """Open positions by k-centre greedy beside all items that are not open; see `k_centre_greedy`."""
    return k_centre_greedy(_required(pool.features), pool.open, k)


@sampler("posterior-entropy", needs={"posterior"})
def posterior_entropy(pool: Pool, k: int, rng: np.random.Generator) -> IntArray:
    """Open positions of largest entropy of the posterior, nats: what is unknown once the given label is weighed in."""
    return _largest(_entropies(_open_rows(pool.posterior, pool)), pool, k)


@sampler("posterior-least-confidence", needs={"posterior"})
def posterior_least_confidence(pool: Pool, k: int, rng: np.random.Generator) -> IntArray:
    """Open positions of smallest largest posterior probability: the labels most likely to be exported wrongly.

    For one read each, whose answer is thought right, this is the largest expected number of corrected labels.
    """
    return _largest(-_required(pool.posterior)[pool.open].max(axis=1), pool, k)


@sampler("disagreement", needs={"probs"})
def disagreement(pool: Pool, k: int, rng: np.random.Generator) -> IntArray:
    """Open positions of largest -log p(given label) - H(p), nats: the label is improbable and the image not ambiguous.

    Bernhardt et al., Nature Communications 13, 1161 (2022). A reader settles an ambiguous image less often, hence the
    minus. A probability below the smallest normal double counts as that: a finite 708 nats, not an infinity.
    Raises DataError for given labels outside the classes.
    """
    cross_entropy = -np.log(np.maximum(_given_probs(pool), np.finfo(np.float64).tiny))
    return _largest(cross_entropy - _entropies(_open_rows(pool.probs, pool)), pool, k)


@sampler("label-quality", needs={"probs"})
def label_quality(pool: Pool, k: int, rng: np.random.Generator) -> IntArray:
    """Open positions of smallest probability of the given label.

    The ranking by self-confidence of confident learning (Northcutt et al., JAIR 70, 2021, arXiv 1911.00068).
    Raises DataError for given labels outside the classes.
    """
    return _largest(-_given_probs(pool), pool, k)


@sampler("macro-f1", needs={"posterior"})
def macro_f1(pool: Pool, k: int, rng: np.random.Generator) -> IntArray:
    """Open positions of largest expected gain in macro-F1 of the label vector; see `expected_macro_f1_gain`.

    Every class has the same weight, so a likely error within a rare class outranks one among frequent classes. Gains
    are those of single reads: what the k reads of a round do to each other's gain is left out.

    The first `FIRST_READS` for each class, those that others chose included, are drawn by `evenly_over_given` instead:
    what the posterior believes till then rests on an assumption on the noise which they test, and reads of what it
    finds suspicious would rather confirm it.  Items that are not open count as read.
    """
    posterior = _required(pool.posterior)
    wanted = FIRST_READS * posterior.shape[1] - int((~pool.open).sum())
    first = evenly_over_given(pool, max(0, min(k, wanted)), rng)
    left = pool.open.copy()
    left[first] = False
    return np.concatenate(
        [first, _largest(expected_macro_f1_gain(posterior)[left], pool._replace(open=left), k - len(first))]
    )


def evenly_over_given(pool: Pool, k: int, rng: np.random.Generator) -> IntArray:
    """(min(k, number of open items),) open positions, drawn at random within each given label, so that afterwards the
    items which are not open are spread over the given labels as evenly as can be.
    """
    items = rng.permutation(np.flatnonzero(pool.open))
    given, before = pool.given[items], pool.given[~pool.open]
    turn = np.empty(len(items), dtype=np.int64)
    for label in np.unique(given):
        of_label = np.flatnonzero(given == label)
        turn[of_label] = (before == label).sum() + np.arange(len(of_label))
    first: IntArray = items[np.argsort(turn, kind="stable")[:k]]
    return first


def expected_macro_f1_gain(posterior: FloatArray) -> FloatArray:
    """Expected gain (N,) in the macro-F1 of all N labels from reading one item; 0..1, higher = read it first.

    posterior: (N, C), rows q sum to one. An item that is not read is named d = argmax q (ties: lower class). With
    expected counts over all items, F_c = 2 TP_c / (N_c + P_c): TP_c hits, N_c items of class c, P_c items named c;
    0/0 is 0, and all C classes count. Reading item i shows its class c, so row i of the expected counts becomes one-hot
    whether it is then named c or still d; the gain is the macro-F1 of the first minus that of the second, exact, and
    averaged over c with weights q. An item of which the class is certain gains 0.

    >>> posterior = np.array([[1.0, 0.0], [1.0, 0.0], [0.8, 0.2], [0.0, 1.0]])
    >>> expected_macro_f1_gain(posterior).round(4).tolist()
    [0.0, 0.0, 0.0533, 0.0]
    """
    q = posterior.astype(np.float64)
    rows = np.arange(len(q))
    named = q.argmax(axis=1)
    q_named = q[rows, named]
    n_named = np.bincount(named, minlength=q.shape[1])
    hits = np.bincount(named, weights=q_named, minlength=q.shape[1])
    # Only two classes change. Class c gains a hit, F from 2 TP / S to 2 (TP + 1) / (S + 1) where S = N + P.
    size = q.sum(axis=0) - q + 1 + n_named
    gain = 2 * (size - hits) / (size * (size + 1))
    # Class d loses a false alarm, F from 2 TP / S to 2 TP / (S - 1). S - 1 falls below 1 only where nothing else is
    # named d; TP is exactly 0 there, and the floor keeps 0 / 0 out.
    size_d = size[rows, named] - 1
    gain += (2 * (hits[named] - q_named) / (size_d * np.maximum(size_d - 1, 1)))[:, None]
    gain[rows, named] = 0
    total: FloatArray = (q * gain).sum(axis=1) / q.shape[1]
    return total


def _open_rows(probs: FloatArray | None, pool: Pool) -> FloatArray:
    return _required(probs)[pool.open]


def _given_probs(pool: Pool) -> FloatArray:
    """Probability (n,) of the given label of every open item, in float64."""
    probs = _required(pool.probs)
    given = checked_labels(pool.given, probs.shape[1], "given labels")[pool.open]
    found: FloatArray = probs[np.flatnonzero(pool.open), given].astype(np.float64)
    return found


def _entropies(probs: FloatArray) -> FloatArray:
    """Entropy (n,) of each row of `probs` (n, C), nats, in float64; 0 log 0 is 0."""
    entropies: FloatArray = entr(probs, dtype=np.float64).sum(axis=1)
    return entropies


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
                    f"{off:.3g}); give rows of non-negative numbers that sum to one"
                )
