"""How far readers agree beyond chance, with intervals by bootstrap over items.

1 = always, 0 = as often as by chance, below 0 = less.  Reads as in `overread.arrays.consensus`; "cannot tell" is
left out.  All three say nothing of whether the readers are right.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from overread.arrays import FloatArray, IntArray
from overread.arrays.consensus import CANNOT_TELL, check_one_read_each, check_reads, count_votes
from overread.errors import ConfigError, DataError

__all__ = ["Agreement", "cohen_kappa", "fleiss_kappa", "krippendorff_alpha"]

# Numbers that are drawn at a time: what the draws need of memory does not grow with their count.
BLOCK = 4_000_000


class Agreement(NamedTuple):
    """A coefficient, the ends of its interval, and how many items it is made of."""

    value: float
    low: float
    high: float
    n_items: int


def cohen_kappa(
    item: IntArray,
    reader: IntArray,
    label: IntArray,
    pair: tuple[int, int],
    n_items: int,
    n_readers: int,
    n_classes: int,
    rng: Generator,
    confidence: float = 0.95,
    draws: int = 1000,
) -> Agreement:
    """Cohen's kappa of two readers on the items that both labelled, -1..1.

    `(p_o - p_e) / (1 - p_e)`; `p_o` the share of items with equal labels, `p_e` the sum over classes of the product
    of both readers' shares (Cohen, Educational and Psychological Measurement 20, 1960).

    item, reader, label: (R,).  pair: the two readers, whose order does not matter.
    NaN: without an item that both labelled, and where both always said one and the same class.  The ends of the
    interval are NaN with one item, and have no width where the readers always agree: a bootstrap knows of no
    disagreement that it has not seen, so with few items and few disagreements intervals are too narrow.  Draws in which
    kappa is NaN are left out.
    DataError as in `check_reads`, for an unknown reader or one paired with himself, and where a reader read an item
    twice; ConfigError for a confidence outside (0, 1) or fewer than one draw.

    >>> item, reader = np.tile(np.arange(4), 2), np.repeat([0, 1], 4)
    >>> found = cohen_kappa(item, reader, np.array([0, 0, 1, 1, 0, 0, 1, 0]), (0, 1), 4, 2, 2, np.random.default_rng(0))
    >>> found.value, found.n_items
    (0.5, 4)
    """
    check_reads(item, reader, label, n_items, n_readers, n_classes)
    check_one_read_each(item, reader)
    if len(set(pair)) < 2 or not all(0 <= one < n_readers for one in pair):
        raise DataError(f"{pair} is no pair of readers; give two different ones from 0 to {n_readers - 1}")
    said = np.full((2, n_items), CANNOT_TELL)
    for row, one in enumerate(sorted(pair)):
        said[row, item[reader == one]] = label[reader == one]
    both = said[:, (said != CANNOT_TELL).all(axis=0)].T
    labels, count = np.unique(both, axis=0, return_counts=True)
    shares = np.eye(n_classes)[labels]  # (P, 2, C)
    columns = np.column_stack([labels[:, 0] == labels[:, 1], shares.reshape(len(labels), 2 * n_classes)])

    def kappa(sums: FloatArray) -> FloatArray:
        first, second = sums[..., 1 : 1 + n_classes], sums[..., 1 + n_classes :]
        n = first.sum(axis=-1)
        return _beyond_chance(sums[..., 0] / n, (first * second).sum(axis=-1) / n**2)

    return _with_interval(columns, count, kappa, rng, confidence, draws)


def fleiss_kappa(
    item: IntArray,
    reader: IntArray,
    label: IntArray,
    n_items: int,
    n_readers: int,
    n_classes: int,
    rng: Generator,
    confidence: float = 0.95,
    draws: int = 1000,
) -> Agreement:
    """Fleiss' kappa of any number of readers, over the items with two votes or more.

    `(p_o - p_e) / (1 - p_e)`; `p_o` the mean over items of the share of pairs of votes that are equal, `p_e` the sum
    over classes of the squared mean share of votes (Fleiss, Psychological Bulletin 76, 1971).  Items may have different
    numbers of votes, and each weighs the same (Gwet, Handbook of Inter-Rater Reliability, 4th ed. 2014; there items
    with one vote count for `p_e`, here they do not, so that both are of the same items).

    NaN: without an item with two votes, and where all votes are for one class.  Intervals, errors and the other
    arguments as in `cohen_kappa`.

    >>> item, reader = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1])
    >>> label = np.array([0, 0, 0, 1, 1])
    >>> fleiss_kappa(item, reader, label, 2, 3, 2, np.random.default_rng(0)).value
    1.0
    """
    votes, count = _patterns(item, reader, label, n_items, n_readers, n_classes)
    n_votes = votes.sum(axis=1, keepdims=True)
    equal = (votes * (votes - 1)).sum(axis=1, keepdims=True) / (n_votes * (n_votes - 1))
    columns = np.column_stack([equal, votes / n_votes])

    def kappa(sums: FloatArray) -> FloatArray:
        n = sums[..., 1:].sum(axis=-1)
        return _beyond_chance(sums[..., 0] / n, ((sums[..., 1:] / n[..., None]) ** 2).sum(axis=-1))

    return _with_interval(columns, count, kappa, rng, confidence, draws)


def krippendorff_alpha(
    item: IntArray,
    reader: IntArray,
    label: IntArray,
    n_items: int,
    n_readers: int,
    n_classes: int,
    rng: Generator,
    confidence: float = 0.95,
    draws: int = 1000,
) -> Agreement:
    """Krippendorff's alpha for classes without an order, over the items with two votes or more; votes may be missing.

    `1 - D_o / D_e`; `D_o` the share of pairs of votes on one item that differ, an item with m votes weighing m; `D_e`
    that share among pairs of all votes, without replacement (Krippendorff, Content Analysis, 4th ed. 2018, ch. 12).

    NaN: without an item with two votes, and where all votes are for one class.  Intervals, errors and the other
    arguments as in `cohen_kappa`; items are drawn, not pairs of votes as in Krippendorff's own bootstrap, since votes
    of one item belong together.

    >>> item, reader = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1])
    >>> label = np.array([0, 0, 0, 1, 1])
    >>> krippendorff_alpha(item, reader, label, 2, 3, 2, np.random.default_rng(0)).value
    1.0
    """
    votes, count = _patterns(item, reader, label, n_items, n_readers, n_classes)
    n_votes = votes.sum(axis=1, keepdims=True)
    equal = (votes * (votes - 1)).sum(axis=1, keepdims=True) / (n_votes - 1)
    columns = np.column_stack([equal, votes])

    def alpha(sums: FloatArray) -> FloatArray:
        of_class = sums[..., 1:]
        n = of_class.sum(axis=-1)
        return _beyond_chance(sums[..., 0] / n, (of_class * (of_class - 1)).sum(axis=-1) / (n * (n - 1)))

    return _with_interval(columns, count, alpha, rng, confidence, draws)


def _patterns(
    item: IntArray, reader: IntArray, label: IntArray, n_items: int, n_readers: int, n_classes: int
) -> tuple[IntArray, IntArray]:
    """The different rows of votes (P, C) of items with two or more, and how many items (P,) have each."""
    check_reads(item, reader, label, n_items, n_readers, n_classes)
    check_one_read_each(item, reader)
    votes = count_votes(item, label, n_items, n_classes)
    patterns, count = np.unique(votes[votes.sum(axis=1) > 1], axis=0, return_counts=True)
    return patterns, count


def _beyond_chance(observed: FloatArray, expected: FloatArray) -> FloatArray:
    """`(observed - expected) / (1 - expected)`; NaN where chance alone would agree always: there is one class."""
    found: FloatArray = np.where(expected < 1, observed - expected, np.nan) / np.where(expected < 1, 1 - expected, 1)
    return found


def _with_interval(
    columns: FloatArray,
    count: IntArray,
    coefficient: Callable[[FloatArray], FloatArray],
    rng: Generator,
    confidence: float,
    draws: int,
) -> Agreement:
    """The coefficient of all items, and the quantiles of that of items drawn with replacement.

    columns: (P, M) numbers whose sums over items are all that `coefficient` needs; (..., M) -> (...).  count: (P,) how
    many items have each row.  Items with equal rows cannot be told apart, so what is drawn is how often each row comes.
    """
    if not 0 < confidence < 1 or draws < 1:
        raise ConfigError(
            f"a confidence of {confidence} from {draws} draws; give a number between 0 and 1, and at least one draw"
        )
    n_items = int(count.sum())
    if n_items == 0:
        return Agreement(np.nan, np.nan, np.nan, 0)
    value = float(coefficient(count @ columns))
    if n_items == 1 or np.isnan(value):
        return Agreement(value, np.nan, np.nan, n_items)
    per_block = max(1, BLOCK // len(count))
    drawn = np.concatenate(
        [
            coefficient(rng.multinomial(n_items, count / n_items, min(per_block, draws - start)) @ columns)
            for start in range(0, draws, per_block)
        ]
    )
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return Agreement(value, np.nan, np.nan, n_items)
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Agreement(value, float(low), float(high), n_items)
