"""Where a run stands, as far as reads can tell: wrong labels left, the classifier's macro-F1, what reads would buy.

Everything is drawn from one distribution: coefficients of the recalibration of `overread.arrays.recalibration`, then
how many labels are wrong, then a confusion matrix.  The ends of an interval are quantiles of the draws.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.arrays.acquisition import expected_macro_f1_gain
from overread.arrays.recalibration import (
    BESIDE,
    HELD_OUT,
    LARGEST_LOGIT,
    TRAINED,
    Evidence,
    Prior,
    recalibrate,
    wrong_draws,
)
from overread.errors import DataError

__all__ = [
    "MODEL",
    "MODEL_AND_NETWORKS",
    "NETWORK",
    "Beliefs",
    "Forecast",
    "Interval",
    "Judge",
    "forecast",
    "macro_f1_of",
]

CONFIDENCE = 0.90
DRAWS = 400
# Items that differ by less are counted together; logits are what the recalibration sees.
BIN = 0.05
# A posterior without any doubt still has to say what else a label could be: so much of the class frequencies.
LEAST_ALTERNATIVE = 1e-3
SMALLEST_SCORE = 1e-4
# Macro-F1 of the classifier per macro-F1 that the exported labels gain, on development sets.
LEARNT_MACRO_F1 = 0.5


class Judge(NamedTuple):
    """Who says how probable it is that a label is wrong; numbers from development sets."""

    prior: Prior
    score_shift: float
    """Logits by which the macro-F1 of new images differs from what predictions of training items show."""
    score_width: float
    """Its standard deviation."""
    learnt_labels: float
    """Labels that become right per wrong label that a reader finds."""
    changes: bool
    """Whether a round changes so much that reads test what was thought just before them, and nothing later."""


# Models that did not train on an item learnt from fewer; networks that learn from labels as they are remember them.
MODEL = Judge(HELD_OUT, 0.0, 0.22, 1.5, False)
MODEL_AND_NETWORKS = Judge(BESIDE, 0.1, 0.25, 1.5, True)
NETWORK = Judge(TRAINED, -0.9, 0.7, 1.0, False)


class Interval(NamedTuple):
    """An estimate, the median of the draws, and the ends of its 90 % interval."""

    estimate: float
    low: float
    high: float


class Beliefs(NamedTuple):
    """What is thought of N training items with C classes after a round."""

    posterior: FloatArray
    """(N, C) `P(true | x, given label, reads)`; rows sum to one."""
    exported: IntArray
    """(N,) the label that would be exported now."""
    predicted: IntArray
    """(N,) the class that the classifier names."""
    read: BoolArray
    """(N,) items that an expert read."""
    judge: Judge
    """Who thinks so."""


class Forecast(NamedTuple):
    """What is estimated of one round."""

    wrong_labels_left: Interval
    """Among the exported labels, those of read items included, where readers may err."""
    label_accuracy: Interval
    macro_f1: Interval
    """Of the classifier, on images whose classes are as frequent as among the training items."""
    gain_label_accuracy: float
    """Expected of reading the items `next_reads`, 0 .. 1; a rough number, which has no interval."""
    gain_macro_f1: float
    """As above, of the classifier."""


class _Groups(NamedTuple):
    """G groups of unread items alike in everything that the draws look at."""

    size: IntArray  # (G,)
    wrong: FloatArray  # (G,), mean probability
    exported: IntArray  # (G,)
    predicted: IntArray  # (G,)
    alternatives: FloatArray  # (G, C), summed over the group: P(true class | exported label is wrong)


def forecast(beliefs: Beliefs, evidence: Evidence, next_reads: IntArray, rng: np.random.Generator) -> Forecast:
    """Estimates after a round; see `Forecast`.

    next_reads: positions of unread items that would be read next.  Memory and time: linear in N.
    Errors: DataError for shapes that do not fit, and without items.
    """
    n, n_classes = beliefs.posterior.shape
    if n == 0 or not len(beliefs.exported) == len(beliefs.predicted) == len(beliefs.read) == n:
        raise DataError(
            f"a posterior of shape {beliefs.posterior.shape} does not fit the other arrays; give N rows each"
        )
    wrong = 1.0 - beliefs.posterior[np.arange(n), beliefs.exported].astype(np.float64)
    # Readers err as often as the posterior, which has heard them, thinks.
    wrong_reads = float(np.maximum(wrong[beliefs.read], 0.0).sum())
    reader_error = wrong_reads / max(1, int(beliefs.read.sum()))
    judge = beliefs.judge
    recalibration = recalibrate(evidence, n_classes, reader_error, judge.prior)
    groups = _groups(beliefs, wrong)
    draws = wrong_draws(recalibration, groups.wrong, groups.exported, DRAWS, rng)
    left = rng.binomial(groups.size, draws).sum(axis=1) + rng.poisson(wrong_reads, DRAWS)
    next_draws = wrong_draws(recalibration, wrong[next_reads], beliefs.exported[next_reads], DRAWS, rng)
    counts = rng.poisson(_confusions(beliefs, groups, draws))
    scores = np.clip(macro_f1_of(counts), SMALLEST_SCORE, 1 - SMALLEST_SCORE)
    return Forecast(
        wrong_labels_left=_interval(np.minimum(left, n)),
        label_accuracy=_interval(1.0 - np.minimum(left, n) / n),
        macro_f1=_interval(expit(logit(scores) + rng.normal(judge.score_shift, judge.score_width, DRAWS))),
        # A read mends a wrong label, and spoils a right one where the reader errs.
        gain_label_accuracy=float((next_draws - reader_error).mean(axis=0).sum() / n) * judge.learnt_labels,
        gain_macro_f1=float(LEARNT_MACRO_F1 * expected_macro_f1_gain(beliefs.posterior)[next_reads].sum()),
    )


def macro_f1_of(confusion: FloatArray | IntArray) -> FloatArray:
    """Macro-F1 (...) of confusion matrices (..., C, C), rows predicted or true; 0 where nothing was counted.

    The mean over the classes that occur in rows or columns, as in `overread.arrays.metrics`.

    >>> float(macro_f1_of(np.array([[1, 1, 0], [0, 2, 0], [0, 0, 0]])).round(4))
    0.7333
    """
    size = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    f1 = 2 * np.diagonal(confusion, axis1=-2, axis2=-1) / np.maximum(size, 1e-300)
    found: FloatArray = f1.sum(axis=-1) / np.maximum((size > 0).sum(axis=-1), 1)
    return found


def _groups(beliefs: Beliefs, wrong: FloatArray) -> _Groups:
    """The unread items, those alike counted together."""
    unread = np.flatnonzero(~beliefs.read)
    posterior, exported, predicted = beliefs.posterior[unread], beliefs.exported[unread], beliefs.predicted[unread]
    n_classes = posterior.shape[1]
    limit = expit(LARGEST_LOGIT)
    bins = np.round(logit(np.clip(wrong[unread], 1 - limit, limit)) / BIN).astype(np.int64)
    keys = ((bins - bins.min(initial=0)) * n_classes + exported) * n_classes + predicted
    first, group, count = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)[1:]
    others = posterior + LEAST_ALTERNATIVE * beliefs.posterior.mean(axis=0)
    others[np.arange(len(unread)), exported] = 0.0
    others /= np.maximum(others.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    alternatives = np.stack([np.bincount(group, others[:, c], len(count)) for c in range(n_classes)], axis=1)
    mean_wrong = np.bincount(group, wrong[unread], len(count)) / count
    return _Groups(count, mean_wrong, exported[first], predicted[first], np.asarray(alternatives, dtype=np.float64))


def _confusions(beliefs: Beliefs, groups: _Groups, draws: FloatArray) -> FloatArray:
    """Expected counts (S, C, C) of predicted and true classes under each of the draws (S, G) of `wrong_draws`.

    With Poisson noise they are the counts in a bootstrap sample of the items, each with a true class that is drawn.
    """
    n_classes = beliefs.posterior.shape[1]
    found = np.zeros((len(draws), n_classes, n_classes))
    for d in range(n_classes):
        members = groups.predicted == d
        right = np.eye(n_classes)[groups.exported[members]] * groups.size[members][:, None]
        found[:, d] = (1.0 - draws[:, members]) @ right + draws[:, members] @ groups.alternatives[members]
        found[:, d] += beliefs.posterior[beliefs.read & (beliefs.predicted == d)].sum(axis=0)
    return found


def _interval(draws: FloatArray) -> Interval:
    tail = (1.0 - CONFIDENCE) / 2
    return Interval(*(float(value) for value in np.quantile(draws, [0.5, tail, 1.0 - tail])))
