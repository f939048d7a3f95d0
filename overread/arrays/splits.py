"""Which item goes into which split, and which items a smaller or a long-tailed set keeps."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overread.arrays import IntArray
from overread.errors import ConfigError, DataError

__all__ = ["group_leaks", "long_tail", "long_tail_counts", "stratified_group_split", "subsample"]


def stratified_group_split(
    labels: IntArray, groups: ArrayLike | None, fractions: Mapping[str, float], rng: np.random.Generator
) -> NDArray[np.str_]:
    """The name of the split (N,) of every item: groups stay whole, classes keep their shares as near as possible.

    `labels` are (N,) integers; `groups` (N,) any values (None: every item is its own group), of which only equality
    counts, not the name.  First every class gets a group in each split, smallest groups in the smallest splits; a
    class with fewer groups than splits is in the largest splits.  That holds for certain where a group has one
    class, and as far as the groups allow where it has several.  Then the other groups, largest first and at random
    among equals, each go where their classes lack most items.  A pure function of its arguments and of `rng`.
    ConfigError: no fractions, one that is not positive, a sum other than 1.  DataError: lengths that differ.

    >>> labels, rng = np.array([0, 0, 1, 1]), np.random.default_rng(0)
    >>> stratified_group_split(labels, ["a", "a", "b", "c"], {"train": 0.5, "test": 0.5}, rng).tolist()[:2]
    ['train', 'train']
    """
    names = np.array(list(fractions), dtype=np.str_)
    shares = np.array(list(fractions.values()), dtype=np.float64)
    if not len(shares) or not (shares > 0).all() or abs(shares.sum() - 1.0) > 1e-6:
        raise ConfigError(f"the fractions of the splits must be positive and sum to 1, not {dict(fractions)}")
    labels, number = _numbered(labels, groups)
    members = _group_classes(labels, number)
    class_sizes: dict[int, int] = {}
    class_groups: dict[int, list[int]] = {}
    # Random, then stable by size: random among groups of one size.
    ascending = sorted(rng.permutation(len(members)).tolist(), key=lambda g: sum(members[g].values()))
    for g in ascending:
        for c, count in members[g].items():
            class_sizes[c] = class_sizes.get(c, 0) + count
            class_groups.setdefault(c, []).append(g)

    lacking = [{c: share * size for c, size in class_sizes.items()} for share in shares.tolist()]
    covered: list[set[int]] = [set() for _ in shares]
    chosen: dict[int, int] = {}

    def put(g: int, split: int) -> None:
        chosen[g] = split
        covered[split].update(members[g])
        for c, count in members[g].items():
            lacking[split][c] -= count

    by_share = np.argsort(-shares, kind="stable").tolist()
    # The class with the fewest groups has the least choice, so it chooses first.
    for c in sorted(class_groups, key=lambda c: (len(class_groups[c]), c)):
        for split in reversed(by_share[: len(class_groups[c])]):
            if c not in covered[split]:
                free = next((g for g in class_groups[c] if g not in chosen), None)
                if free is not None:
                    put(free, split)
    for g in reversed(ascending):
        if g not in chosen:
            # Sum over classes of count * lack / size: the steepest descent of the squared deviations of the shares.
            gains = [sum(n * lack[c] / class_sizes[c] for c, n in members[g].items()) for lack in lacking]
            put(g, int(np.argmax(gains)))
    return names[np.array([chosen[g] for g in range(len(members))], dtype=np.int64)[number]]


def group_leaks(groups: ArrayLike, split: ArrayLike) -> list[str]:
    """Names of the groups that stand in two splits or more, in order of first appearance.

    `groups` and `split` are (N,) of any values.  DataError: lengths that differ.

    >>> group_leaks(["a", "b", "a", "b"], ["train", "train", "test", "train"])
    ['a']
    """
    groups, split = np.asarray(groups), np.asarray(split)
    _same_length(len(groups), len(split), "groups", "split names")
    first: dict[object, object] = {}
    leaks: dict[object, None] = {}
    for group, name in zip(groups.tolist(), split.tolist(), strict=True):
        if first.setdefault(group, name) != name:
            leaks[group] = None
    return [str(group) for group in first if group in leaks]


def long_tail_counts(counts: ArrayLike, imbalance_factor: float) -> IntArray:
    """Items to keep of each class (C,) for an exponential tail from the largest class down.

    `counts` (C,) are the items there are.  Classes are taken in descending order of their counts, ties by lower
    index; the class at place p of P classes present keeps `n_max * factor ** (-p / (P - 1))`, rounded, at least one
    and at most what there is.  So on balanced data largest / smallest is the factor, up to rounding; a class that
    was smaller than its place demands stays as it is.  An absent class stays absent, one class stays whole.
    Source: the exponential profile of Cui et al., "Class-balanced loss", CVPR 2019.
    ConfigError: a factor that is not finite or below 1.

    >>> long_tail_counts([100, 100, 100], 100).tolist()
    [100, 10, 1]
    """
    counts = np.asarray(counts, dtype=np.int64)
    if not 1.0 <= imbalance_factor < np.inf:
        raise ConfigError(f"the imbalance factor is largest / smallest class, at least 1, not {imbalance_factor:g}")
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    place = np.arange(len(order)) / max(len(order) - 1, 1)
    kept = np.zeros_like(counts)
    wanted = np.rint(counts.max(initial=0) * float(imbalance_factor) ** -place).astype(np.int64)
    kept[order] = np.clip(wanted, 1, counts[order])
    return kept


def long_tail(labels: IntArray, imbalance_factor: float, rng: np.random.Generator) -> IntArray:
    """Sorted positions of the items that a set with an exponential tail keeps, see `long_tail_counts`.

    `labels` are (N,) integers.  With the same stream a larger factor keeps a subset of what a smaller one keeps,
    as long as the order of the classes is the same.

    >>> long_tail(np.array([0, 0, 0, 0, 1, 1, 1, 1]), 4, np.random.default_rng(0)).shape
    (5,)
    """
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return _draw(inverse, long_tail_counts(counts, imbalance_factor), rng)


def subsample(labels: IntArray, max_items: int, rng: np.random.Generator) -> IntArray:
    """Sorted positions of `max_items` items in which every class keeps its share and at least one item.

    `labels` are (N,) integers.  Everything is kept when there are no more items than that.
    ConfigError: fewer items than classes.

    >>> subsample(np.array([0, 0, 0, 0, 0, 0, 1]), 3, np.random.default_rng(0)).shape
    (3,)
    """
    classes, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if max_items >= len(inverse):
        return np.arange(len(inverse), dtype=np.int64)
    if max_items < len(classes):
        raise ConfigError(f"{max_items} items cannot hold all {len(classes)} classes; keep at least {len(classes)}")
    share = counts * (max_items / counts.sum())
    kept = np.maximum(np.floor(share + 1e-9).astype(np.int64), 1)
    while kept.sum() < max_items:
        kept[np.argmax(share - kept)] += 1
    while kept.sum() > max_items:  # the single items of rare classes are paid by the class with most in excess
        kept[np.argmax(np.where(kept > 1, kept - share, -np.inf))] -= 1
    return _draw(inverse, kept, rng)


def _draw(classes: IntArray, kept: IntArray, rng: np.random.Generator) -> IntArray:
    """Sorted positions of `kept[c]` random items of each class; one random number an item, whatever is kept."""
    order = np.lexsort((rng.random(len(classes)), classes))
    first = np.cumsum(np.bincount(classes, minlength=len(kept))) - np.bincount(classes, minlength=len(kept))
    rank = np.arange(len(classes)) - first[classes[order]]
    return np.sort(order[rank < kept[classes[order]]]).astype(np.int64)


def _numbered(labels: IntArray, groups: ArrayLike | None) -> tuple[IntArray, IntArray]:
    """Labels and group numbers (N,), groups counted in order of first appearance: their names do not matter."""
    labels = np.asarray(labels)
    if groups is None:
        return labels, np.arange(len(labels), dtype=np.int64)
    groups = np.asarray(groups)
    _same_length(len(groups), len(labels), "groups", "labels")
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return labels, rank[inverse]


def _group_classes(labels: IntArray, number: IntArray) -> list[dict[int, int]]:
    """For each group the count of its items by class."""
    members: list[dict[int, int]] = [{} for _ in range(int(number.max(initial=-1)) + 1)]
    for g, c in zip(number.tolist(), labels.tolist(), strict=True):
        members[g][c] = members[g].get(c, 0) + 1
    return members


def _same_length(a: int, b: int, what_a: str, what_b: str) -> None:
    if a != b:
        raise DataError(f"there are {a} {what_a} but {b} {what_b}")
