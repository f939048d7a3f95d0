"""How far class probabilities can be trusted, learnt from what reads revealed: Bayesian logistic recalibration.

A posterior says how probable it is that an exported label is wrong.  Reads say how often such labels were wrong.  The
regression `logit P'(wrong) = a + b logit P(wrong) + k [chosen] + u_class` has Gaussian priors, whose widths say how far
off the posterior may be before anybody has read anything.  `k` is what sets items that a sampler chose apart from
others that look alike: it is never used for unread items, so that reads at random alone move `a` as much as they can.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.errors import DataError

__all__ = [
    "BESIDE",
    "HELD_OUT",
    "TRAINED",
    "Evidence",
    "Prior",
    "Recalibration",
    "fit_logistic",
    "recalibrate",
    "wrong_draws",
]


class Prior(NamedTuple):
    """What is thought of a posterior before reads, in logits, means and widths; chosen on development sets.

    Untested: before anybody read anything.  Tested: what reads leave of it, as far as the posterior learns from them.
    """

    untested_offset: float
    untested_offset_width: float
    untested_slope: float
    untested_slope_width: float
    tested_offset_width: float
    tested_slope: float
    tested_slope_width: float
    half_tested: float
    """So many reads halve what is untested."""
    chosen: float
    """By how much more often than others that look alike chosen items are wrong."""
    chosen_width: float


# By models that did not train on the item, and that learn from reads how far given labels can be trusted.
HELD_OUT = Prior(0.0, 0.6, 0.7, 0.4, 0.2, 1.0, 0.2, 25.0, 0.2, 0.45)
# By networks that learnt from what such a model thinks of every item, and by the model, together.  They soften what
# they remember, and so are wrong less often than they say.
BESIDE = Prior(0.0, 0.7, 0.8, 0.45, 0.3, 1.2, 0.25, 25.0, 0.0, 0.5)
# By a network that was trained on the item's given label and is surer of it than it should be, however many are read.
# It did not see the suspicious ones that samplers buy, and is less wrong about them than about the others.
TRAINED = Prior(0.7, 0.8, 0.4, 0.3, 0.0, 1.0, 0.0, np.inf, -1.0, 0.8)
CLASS_WIDTH = 0.5
# Chosen reads count for less than one: their errors resemble each other, and the regression is not quite true.
CHOSEN_WEIGHT = 0.15
# No posterior is believed beyond this many logits.
LARGEST_LOGIT = 5.0
STEPS, LARGEST_STEP, TOLERANCE = 100, 2.0, 1e-10


class Evidence(NamedTuple):
    """R reads, beside what was believed of their items by a posterior in which they had no part."""

    wrong: FloatArray
    """(R,) `P(label that would be exported is wrong)`, 0 .. 1."""
    exported: IntArray
    """(R,) the label that would be exported."""
    said: IntArray
    """(R,) what the reader said."""
    random: BoolArray
    """(R,) whether the item was drawn at random from all unread ones."""
    counts: BoolArray
    """(R,) whether `wrong` is of a posterior like that of now; else the read has taught it, and tests it no more."""


class Recalibration(NamedTuple):
    """Posterior of the coefficients `a, b, k, u_1 .. u_C`, Gaussian."""

    mean: FloatArray
    """(3 + C,)"""
    covariance: FloatArray
    """(3 + C, 3 + C)"""


def recalibrate(
    evidence: Evidence, n_classes: int, reader_error: float = 0.0, prior: Prior = HELD_OUT
) -> Recalibration:
    """What the reads in `evidence` say of the posterior; without reads the `prior`.

    reader_error: share of reads that are wrong, 0 .. 1; an erring reader names each other class equally often.
    """
    X = _design(evidence.wrong, evidence.exported, ~evidence.random, n_classes)
    untested = 1.0 / (1.0 + len(evidence.wrong) / prior.half_tested)
    slope = untested * prior.untested_slope + (1.0 - untested) * prior.tested_slope
    mean = np.array([untested * prior.untested_offset, slope, prior.chosen])
    variance = untested * np.array([prior.untested_offset_width, prior.untested_slope_width, 0.0]) ** 2
    variance += np.array([prior.tested_offset_width, prior.tested_slope_width, prior.chosen_width]) ** 2
    mean = np.concatenate([mean, np.zeros(n_classes)])
    width = np.sqrt(np.concatenate([variance, np.full(n_classes, CLASS_WIDTH**2)]))
    weights = np.where(evidence.random, 1.0, CHOSEN_WEIGHT) * evidence.counts
    differs = (evidence.said != evidence.exported).astype(np.float64)
    agrees_by_error = reader_error / max(1, n_classes - 1)
    return Recalibration(*fit_logistic(X, differs, weights, mean, width, reader_error, agrees_by_error))


def fit_logistic(
    X: FloatArray,
    y: FloatArray,
    weights: FloatArray,
    mean: FloatArray,
    width: FloatArray,
    false_positive: float = 0.0,
    false_negative: float = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """Mode (K,) and covariance (K, K) of the coefficients of a logistic regression with Gaussian priors: Laplace.

    X: (R, K); y: (R,) 0 or 1; weights: (R,) of the log likelihoods; mean, width: (K,) of independent priors, widths
    above 0.  `P(y = 1) = f + (1 - f - m) expit(X c)` with the rates f of false positives and m of false negatives.
    Fisher scoring; where f = m = 0 that is Newton's method.  Source: MacKay, Neural Computation 4 (1992), section 4.
    Errors: DataError for shapes that do not fit.
    """
    if X.shape != (len(y), len(mean)) or weights.shape != y.shape or width.shape != mean.shape:
        raise DataError(f"a design of shape {X.shape} for {len(y)} outcomes and {len(mean)} coefficients")
    span = 1.0 - false_positive - false_negative
    found, precision = mean.copy(), np.diag(1.0 / width**2)
    for _ in range(STEPS):
        p = expit(X @ found)
        expected = np.clip(false_positive + span * p, 1e-12, 1 - 1e-12)
        slope = span * p * (1 - p)
        per_outcome = weights * slope / (expected * (1 - expected))
        gradient = X.T @ (per_outcome * (y - expected)) - precision @ (found - mean)
        information = X.T @ ((per_outcome * slope)[:, None] * X) + precision
        step = np.linalg.solve(information, gradient)
        largest = float(np.abs(step).max())
        found = found + step * min(1.0, LARGEST_STEP / max(largest, TOLERANCE))
        if largest < TOLERANCE:
            break
    return found, np.linalg.inv(information)


def wrong_draws(
    recalibration: Recalibration, wrong: FloatArray, exported: IntArray, n_draws: int, rng: np.random.Generator
) -> FloatArray:
    """Draws (S, n) of the recalibrated probabilities that n exported labels of unread items are wrong.

    wrong: (n,) `P(exported label is wrong)`, 0 .. 1.  exported: (n,).
    """
    n_classes = len(recalibration.mean) - 3
    coefficients = rng.multivariate_normal(recalibration.mean, recalibration.covariance, n_draws, method="cholesky")
    not_chosen = np.zeros(len(wrong), dtype=bool)
    draws: FloatArray = expit(coefficients @ _design(wrong, exported, not_chosen, n_classes).T)
    return draws


def _design(wrong: FloatArray, exported: IntArray, chosen: BoolArray, n_classes: int) -> FloatArray:
    """One row an item: 1, logit of the probability, whether a sampler chose it, its exported class."""
    limit = expit(LARGEST_LOGIT)
    logits = logit(np.clip(wrong.astype(np.float64), 1 - limit, limit))
    return np.column_stack([np.ones(len(wrong)), logits, chosen.astype(np.float64), np.eye(n_classes)[exported]])
