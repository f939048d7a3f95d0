"""What to conclude from class probabilities: posteriors, and which labels to believe."""

from collections.abc import Sequence

import numpy as np

from overread.arrays import BoolArray, FloatArray, IntArray

__all__ = ["adjusted_decision", "believed", "geometric_mean", "label_posterior", "posterior_of", "prior_adjusted"]

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
    return _normalised(np.mean([np.log(np.maximum(probs, LEAST)) for probs in several], axis=0))


def posterior_of(probs: FloatArray, log_likelihood: FloatArray) -> FloatArray:
    """`P(true = c | x, all that is known)` (N, C): `probs` times the likelihood of what is known, rows sum to one.

    probs: (N, C) `P(true | x)`.  log_likelihood: (N, C) log `P(given label and reads | true = c)`, up to a constant of
    the row.
    """
    return _normalised(np.log(np.maximum(probs, LEAST)) + log_likelihood)


def prior_adjusted(probs: FloatArray, prior: FloatArray, exponent: float) -> FloatArray:
    """`probs` (N, C) over `prior ** exponent` (C,), rows sum to one: 0 = as they are, 1 = all classes equally frequent.

    Menon et al., "Long-tail learning via logit adjustment", ICLR 2021.
    """
    return _normalised(np.log(np.maximum(probs, LEAST)) - exponent * np.log(np.maximum(prior, SMALLEST_PRIOR)))


def _normalised(logits: FloatArray) -> FloatArray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: FloatArray = shifted / shifted.sum(axis=1, keepdims=True)
    return found
