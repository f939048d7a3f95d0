"""Noise matrices, label noise drawn from them, and what is left of the information in the labels.

Everywhere `T[i, j] = P(given = j | true = i)`, shape (C, C), rows sum to one.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax
from scipy.stats import truncnorm

from overread.arrays import FloatArray, IntArray
from overread.errors import DataError, NoiseError, name_some

__all__ = [
    "check_informative",
    "checked_labels",
    "checked_matrix",
    "class_dependent_matrix",
    "diagnose",
    "flip_labels",
    "instance_dependent_labels",
    "noise_rate",
    "realised_matrix",
    "symmetric_matrix",
]

ROW_SUM_TOLERANCE = 1e-6
# Below this smallest singular value no number of items tells the classes apart.
SINGULAR = 1e-6
# Below this one the labels still do, but an estimate of the matrix is shaky.
NEARLY_SINGULAR = 0.1
# Spread of the items' own flip rates in Xia et al. 2020.
INSTANCE_RATE_STD = 0.1


def symmetric_matrix(n_classes: int, rate: float, exempt: Sequence[int] = ()) -> FloatArray:
    """The (C, C) matrix that turns a label into a uniformly drawn other class with probability `rate`.

    Classes in `exempt` (indices) keep their labels, and are still possible targets of the others.
    NoiseError: a rate outside [0, 1), a rate above 0 for one class, an exempt class that does not exist.

    >>> symmetric_matrix(3, 0.5, exempt=[0]).tolist()
    [[1.0, 0.0, 0.0], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]
    """
    _check_rate(rate, n_classes)
    _check_classes(exempt, n_classes, "an exempt class")
    T = np.full((n_classes, n_classes), rate / max(n_classes - 1, 1))
    np.fill_diagonal(T, 1.0 - rate)
    for c in exempt:
        T[c] = np.eye(n_classes)[c]
    return T


def class_dependent_matrix(n_classes: int, rate: float, pairs: Sequence[tuple[int, int]] | None = None) -> FloatArray:
    """The (C, C) matrix in which a class becomes its partners with probability `rate` in all.

    `pairs` holds (from, to) indices; a `from` with several `to` shares the rate equally among them, a class that
    is no `from` keeps its labels.  Without `pairs` every class becomes the next one, the last one the first.
    NoiseError: as `symmetric_matrix`, and a pair that is repeated or leads from a class to itself.

    >>> class_dependent_matrix(3, 0.4, [(0, 1), (0, 2)]).tolist()
    [[0.6, 0.2, 0.2], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    _check_rate(rate, n_classes)
    if pairs is None:
        pairs = [(c, (c + 1) % n_classes) for c in range(n_classes)] if n_classes > 1 else []
    for source, target in pairs:
        _check_classes((source, target), n_classes, f"the pair {source} -> {target}")
        if source == target:
            raise NoiseError(f"the pair {source} -> {target} leads from a class to itself; remove it")
    if len(set(pairs)) < len(pairs):
        repeated = next(pair for pair in pairs if pairs.count(pair) > 1)
        raise NoiseError(f"the pair {repeated[0]} -> {repeated[1]} stands twice in the list; remove one")
    T = np.eye(n_classes)
    sources = [source for source, _ in pairs]
    for source, target in pairs:
        T[source, source] = 1.0 - rate
        T[source, target] = rate / sources.count(source)
    return T


def checked_matrix(values: ArrayLike, n_classes: int) -> FloatArray:
    """A noise matrix (C, C) of floats made from a user's values, rows scaled to sum to one exactly.

    NoiseError: not a (C, C) table of finite numbers, a negative entry, or a row whose sum is off by more than 1e-6.

    >>> checked_matrix([[0.9, 0.1], [0.2, 0.8]], 2).tolist()
    [[0.9, 0.1], [0.2, 0.8]]
    """
    try:
        T = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise NoiseError("the noise matrix is not a table of numbers with rows of equal length") from error
    if T.shape != (n_classes, n_classes):
        raise NoiseError(
            f"the noise matrix has shape {T.shape} but there are {n_classes} classes: "
            f"it needs {n_classes} rows of {n_classes} numbers"
        )
    if not np.isfinite(T).all():
        raise NoiseError("the noise matrix holds a value that is not a finite number")
    if (T < 0).any():
        i, j = np.argwhere(T < 0)[0]
        raise NoiseError(f"entry ({i}, {j}) of the noise matrix is negative ({T[i, j]:g}); it is a probability")
    sums = T.sum(axis=1)
    if (off := np.abs(sums - 1.0) > ROW_SUM_TOLERANCE).any():
        i = int(np.flatnonzero(off)[0])
        raise NoiseError(f"row {i} of the noise matrix sums to {sums[i]:.6g}; every row must sum to 1")
    scaled: FloatArray = T / sums[:, None]
    return scaled


def checked_labels(labels: ArrayLike, n_classes: int, what: str = "labels") -> IntArray:
    """The labels (N,) as int64, every one in 0 .. C-1.  `what` names them in errors.

    DataError: not one-dimensional, not integers, or a label outside the classes; `items` holds its position.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DataError(
            f"{what} must be a vector of integers, not an array of shape {array.shape} and type {array.dtype}"
        )
    if (bad := (array < 0) | (array >= n_classes)).any():
        positions = [str(position) for position in np.flatnonzero(bad)]
        raise DataError(
            f"{what} must lie in 0 .. {n_classes - 1} ({n_classes} classes) but do not at position "
            f"{name_some(positions)}; the first is {array[bad][0]}",
            items=positions,
        )
    return array.astype(np.int64)


def flip_labels(labels: IntArray, T: FloatArray, rng: np.random.Generator) -> IntArray:
    """Noisy labels (N,): item i becomes j with probability `T[labels[i], j]`, independently.

    One uniform number an item is drawn, in order, so the flips of the first items do not depend on later ones.

    >>> flip_labels(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]), np.random.default_rng(0)).tolist()
    [1, 1]
    """
    T = checked_matrix(T, len(T))
    labels = checked_labels(labels, len(T))
    cumulative = T.cumsum(axis=1)
    # Division makes the last sum exactly one, so that rounding can never pick a class of probability zero.
    cumulative /= cumulative[:, -1:]
    flipped: IntArray = (rng.random(len(labels))[:, None] >= cumulative[labels]).sum(axis=1, dtype=np.int64)
    return flipped


def instance_dependent_labels(
    labels: IntArray, features: FloatArray, rate: float, n_classes: int, rng: np.random.Generator
) -> IntArray:
    """Noisy labels (N,) whose chance to flip, and whose target, depend on the item's `features` (N, D).

    Every item has its own flip rate from a normal (`rate`, 0.1) truncated to [0, 1]; the target is drawn from the
    softmax over the other classes of the standardised features times a random matrix of the true class.  Similar
    images thus become the same wrong class.  Features may be any floats, such as the pixels of thumbnails.
    The expected share of flips is the mean of the truncated normal: `rate` to 0.006 between 0.2 and 0.8, more
    below (0.05 gives 0.10) and less above; a rate of 0 flips nothing.
    Source: Xia et al., "Part-dependent label noise", NeurIPS 2020, Algorithm 2.
    NoiseError: a rate outside [0, 1), or above 0 for one class.  DataError: lengths that differ, features not finite.
    """
    _check_rate(rate, n_classes)
    labels = checked_labels(labels, n_classes)
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) != len(labels):
        raise DataError(f"features have shape {features.shape} but there are {len(labels)} labels")
    if not np.isfinite(features).all():
        raise DataError("features for instance-dependent noise hold a value that is not finite")
    if rate == 0 or len(labels) == 0:
        return labels
    spread = features.std(axis=0)
    features = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    bounds = (0.0 - rate) / INSTANCE_RATE_STD, (1.0 - rate) / INSTANCE_RATE_STD
    item_rates = truncnorm.rvs(*bounds, loc=rate, scale=INSTANCE_RATE_STD, size=len(labels), random_state=rng)
    logits = np.empty((len(labels), n_classes))
    for c in range(n_classes):  # drawn for absent classes too: the stream does not depend on who is there
        projection = rng.standard_normal((features.shape[1], n_classes))
        logits[labels == c] = features[labels == c] @ projection
    logits[np.arange(len(labels)), labels] = -np.inf
    cumulative = softmax(logits, axis=1).cumsum(axis=1)
    cumulative /= cumulative[:, -1:]
    targets = (rng.random(len(labels))[:, None] >= cumulative).sum(axis=1, dtype=np.int64)
    return np.where(rng.random(len(labels)) < item_rates, targets, labels)


def realised_matrix(reference: IntArray, given: IntArray, n_classes: int) -> FloatArray:
    """The empirical noise matrix (C, C) of a pair of label vectors (N,).

    A class without a reference item has an identity row: nothing of it was seen to flip, and every row stays a
    distribution.  DataError: lengths that differ, labels outside the classes.

    >>> realised_matrix(np.array([0, 0]), np.array([0, 1]), 2).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    reference = checked_labels(reference, n_classes, "reference labels")
    given = checked_labels(given, n_classes, "given labels")
    if len(reference) != len(given):
        raise DataError(f"there are {len(reference)} reference labels but {len(given)} given labels")
    counts = np.bincount(reference * n_classes + given, minlength=n_classes**2)
    counts = counts.reshape(n_classes, n_classes)
    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), np.eye(n_classes))


def noise_rate(T: FloatArray, prior: ArrayLike) -> float:
    """The share of wrong labels, 0 .. 1, under `T` when the true classes have the weights `prior` (C,).

    The prior may be counts: it is scaled to sum to one.  NoiseError: another length, a negative or zero sum.

    >>> round(noise_rate(np.array([[0.5, 0.5], [0.0, 1.0]]), [30, 10]), 6)
    0.375
    """
    weights = np.asarray(prior, dtype=np.float64)
    if weights.shape != (len(T),):
        raise NoiseError(f"the prior has shape {weights.shape} but the noise matrix has {len(T)} classes")
    if not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
        raise NoiseError("the prior must be finite and not negative, with a positive sum")
    # Clipped, since rounding of the sums could leave -1e-17.
    return float(np.clip(1.0 - weights @ np.diag(T) / weights.sum(), 0.0, 1.0))


def check_informative(T: FloatArray) -> None:
    """Nothing; NoiseError when given labels drawn by `T` cannot tell the true classes apart.

    That is so for symmetric noise at a rate of (C-1)/C; above it the labels say which class it is *not*, which no
    method here expects.  For any other matrix it is so when `T` is singular (smallest singular value below 1e-6):
    then two different mixtures of classes give the same labels.
    """
    n_classes = len(T)
    if n_classes < 2:
        return
    rate, limit = _symmetric_rate(T), (n_classes - 1) / n_classes
    if rate is not None and rate >= limit - 1e-9:
        raise NoiseError(
            f"at rate {rate:.2f} with {n_classes} classes a given label says nothing about the true one"
            f"{' except which it is not' if rate > limit + 1e-9 else ''}; stay below {limit:.2f}"
        )
    if np.linalg.svd(T, compute_uv=False)[-1] >= SINGULAR:
        return
    mean_rate = float(np.mean(1.0 - np.diag(T)))
    twins = [(i, j) for i in range(n_classes) for j in range(i + 1, n_classes) if np.abs(T[i] - T[j]).max() < SINGULAR]
    if len(twins) == n_classes * (n_classes - 1) // 2:
        why = "all rows of the noise matrix are equal, so a given label says nothing about the true one"
    elif twins:
        why = f"classes {twins[0][0]} and {twins[0][1]} get the same labels, so no label tells them apart"
    else:
        why = "the noise matrix is singular, so different mixtures of true classes give the same labels"
    raise NoiseError(f"at a mean rate of {mean_rate:.2f} {why}; lower the rate or change the matrix")


def diagnose(T: FloatArray, class_names: Sequence[str]) -> list[str]:
    """Warnings about a valid noise matrix, one sentence each; empty when there is nothing to say.

    They name classes that are labelled as another one at least as often as correctly (learnable in principle, but
    small loss then prefers the wrong labels), and a matrix that is nearly singular.

    >>> diagnose(class_dependent_matrix(3, 0.6, [(0, 2)]), ["akiec", "bcc", "nv"])
    ["items of class 'akiec' are labelled 'nv' (0.60) at least as often as 'akiec' (0.40)"]
    """
    warnings = []
    for c, name in enumerate(class_names):
        others = np.where(np.arange(len(T)) == c, -1.0, T[c])
        rival = int(others.argmax())
        if others[rival] >= T[c, c] - 1e-9:
            warnings.append(
                f"items of class '{name}' are labelled '{class_names[rival]}' ({T[c, rival]:.2f}) "
                f"at least as often as '{name}' ({T[c, c]:.2f})"
            )
    smallest = float(np.linalg.svd(T, compute_uv=False)[-1])
    if smallest < NEARLY_SINGULAR:
        warnings.append(
            f"given labels carry little information: the smallest singular value of the noise matrix is "
            f"{smallest:.3f} (1 without noise), so estimates need many items"
        )
    return warnings


def _symmetric_rate(T: FloatArray) -> float | None:
    """The rate of a symmetric matrix, with or without exempt classes; None for any other matrix."""
    n_classes = len(T)
    noisy = np.flatnonzero(np.diag(T) < 1.0 - 1e-9)
    if len(noisy) == 0:
        return 0.0
    rate = float(1.0 - T[noisy[0], noisy[0]])
    exempt = [c for c in range(n_classes) if c not in noisy]
    # One class that flips evenly is a matter of `pairs`: the rate then is no rate of the whole.
    same = np.allclose(T, symmetric_matrix(n_classes, min(rate, np.nextafter(1.0, 0.0)), exempt), atol=1e-9)
    return rate if same and len(noisy) > 1 else None


def _check_rate(rate: float, n_classes: int) -> None:
    if not 0.0 <= rate < 1.0:
        raise NoiseError(f"a noise rate lies in 0 <= rate < 1, not at {rate:g}")
    if n_classes < 1:
        raise NoiseError(f"noise needs at least one class, not {n_classes}")
    if rate > 0 and n_classes == 1:
        raise NoiseError(f"with one class no label can be wrong; set the noise rate to 0 instead of {rate:g}")


def _check_classes(classes: Sequence[int], n_classes: int, what: str) -> None:
    for c in classes:
        if not 0 <= c < n_classes:
            raise NoiseError(f"{what} names class {c}, but classes run from 0 to {n_classes - 1}")
