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
from scipy.optimize import minimize, minimize_scalar
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from overread.arrays import FloatArray, IntArray
from overread.arrays.noise import checked_labels, symmetric_matrix
from overread.arrays.rows import RowArray
from overread.errors import DataError

__all__ = ["NoiseEstimate", "estimate_noise", "items_to_estimate"]

# More items than these hardly move the estimate, and it would not end.
MOST_ITEMS = 20_000
DIMENSIONS = 128
# Above this the covariance matrix is too large for an exact decomposition.
EXACT_PCA_DIMENSIONS = 2048
FOLDS = 5
# Pseudo-items that pull the row of each class towards symmetric noise.
SHRINKAGE = 20.0
START_RATES = (0.5, 0.1, 0.3, 0.7)
PENALTIES = (0.003, 0.01, 0.03, 0.1)
ROUNDS = 6
FIRST_ITERATIONS = 30
LATER_ITERATIONS = 10
LOG_TEMPERATURES = (-1.5, 2.0)
TEMPERATURE_STEPS = 3
MATRIX_STEPS = 5
# A rate is held below this share of the limit (C-1)/C, where the shrinkage target turns uninformative.
RATE_CEILING = 0.99


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


class _Problem(NamedTuple):
    """What stays fixed: N items, D dimensions and a bias, C classes, K folds."""

    X: FloatArray  # (N, D + 1)
    given: IntArray  # (N,)
    fold: IntArray  # (N,)
    weights: FloatArray  # (K, N): one over the size of the training part, 0 where the item is held out
    n_classes: int


class _Fit(NamedTuple):
    """What a `NoiseEstimate` says, of the given classes alone."""

    matrix: FloatArray
    prior: FloatArray
    rate: float
    posterior: FloatArray
    score: float


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

    # Products are small: with threads of their own they take longer, and their sums depend on the number.
    limit = {"initializer": threadpool_limits, "initargs": (1, "blas")}  # a library may count for each of its callers
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads, **limit) as pool:
        best = _best_fit(rows, compact, len(present), rng, pool)

    matrix, prior, posterior = np.eye(n_classes), np.zeros(n_classes), np.zeros((len(given), n_classes))
    matrix[np.ix_(present, present)] = best.matrix
    prior[present] = best.prior
    posterior[:, present] = best.posterior
    return NoiseEstimate(matrix, prior, best.rate, posterior, best.score)


def _best_fit(
    features: FloatArray, compact: IntArray, n_classes: int, rng: np.random.Generator, pool: ThreadPoolExecutor
) -> _Fit:
    """The fit under which held-out labels are most likely; compact: (N,) classes of which each was given."""
    X = _projected(features, rng)
    fold, n_folds = _stratified_folds(compact, rng)
    trained = fold != np.arange(n_folds)[:, None]
    problem = _Problem(X, compact, fold, trained / trained.sum(axis=1, keepdims=True), n_classes)
    limit = (n_classes - 1) / n_classes
    starts = [rate for rate in START_RATES if rate < limit - 1e-9]

    def fitted(penalty: float, start: float) -> _Fit:
        return _expectation_maximisation(problem, penalty, start)

    # The best penalty depends on features and noise, hardly on the start: one after the other, not the product.
    fits = list(pool.map(lambda penalty: fitted(penalty, starts[0]), PENALTIES))
    penalty = PENALTIES[max(range(len(fits)), key=lambda index: fits[index].score)]
    fits += pool.map(lambda start: fitted(penalty, start), starts[1:])
    return max(fits, key=lambda fit: fit.score)


def _projected(features: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Principal components of mean square one over all, and a column of ones: (N, at most 129).

    One scale for all components: scaled one by one, those that are mere noise would weigh as much as the first.
    """
    X = features - features.mean(axis=0)
    # What centring leaves of constant features is rounding, and must not be scaled up.
    if np.abs(X).max(initial=0.0) <= 1e-12 * np.abs(features).max(initial=0.0):
        return np.ones((len(X), 1))
    if X.shape[1] > DIMENSIONS:
        pca = PCA(
            min(DIMENSIONS, len(X)),
            svd_solver="covariance_eigh" if X.shape[1] <= EXACT_PCA_DIMENSIONS else "randomized",
            random_state=int(rng.integers(2**31)),
        )
        X = pca.fit_transform(X)
    return np.hstack([X / np.sqrt(np.mean(X**2)), np.ones((len(X), 1))])


def _stratified_folds(given: IntArray, rng: np.random.Generator) -> tuple[IntArray, int]:
    """Fold (N,) of every item, each class spread over the folds to within one item, and the number of folds."""
    n_folds = min(FOLDS, len(given))
    fold = np.empty(len(given), dtype=np.int64)
    fold[np.lexsort((rng.random(len(given)), given))] = np.arange(len(given)) % n_folds
    return fold, n_folds


def _expectation_maximisation(problem: _Problem, penalty: float, start_rate: float) -> _Fit:
    n_folds = len(problem.weights)
    W: FloatArray = np.zeros((n_folds, problem.n_classes, problem.X.shape[1]))
    matrices: FloatArray = np.stack([symmetric_matrix(problem.n_classes, start_rate)] * n_folds)
    for step in range(ROUNDS):
        iterations = FIRST_ITERATIONS if step == 0 else LATER_ITERATIONS
        W = _fitted(problem, W, matrices, penalty, iterations)
        matrices, fit = _updated(problem, W, matrices)
    return fit


def _fitted(problem: _Problem, W: FloatArray, matrices: FloatArray, penalty: float, iterations: int) -> FloatArray:
    """Weights (K, C, D + 1) of all folds' regressions after some L-BFGS steps, in one matrix product."""
    likelihood = np.take(matrices, problem.given, axis=2)

    def objective(flat: FloatArray) -> tuple[float, FloatArray]:
        return _loss_and_gradient(problem, likelihood, penalty, flat)

    found = minimize(objective, W.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    fitted: FloatArray = found.x.reshape(W.shape)
    return fitted


def _loss_and_gradient(
    problem: _Problem, likelihood: FloatArray, penalty: float, flat: FloatArray
) -> tuple[float, FloatArray]:
    """Penalised mean negative log likelihood of the given labels, summed over folds, and its gradient by `flat`.

    `likelihood[k, y, n]` is fold k's `T[y, given[n]]`.  The gradient by the logits is p - q, with the posterior q.
    """
    X, weights = problem.X, problem.weights
    p = _softmax_in_place((flat.reshape(-1, X.shape[1]) @ X.T).reshape(likelihood.shape))
    joint = p * likelihood
    evidence = joint.sum(axis=1, keepdims=True)
    loss = penalty / 2 * (flat @ flat) - (weights * np.log(evidence[:, 0])).sum()
    joint /= evidence
    residual = p
    residual -= joint
    residual *= weights[:, None]
    return float(loss), (residual.reshape(-1, len(X)) @ X).ravel() + penalty * flat


def _updated(problem: _Problem, W: FloatArray, matrices: FloatArray) -> tuple[FloatArray, _Fit]:
    """The folds' noise matrices (K, C, C) that fit the held-out probabilities, and the fit they amount to.

    Each fold's matrix counts the items of the other folds alone, so that the likelihood of its labels is not
    flattered by the C * C numbers that they would have helped to set.
    """
    given, fold, n_classes = problem.given, problem.fold, problem.n_classes
    members, one_hot = [np.flatnonzero(fold == k) for k in range(len(W))], np.eye(n_classes)[given]
    logits = np.empty((n_classes, len(given)))
    for k, items in enumerate(members):
        logits[:, items] = W[k] @ problem.X[items].T
    for _ in range(TEMPERATURE_STEPS):
        p = _calibrated(logits, _likelihood(matrices, fold, given))
        for _ in range(MATRIX_STEPS):
            q = p * _likelihood(matrices, fold, given)
            q /= q.sum(axis=0)
            joint = np.stack([q[:, items] @ one_hot[items] for items in members])
            everything = joint.sum(axis=0)
            matrices = np.stack([_shrunken(everything - of_fold) for of_fold in joint])
    score = float(np.log((p * _likelihood(matrices, fold, given)).sum(axis=0)).mean())
    prior = everything.sum(axis=1) / len(given)
    rate = float(np.clip(1.0 - np.trace(everything) / len(given), 0.0, 1.0))
    return matrices, _Fit(_shrunken(everything), prior, rate, q.T, score)


def _likelihood(matrices: FloatArray, fold: IntArray, given: IntArray) -> FloatArray:
    """`T[y, given[n]]` of the fold of item n, (C, N)."""
    # Of each class, a table of all folds and given labels: looked up in one go.
    tables = matrices.transpose(1, 0, 2).reshape(matrices.shape[1], -1)
    found: FloatArray = np.take(tables, fold * matrices.shape[2] + given, axis=1)
    return found


def _calibrated(logits: FloatArray, likelihood: FloatArray) -> FloatArray:
    """Softmax (C, N) of the logits times the one factor under which the given labels are most likely."""

    def loss(log_factor: float) -> float:
        return float(-np.log((_softmax_in_place(np.exp(log_factor) * logits) * likelihood).sum(axis=0)).mean())

    found = minimize_scalar(loss, bounds=LOG_TEMPERATURES, method="bounded", options={"xatol": 0.02})
    return _softmax_in_place(np.exp(found.x) * logits)


def _softmax_in_place(logits: FloatArray) -> FloatArray:
    """Softmax over the classes, the last axis but one, in place of the logits: most of the time of a fit goes here."""
    logits -= logits.max(axis=-2, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=-2, keepdims=True)
    return logits


def _shrunken(joint: FloatArray) -> FloatArray:
    """Rows of the expected counts `joint[true, given]` as a noise matrix, drawn towards symmetric noise."""
    n_classes = len(joint)
    ceiling = RATE_CEILING * (n_classes - 1) / n_classes
    rate = float(np.clip(1.0 - np.trace(joint) / joint.sum(), 0.0, ceiling))
    counts = joint + SHRINKAGE * symmetric_matrix(n_classes, rate)
    shrunken: FloatArray = counts / counts.sum(axis=1, keepdims=True)
    return shrunken
