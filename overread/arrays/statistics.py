"""Intervals and comparisons over seeds, and one number for a curve over the budget."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from overread.arrays import FloatArray, IntArray
from overread.errors import ConfigError, DataError

__all__ = [
    "PairedComparison",
    "area_under_budget_curve",
    "holm",
    "mean_interval",
    "paired_comparison",
    "reads_to_stay_above",
    "score_at",
]


class PairedComparison(NamedTuple):
    """Mean of a - b over seeds, its confidence interval, and the two-sided p value of no difference."""

    difference: float
    low: float
    high: float
    p_value: float


def mean_interval(values: FloatArray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of `values` over seeds with the low and high end of its Student t interval.

    values: (n,), one per seed. One seed has no interval: NaN ends. Equal values: an interval of width 0. A NaN
    among the values makes everything NaN. Raises DataError without values, ConfigError for a confidence outside (0, 1).

    >>> [round(x, 3) for x in mean_interval(np.array([1.0, 2.0, 3.0]))]
    [2.0, -0.484, 4.484]
    """
    if values.ndim != 1 or len(values) == 0:
        raise DataError(f"values of shape {values.shape}; give one number per seed, and at least one")
    if not 0 < confidence < 1:
        raise ConfigError(f"the confidence is {confidence}; give a number between 0 and 1")
    mean = float(values.mean())
    if len(values) == 1:
        return mean, np.nan, np.nan
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * _standard_error(values))
    return mean, mean - half, mean + half


def paired_comparison(a: FloatArray, b: FloatArray, confidence: float = 0.95) -> PairedComparison:
    """Mean of a - b with its Student t interval and two-sided p value, over pairs that share a seed.

    a, b: (n,), the same seeds in the same order. Positive = `a` is larger. One pair: NaN interval and p value.
    All differences equal: an interval of width 0, and p = 1 when they are 0, else p = 0. Raises DataError for
    unequal lengths or no pair.

    >>> paired_comparison(np.array([0.5, 0.75]), np.array([0.25, 0.5]))
    PairedComparison(difference=0.25, low=0.25, high=0.25, p_value=0.0)
    """
    if a.shape != b.shape:
        raise DataError(f"a has shape {a.shape} but b has {b.shape}; a paired comparison needs equal seeds")
    difference, low, high = mean_interval(a - b, confidence)
    if len(a) == 1:
        return PairedComparison(difference, low, high, np.nan)
    error = _standard_error(a - b)
    if error == 0:
        return PairedComparison(difference, low, high, float(difference == 0))
    p_value = 2 * float(stats.t.sf(abs(difference) / error, len(a) - 1))
    return PairedComparison(difference, low, high, p_value)


def area_under_budget_curve(reads: FloatArray | IntArray, score: FloatArray) -> float:
    """Area under the score over the reads bought, divided by the range of the reads: a mean score over the budget.

    reads: (R,), strictly increasing; score: (R,). Trapezoids, so a constant curve gives its constant and unequal
    steps weigh by their length. A single point gives its score. Raises DataError for unequal lengths, no point,
    or reads that do not increase.

    >>> area_under_budget_curve(np.array([0, 10, 20]), np.array([0.0, 1.0, 1.0]))
    0.75
    """
    _check_curve(reads, score)
    if len(reads) == 1:
        return float(score[0])
    return float(np.trapezoid(score, reads) / (reads[-1] - reads[0]))


def score_at(reads: FloatArray, score: FloatArray, at: float) -> float:
    """The score after `at` reads: on the line between the points beside it, beyond the ends that of the end.

    reads, score: (R,) as in `area_under_budget_curve`.

    >>> score_at(np.array([0.0, 10.0]), np.array([0.2, 0.4]), 5.0)
    0.30000000000000004
    """
    _check_curve(reads, score)
    return float(np.interp(at, reads, score))


def reads_to_stay_above(reads: FloatArray, score: FloatArray, target: float) -> float:
    """Fewest reads from which on the curve is never below `target`; infinity where it ends below.

    reads, score: (R,) as in `area_under_budget_curve`; straight lines between the points.  A curve that passes the
    target and falls below it again has not reached it: whoever buys the reads does not know when to stop.

    >>> reads_to_stay_above(np.array([0.0, 10.0, 20.0]), np.array([0.0, 0.5, 0.75]), 0.25)
    5.0
    """
    _check_curve(reads, score)
    if np.isnan(score).any() or np.isnan(target):
        return np.nan
    below = np.flatnonzero(score < target)
    if not len(below):
        return float(reads[0])
    last = below[-1]
    if last == len(score) - 1:
        return np.inf
    share = (target - score[last]) / (score[last + 1] - score[last])
    return float(reads[last] + share * (reads[last + 1] - reads[last]))


def _check_curve(reads: FloatArray | IntArray, score: FloatArray) -> None:
    if reads.shape != score.shape or reads.ndim != 1 or len(reads) == 0:
        raise DataError(f"reads of shape {reads.shape} and scores of shape {score.shape}: not a curve")
    steps = np.diff(reads)
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0))
        raise DataError(f"reads must increase, but {reads[at]} is followed by {reads[at + 1]}; sort, drop repeats")


def holm(p_values: FloatArray) -> FloatArray:
    """P values (m,) adjusted for m comparisons by Holm's step-down method (Scand. J. Statist. 6, 1979).

    In the order of the input, at most 1; rejecting those <= alpha keeps the chance of any false rejection
    <= alpha whatever the dependence. NaN (a comparison that could not be made) stays NaN and does not count.
    Raises DataError for a value outside [0, 1].

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    outside = (p_values < 0) | (p_values > 1)
    if outside.any():
        raise DataError(f"{p_values[outside][0]} is no p value; give numbers from 0 to 1")
    adjusted = np.full(len(p_values), np.nan)
    made = np.flatnonzero(~np.isnan(p_values))
    order = made[np.argsort(p_values[made], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return adjusted


def _standard_error(values: FloatArray) -> float:
    """Standard error of the mean; exactly 0 for equal values, whose mean may be off by a rounding."""
    if values.min() == values.max():
        return 0.0
    return float(values.std(ddof=1) / np.sqrt(len(values)))
