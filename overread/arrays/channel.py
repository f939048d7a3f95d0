"""A softmax regression seen through a noise channel, fitted in folds: what noise estimate and noise model share.

`P(given | x) = sum_y p_W(y | x) T[y, given]`.  Where experts read an item, the likelihood of what they said is one more
factor for every `y`.  Every fold has weights and a matrix of its own, which its items had no part in; behind the
folds there may be one more model, of all items.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from overread.arrays import FloatArray, IntArray
from overread.arrays.noise import symmetric_matrix

__all__ = [
    "FIRST_ITERATIONS",
    "LATER_ITERATIONS",
    "Channel",
    "Held",
    "Projection",
    "expectation_maximisation",
    "fit_weights",
    "fitting_threads",
    "fold_weights",
    "held_out",
    "held_out_factor",
    "likelihood_of",
    "loss_and_gradient",
    "projection_of",
    "shrunken",
    "softmax_in_place",
    "start_rates",
    "stratified_folds",
    "update_matrices",
]

DIMENSIONS = 128
# Above this the covariance matrix is too large for an exact decomposition.
EXACT_PCA_DIMENSIONS = 2048
FOLDS = 5
START_RATES = (0.5, 0.1, 0.3, 0.7)
FIRST_ITERATIONS, LATER_ITERATIONS = 30, 10
LOG_TEMPERATURES = (-1.5, 2.0)
TEMPERATURE_STEPS = 3
MATRIX_STEPS = 5
# A rate is held below this share of the limit (C-1)/C, where the shrinkage target turns uninformative.
RATE_CEILING = 0.99


class Channel(NamedTuple):
    """What stays fixed during a fit: N items, D dimensions and a bias, C classes, M models of which K are folds."""

    X: FloatArray  # (N, D + 1)
    given: IntArray  # (N,)
    fold: IntArray  # (N,), 0 .. K-1
    weights: FloatArray  # (M, N): how much an item counts for a model, 0 where it is held out
    n_classes: int
    reads: FloatArray | None = None  # (C, N): P(what experts said of the item | true = y); none = nobody read anything


class Held(NamedTuple):
    """What held-out models say of C classes and N items."""

    matrix: FloatArray  # (C, C), of all items
    prior: FloatArray  # (C,)
    rate: float
    probs: FloatArray  # (C, N), P(true = y | x)
    posterior: FloatArray  # (C, N), P(true = y | x, given label, reads)
    score: float  # mean log probability of given labels and reads, nats
    factor: float  # the logits were multiplied by it


class Projection(NamedTuple):
    """Principal components of mean square one over all: `(x - mean) @ components.T`, and a column of ones."""

    mean: FloatArray  # (D,)
    components: FloatArray  # (at most 128, D), scaled

    def of(self, features: FloatArray) -> FloatArray:
        """The projected features with a column of ones behind: (N, at most 129)."""
        return np.hstack([(features - self.mean) @ self.components.T, np.ones((len(features), 1))])


def projection_of(features: FloatArray, rng: np.random.Generator) -> Projection:
    """The projection of `features` (N, D); no components where all rows are equal.

    One scale for all components: scaled one by one, those that are mere noise would weigh as much as the first.
    """
    mean = features.mean(axis=0)
    X = features - mean
    # What centring leaves of constant features is rounding, and must not be scaled up.
    if np.abs(X).max(initial=0.0) <= 1e-12 * np.abs(features).max(initial=0.0):
        return Projection(mean, np.empty((0, features.shape[1])))
    components: FloatArray = np.eye(X.shape[1])
    if X.shape[1] > DIMENSIONS:
        pca = PCA(
            min(DIMENSIONS, len(X)),
            svd_solver=_decomposition(*X.shape),
            random_state=int(rng.integers(2**31)),
        ).fit(X)
        components = pca.components_
        X = X @ components.T
    return Projection(mean, components / np.sqrt(np.mean(X**2)))


def _decomposition(n: int, dimensions: int) -> str:
    """How scikit-learn finds the components soonest; all but the last are exact."""
    if 2 * n < dimensions:
        return "full"
    return "covariance_eigh" if dimensions <= EXACT_PCA_DIMENSIONS else "randomized"


def stratified_folds(given: IntArray, rng: np.random.Generator) -> tuple[IntArray, int]:
    """Fold (N,) of every item, each class spread over the folds to within one item, and the number of folds."""
    n_folds = min(FOLDS, len(given))
    fold = np.empty(len(given), dtype=np.int64)
    fold[np.lexsort((rng.random(len(given)), given))] = np.arange(len(given)) % n_folds
    return fold, n_folds


def fold_weights(fold: IntArray, n_folds: int) -> FloatArray:
    """Weights (K, N) of the items for the models of the folds: one over the size of the training part, else 0."""
    trained = fold != np.arange(n_folds)[:, None]
    weights: FloatArray = trained / np.maximum(trained.sum(axis=1, keepdims=True), 1)
    return weights


def likelihood_of(channel: Channel, matrices: FloatArray) -> FloatArray:
    """`P(given label and reads of n | true = y)` of the fold of item n, (C, N)."""
    # Of each class, a table of all folds and given labels: looked up in one go.
    tables = matrices.transpose(1, 0, 2).reshape(matrices.shape[1], -1)
    found: FloatArray = np.take(tables, channel.fold * matrices.shape[2] + channel.given, axis=1)
    return found if channel.reads is None else found * channel.reads


def fit_weights(channel: Channel, W: FloatArray, matrices: FloatArray, penalty: float, iterations: int) -> FloatArray:
    """Weights (M, C, D + 1) of all models after some L-BFGS steps from `W`, in one matrix product."""
    likelihood = np.take(matrices, channel.given, axis=2)
    if channel.reads is not None:
        likelihood *= channel.reads
    likelihood = likelihood.astype(channel.X.dtype, copy=False)

    def objective(flat: FloatArray) -> tuple[float, FloatArray]:
        return loss_and_gradient(channel, likelihood, penalty, flat)

    found = minimize(objective, W.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    fitted: FloatArray = found.x.reshape(W.shape)
    return fitted


def loss_and_gradient(
    channel: Channel, likelihood: FloatArray, penalty: float, flat: FloatArray
) -> tuple[float, FloatArray]:
    """Penalised mean negative log likelihood of given labels and reads, summed over models, and its gradient by `flat`.

    `likelihood[m, y, n]` is model m's probability of what is known of n.  The gradient by the logits is p - q, with the
    posterior q.  Computed in the precision of `channel.X`.
    """
    X, weights = channel.X, channel.weights
    p = softmax_in_place((flat.reshape(-1, X.shape[1]).astype(X.dtype, copy=False) @ X.T).reshape(likelihood.shape))
    joint = p * likelihood
    evidence = joint.sum(axis=1, keepdims=True)
    loss = penalty / 2 * (flat @ flat) - (weights * np.log(evidence[:, 0])).sum()
    joint /= evidence
    residual = p
    residual -= joint
    residual *= weights[:, None]
    return float(loss), (residual.reshape(-1, len(X)) @ X).ravel() + penalty * flat


def expectation_maximisation(
    channel: Channel,
    W: FloatArray,
    matrices: FloatArray,
    penalty: float,
    shrinkage: float,
    rounds: int,
    iterations: int = LATER_ITERATIONS,
) -> tuple[FloatArray, FloatArray, Held]:
    """Weights, matrices and what they say after `rounds` of both in turn; `iterations`: of L-BFGS in the first."""
    for _ in range(rounds):
        W = fit_weights(channel, W, matrices, penalty, iterations)
        matrices, held = update_matrices(channel, W, matrices, shrinkage)
        iterations = LATER_ITERATIONS
    return W, matrices, held


def start_rates(n_classes: int) -> list[float]:
    """Rates of symmetric noise to begin with, those under which labels say something; the one tried first is first."""
    limit = (n_classes - 1) / n_classes
    return [rate for rate in START_RATES if rate < limit - 1e-9] or [0.0]


@contextmanager
def fitting_threads(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that fit side by side, each of which makes its matrix products alone.

    Products are small: with threads of their own they take longer, and their sums depend on the number.
    """
    # A library may count for each of its callers.
    limit = {"initializer": threadpool_limits, "initargs": (1, "blas")}
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads, **limit) as pool:
        yield pool


def update_matrices(channel: Channel, W: FloatArray, matrices: FloatArray, shrinkage: float) -> tuple[FloatArray, Held]:
    """The models' noise matrices (M, C, C) that fit the held-out probabilities, and what these say.

    Each fold's matrix counts the items of the other folds alone, so that the likelihood of its labels is not
    flattered by the C * C numbers that they would have helped to set.  Probabilities are calibrated by one factor.
    shrinkage: pseudo-items that pull the row of each class towards symmetric noise.
    """
    given, n_classes = channel.given, channel.n_classes
    members, one_hot = _members(channel), np.eye(n_classes)[given]
    logits = _held_out_logits(channel, W, members)
    for _ in range(TEMPERATURE_STEPS):
        p, factor = _calibrated(logits, likelihood_of(channel, matrices))
        for _ in range(MATRIX_STEPS):
            q = p * likelihood_of(channel, matrices)
            q /= q.sum(axis=0)
            joint = np.stack([q[:, items] @ one_hot[items] for items in members])
            everything = joint.sum(axis=0)
            held_out = [shrunken(everything - of_fold, shrinkage) for of_fold in joint]
            of_all = [shrunken(everything, shrinkage)] * (len(W) - len(members))
            matrices = np.stack(held_out + of_all)
    score = float(np.log((p * likelihood_of(channel, matrices)).sum(axis=0)).mean())
    prior = everything.sum(axis=1) / len(given)
    rate = float(np.clip(1.0 - np.trace(everything) / len(given), 0.0, 1.0))
    return matrices, Held(shrunken(everything, shrinkage), prior, rate, p, q, score, factor)


def held_out(channel: Channel, W: FloatArray, matrices: FloatArray, factor: float) -> Held:
    """What models with the weights `W`, their logits times `factor`, say of the items that they did not train on."""
    p = softmax_in_place(factor * _held_out_logits(channel, W, _members(channel)))
    q = p * likelihood_of(channel, matrices)
    evidence = q.sum(axis=0)
    q /= evidence
    rate = 1.0 - float(q[channel.given, np.arange(len(channel.given))].mean())
    return Held(matrices[-1], q.mean(axis=1), rate, p, q, float(np.log(evidence).mean()), factor)


def held_out_factor(channel: Channel, W: FloatArray, matrices: FloatArray) -> float:
    """The factor of the logits under which what is known of held-out items is most likely, the matrices as they are."""
    return _calibrated(_held_out_logits(channel, W, _members(channel)), likelihood_of(channel, matrices))[1]


def _members(channel: Channel) -> list[IntArray]:
    """Positions of the items of every fold."""
    return [np.flatnonzero(channel.fold == k) for k in range(int(channel.fold.max()) + 1)]


def _held_out_logits(channel: Channel, W: FloatArray, members: list[IntArray]) -> FloatArray:
    """Logits (C, N) of every item by the model of its fold."""
    logits = np.empty((channel.n_classes, len(channel.given)))
    for k, items in enumerate(members):
        logits[:, items] = W[k] @ channel.X[items].T
    return logits


def _calibrated(logits: FloatArray, likelihood: FloatArray) -> tuple[FloatArray, float]:
    """Softmax (C, N) of the logits times the one factor under which what is known is most likely, and the factor."""

    def loss(log_factor: float) -> float:
        return float(-np.log((softmax_in_place(np.exp(log_factor) * logits) * likelihood).sum(axis=0)).mean())

    found = minimize_scalar(loss, bounds=LOG_TEMPERATURES, method="bounded", options={"xatol": 0.02})
    factor = float(np.exp(found.x))
    return softmax_in_place(factor * logits), factor


def softmax_in_place(logits: NDArray[np.floating]) -> FloatArray:
    """Softmax over the classes, the last axis but one, in place of the logits: most of the time of a fit goes here."""
    logits -= logits.max(axis=-2, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=-2, keepdims=True)
    return logits


def shrunken(joint: FloatArray, shrinkage: float) -> FloatArray:
    """Rows of the expected counts `joint[true, given]` as a noise matrix, drawn towards symmetric noise."""
    n_classes = len(joint)
    ceiling = RATE_CEILING * (n_classes - 1) / n_classes
    # Of a single item nothing is left to count.
    rate = float(np.clip(1.0 - np.trace(joint) / joint.sum(), 0.0, ceiling)) if joint.any() else ceiling
    counts = joint + shrinkage * symmetric_matrix(n_classes, rate)
    matrix: FloatArray = counts / counts.sum(axis=1, keepdims=True)
    return matrix
