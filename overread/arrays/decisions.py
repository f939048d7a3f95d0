"""What to conclude from class probabilities: posteriors, which labels to believe, how far to favour rare classes."""

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.errors import DataError

__all__ = [
    "adjusted_decision",
    "adjustment_in_hindsight",
    "believed",
    "geometric_mean",
    "label_posterior",
    "posterior_of",
    "prior_adjusted",
]

# A probability is never quite 0: the logarithm of one would settle every mean.
LEAST = 1e-12
# A class that is hardly there at all must not be named for being rare.
SMALLEST_PRIOR = 1e-3


def adjusted_decision(probs: FloatArray, prior: FloatArray, adjustment: float) -> IntArray:
    """The class (N,) with the largest `log p - adjustment log prior`; ties: lower class.

    probs: (N, C) `P(true | x)`.  prior: (C,) frequencies of the classes.  adjustment: 0 = the most probable class,
    1 = as if all classes were equally frequent (Menon et al., "Long-tail learning via logit adjustment", ICLR 2021).
    """
    smallest = np.finfo(np.float64).tiny
    log_prior = np.log(np.maximum(prior, SMALLEST_PRIOR))
    score: FloatArray = np.log(np.maximum(probs.astype(np.float64), smallest)) - adjustment * log_prior
    named: IntArray = score.argmax(axis=1)
    return named


def label_posterior(probs: FloatArray, matrix: FloatArray, given: IntArray) -> FloatArray:
    """`P(true = c | x, given label)` (N, C): `probs` times the column of the given label, rows sum to one.

    probs: (N, C) `P(true | x)`.  matrix: (C, C) `P(given = j | true = i)`.  given: (N,).  A row whose label is
    impossible under `probs` and `matrix` keeps its `probs`.
    """
    joint = probs * matrix[:, given].T
    total = joint.sum(axis=1, keepdims=True)
    found: FloatArray = np.where(total > 0, joint / np.where(total > 0, total, 1.0), probs)
    return found


def believed(posterior: FloatArray, given: IntArray) -> BoolArray:
    """Which given labels are presumed right: of the items given class c, as many as are expected to be right, the most
    probable first.  Ties: lower position first.

    One threshold for all classes keeps nearly nothing of a rare class, whose labels are mostly wrong; here every class
    keeps as many items as its own labels deserve, and its expected precision and recall are equal.

    posterior: (N, C); given: (N,).
    """
    found = np.zeros(len(given), dtype=bool)
    right = posterior[np.arange(len(given)), given]
    for c in np.unique(given):
        items = np.flatnonzero(given == c)
        keep = round(float(right[items].sum()))
        found[items[np.argsort(-right[items], kind="stable")[:keep]]] = True
    return found


def geometric_mean(several: Sequence[FloatArray]) -> FloatArray:
    """The class probabilities (N, C) whose logarithm is the mean of the logarithms of `several`, rows sum to one.

    Networks that are wrong in different places outvote each other, and none of them can be sure alone (Genest & Zidek,
    "Combining probability distributions", Statistical Science 1986).

    >>> geometric_mean([np.array([[0.9, 0.1]]), np.array([[0.1, 0.9]])]).tolist()
    [[0.5, 0.5]]
    """
    found: FloatArray = softmax(np.mean([np.log(np.maximum(probs, LEAST)) for probs in several], axis=0), axis=1)
    return found


def posterior_of(probs: FloatArray, log_likelihood: FloatArray) -> FloatArray:
    """`P(true = c | x, all that is known)` (N, C): `probs` times the likelihood of what is known, rows sum to one.

    probs: (N, C) `P(true | x)`.  log_likelihood: (N, C) log `P(given label and reads | true = c)`, up to a constant of
    the row.
    """
    found: FloatArray = softmax(np.log(np.maximum(probs, LEAST)) + log_likelihood, axis=1)
    return found


def prior_adjusted(probs: FloatArray, prior: FloatArray, strength: float) -> FloatArray:
    """`probs` (N, C) over `prior` (C,) to the power of `strength`, in float64, rows sum to one: logit adjustment.

    strength: 0 = as they are, 1 = as if all classes were equally frequent (Menon et al., "Long-tail learning via logit
    adjustment", ICLR 2021).  DataError where the prior of a class is not above 0.

    >>> prior_adjusted(np.array([[0.8, 0.2]]), np.array([0.8, 0.2]), 1.0).tolist()
    [[0.5, 0.5]]
    """
    if not (prior > 0).all():
        raise DataError(f"class {int(np.argmin(prior > 0))} has a prior of {prior.min()}: give numbers above 0")
    with np.errstate(divide="ignore"):
        logits = np.log(probs.astype(np.float64)) - strength * np.log(prior)
    adjusted: FloatArray = softmax(logits, axis=1)
    return adjusted


def adjustment_in_hindsight(
    reference: IntArray, probs: FloatArray, prior: FloatArray, strengths: Sequence[float]
) -> float:
    """The one of `strengths` whose `prior_adjusted` probabilities have the largest macro-F1; ties: the first.

    reference: (N,) true classes of the items that `probs` (N, C) are of.  It sees what it is judged by, so what it
    gives is an upper bound of any rule of this form, and no method.  Macro-F1 as in `classification_metrics`.

    >>> probs = np.array([[0.9, 0.1], [0.6, 0.4]])
    >>> adjustment_in_hindsight(np.array([0, 1]), probs, np.array([0.75, 0.25]), [0.0, 0.5, 1.0])
    0.5
    """
    n_classes = probs.shape[1]

    def macro_f1(strength: float) -> float:
        predicted = prior_adjusted(probs, prior, strength).argmax(axis=1)
        hits = np.bincount(reference[reference == predicted], minlength=n_classes)
        size = np.bincount(reference, minlength=n_classes) + np.bincount(predicted, minlength=n_classes)
        return float((2 * hits[size > 0] / size[size > 0]).mean())

    return max(strengths, key=macro_f1)
