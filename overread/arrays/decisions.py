"""What to conclude from class probabilities: posteriors, which labels to believe, which class to name."""

import numpy as np

from overread.arrays import BoolArray, FloatArray, IntArray

__all__ = ["adjusted", "believed", "label_posterior"]


def label_posterior(probs: FloatArray, matrix: FloatArray, given: IntArray) -> FloatArray:
    """`P(true = c | x, given label)` (N, C): `probs` times the column of the given label, rows sum to one.

    probs: (N, C) `P(true | x)`.  matrix: (C, C) `P(given = j | true = i)`.  given: (N,).  A row whose label is
    impossible under `probs` and `matrix` keeps its `probs`.
    """
    joint = probs * matrix[:, given].T
    total = joint.sum(axis=1, keepdims=True)
    found: FloatArray = np.where(total > 0, joint / np.where(total > 0, total, 1.0), probs)
    return found


def adjusted(probs: FloatArray, prior: FloatArray, strength: float) -> FloatArray:
    """`probs` (N, C) over `prior` (C,) to the power `strength`, rows sum to one again: rare classes count more.

    strength: 0 = as they are, best for accuracy; 1 = as if all classes were equally frequent (Menon et al., "Long-tail
    learning via logit adjustment", ICLR 2021).  A class with prior 0 keeps probability 0.
    """
    # The largest prior is the unit, so that nothing overflows.
    scale = np.divide(prior.max(), prior, out=np.zeros_like(prior, dtype=np.float64), where=prior > 0) ** strength
    scaled = probs * scale
    total = scaled.sum(axis=1, keepdims=True)
    found: FloatArray = np.where(total > 0, scaled / np.where(total > 0, total, 1.0), probs)
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
