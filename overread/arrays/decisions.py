"""What to conclude from class probabilities: posteriors, and which labels to believe."""

import numpy as np

from overread.arrays import BoolArray, FloatArray, IntArray

__all__ = ["adjusted_decision", "believed", "label_posterior"]

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
