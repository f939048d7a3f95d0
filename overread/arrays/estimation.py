"""The noise matrix, the true class frequencies and the noise rate, from features and noisy labels alone.

A softmax regression seen through a noise channel: `P(given | x) = sum_y p_W(y | x) T[y, given]`, fitted by
expectation maximisation (Bekker and Goldberger, "Training deep neural-networks based on unreliable labels", ICASSP
2016).  Three things are added.  The class probabilities that update `T` come from cross-fitting, so that a model
cannot explain a wrong label by having learned it by heart.  They are calibrated by one temperature on the held-out
given labels (Guo et al., "On calibration of modern neural networks", ICML 2017), since a penalised model is less
sure than it should be, and what it lacks would be taken from the label noise.  And `T` is shrunken towards
symmetric noise.  Penalty and starting rate are chosen by the likelihood of held-out *given* labels: no clean label
is needed.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from overread.arrays import FloatArray, IntArray
from overread.arrays.channel import (
    FIRST_ITERATIONS,
    Channel,
    Held,
    expectation_maximisation,
    fitting_threads,
    fold_weights,
    projection_of,
    start_rates,
    stratified_folds,
)
from overread.arrays.noise import checked_labels, symmetric_matrix
from overread.arrays.rows import RowArray
from overread.errors import DataError

__all__ = ["NoiseEstimate", "estimate_noise", "items_to_estimate"]

# More items than these hardly move the estimate, and it would not end.
MOST_ITEMS = 20_000
# Pseudo-items that pull the row of each class towards symmetric noise.
SHRINKAGE = 20.0
PENALTIES = (0.003, 0.01, 0.03, 0.1)
ROUNDS = 6


class NoiseEstimate(NamedTuple):
    """Result of `estimate_noise` for C classes and N items.

    matrix: (C, C), `P(given = j | true = i)`, rows sum to one.  prior: (C,) frequencies of the true classes, sums
    to one.  rate: share of wrong labels, 0 .. 1.  posterior: (N, C), `P(true = c | features, given label)` from models
    that did not train on the item, rows sum to one.
    heldout_log_likelihood: mean log probability of the given labels of held-out folds, nats, at most 0, higher is
    better.
    """

    matrix: FloatArray
    prior: FloatArray
    rate: float
    posterior: FloatArray
    heldout_log_likelihood: float


def items_to_estimate(n: int, rng: np.random.Generator) -> IntArray:
    """Ascending positions of the items, of `n`, that an estimate needs: all, or 20,000 drawn where there are more.

    >>> items_to_estimate(3, np.random.default_rng(0)).tolist()
    [0, 1, 2]
    """
    return np.arange(n) if n <= MOST_ITEMS else np.sort(rng.choice(n, MOST_ITEMS, replace=False))


def estimate_noise(
    features: RowArray, given: IntArray, n_classes: int, rng: np.random.Generator, threads: int = 1
) -> NoiseEstimate:
    """The noise matrix, prior, rate and posterior that explain `given` labels best, see `NoiseEstimate`.

    `features` (N, D) are any finite floats in which a linear model can tell the classes apart, such as embeddings;
    they are centred, scaled by one number and projected to at most 128 principal components.  `given` are (N,)
    integers in 0 .. C-1; `rng` draws the folds.  Time grows with the items: `items_to_estimate` says how many are
    enough.  `threads` that work at a time change nothing but the time; meanwhile matrix products have one thread each,
    in all of the process.

    What no estimate from noisy labels can know: features in which the classes overlap look like label noise, so the
    rate is then overestimated; noise beyond the limit of identifiability is not seen.
    A class that nobody was given cannot be told from one that is not there: its row is the identity, its prior and
    posterior are 0.  With one class given the rate is 0.  There are never more folds than items.
    DataError: no items, lengths that differ, features that are not finite, labels outside the classes.
    """
    given = checked_labels(given, n_classes, "given labels")
    if len(features.shape) != 2 or len(features) != len(given):
        raise DataError(f"features have shape {features.shape} but there are {len(given)} given labels")
    if len(given) == 0:
        raise DataError("the noise cannot be estimated from no items; the training split is empty")
    rows = np.asarray(features[:], dtype=np.float64)
    if not np.isfinite(rows).all():
        raise DataError("features for the noise estimate hold a value that is not finite")
    present, compact = np.unique(given, return_inverse=True)
    if len(present) == 1:
        known = np.eye(n_classes)
        return NoiseEstimate(known, known[present[0]], 0.0, known[given], 0.0)

    with fitting_threads(threads) as pool:
        best = _best_fit(rows, compact, len(present), rng, pool)

    matrix, prior, posterior = np.eye(n_classes), np.zeros(n_classes), np.zeros((len(given), n_classes))
    matrix[np.ix_(present, present)] = best.matrix
    prior[present] = best.prior
    posterior[:, present] = best.posterior.T
    return NoiseEstimate(matrix, prior, best.rate, posterior, best.score)


def _best_fit(
    features: FloatArray, compact: IntArray, n_classes: int, rng: np.random.Generator, pool: ThreadPoolExecutor
) -> Held:
    """The fit under which held-out labels are most likely; compact: (N,) classes of which each was given."""
    X = projection_of(features, rng).of(features)
    fold, n_folds = stratified_folds(compact, rng)
    channel = Channel(X, compact, fold, fold_weights(fold, n_folds), n_classes)
    starts = start_rates(n_classes)

    def fitted(penalty: float, start: float) -> Held:
        return _fitted(channel, penalty, start)

    # The best penalty depends on features and noise, hardly on the start: one after the other, not the product.
    fits = list(pool.map(lambda penalty: fitted(penalty, starts[0]), PENALTIES))
    penalty = PENALTIES[max(range(len(fits)), key=lambda index: fits[index].score)]
    fits += pool.map(lambda start: fitted(penalty, start), starts[1:])
    return max(fits, key=lambda fit: fit.score)


def _fitted(channel: Channel, penalty: float, start_rate: float) -> Held:
    n_folds = len(channel.weights)
    W: FloatArray = np.zeros((n_folds, channel.n_classes, channel.X.shape[1]))
    matrices: FloatArray = np.stack([symmetric_matrix(channel.n_classes, start_rate)] * n_folds)
    return expectation_maximisation(channel, W, matrices, penalty, SHRINKAGE, ROUNDS, FIRST_ITERATIONS)[2]
