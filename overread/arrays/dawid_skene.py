"""Who errs how, and what is true, from reads alone: the model of Dawid and Skene."""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from overread.arrays import FloatArray, IntArray
from overread.arrays.consensus import CANNOT_TELL, check_reads
from overread.arrays.readers import PRIOR_MEAN
from overread.errors import ConfigError

__all__ = ["DawidSkene", "dawid_skene"]


class DawidSkene(NamedTuple):
    """`P(true = c | reads)` (N, C), `P(said = s | true = t)` (K, C, C) as [reader, t, s], `P(true = c)` (C,)."""

    posterior: FloatArray
    confusion: FloatArray
    prior: FloatArray
    iterations: int
    converged: bool


def dawid_skene(
    item: IntArray,
    reader: IntArray,
    label: IntArray,
    n_items: int,
    n_readers: int,
    n_classes: int,
    pseudo_reads: float = 10.0,
    max_iterations: int = 500,
    tolerance: float = 0.01,
) -> DawidSkene:
    """The most probable confusion of each reader and prior of the classes, and what they say of every item.

    Given the true class, reads are independent; EM (Dawid and Skene, "Maximum likelihood estimation of observer
    error-rates using the EM algorithm", Applied Statistics 28, 1979, eq. 2.3-2.5) finds a maximum, a local one.  It
    starts, as there, from the shares of votes, so classes keep their names, and has no random part.

    item, reader, label: (R,).  "Cannot tell" says nothing here.  Several reads of an item by one reader count as
    independent, as they do in the source.
    pseudo_reads: smoothing, above 0.  To the reads of each reader and class as many are added, of which 95 % are right
    and the rest evenly wrong; and as many to the items, evenly over the classes.  So everything is above 0 and defined:
    one read per item or one reader tell nothing of errors, and leave readers near the assumed 5 %; a reader without
    reads is there exactly; a class that nobody named has a prior, if a small one.  Towards 0 it is the method as
    published.
    tolerance: ends when the logarithm of the posterior density of the parameters (the log-likelihood plus that of the
    added reads), which never falls, gains no more than so many nats.
    posterior: rows sum to one; items that nobody read, or nobody could tell, have the prior.
    DataError as in `check_reads`, ConfigError for settings that are not above 0.

    >>> item, reader = np.repeat(np.arange(3), 3), np.tile(np.arange(3), 3)
    >>> found = dawid_skene(item, reader, np.array([0, 0, 0, 1, 1, 1, 0, 1, 1]), 3, 3, 2)
    >>> found.posterior.argmax(axis=1).tolist()
    [0, 1, 1]
    """
    check_reads(item, reader, label, n_items, n_readers, n_classes)
    for name, value in (("pseudo_reads", pseudo_reads), ("max_iterations", max_iterations), ("tolerance", tolerance)):
        if not 0 < value < np.inf:
            raise ConfigError(f"{name} is {value}; give a finite number above 0")
    told = label != CANNOT_TELL
    item, said = item[told], reader[told] * n_classes + label[told]
    group, first = _groups(item, said, n_items)
    # One row for items with the same reads, one column per reader and label: both steps are a product with it.
    counted = sparse.csr_array((np.ones(len(item)), (item, said)), shape=(n_items, n_readers * n_classes))
    reads = counted[first]
    # Items without reads know nothing of the prior.
    size = np.bincount(group[np.unique(item)], minlength=len(first)).astype(np.float64)

    wrong = PRIOR_MEAN / (n_classes - 1) if n_classes > 1 else 0.0
    added = np.full((n_classes, n_classes), pseudo_reads * wrong)
    np.fill_diagonal(added, pseudo_reads * (1 - wrong * (n_classes - 1)))
    added_items = np.full(n_classes, pseudo_reads / n_classes)

    # The start of the source, the share of votes: readers are thought right, so classes keep their names.
    votes = reads @ np.tile(np.eye(n_classes), (n_readers, 1))
    posterior = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)
    density, iterations, converged = -np.inf, 0, False
    while iterations < max_iterations and not converged:
        iterations, before = iterations + 1, density
        expected = posterior * size[:, None]
        counts = (reads.T @ expected).reshape(n_readers, n_classes, n_classes).swapaxes(1, 2)
        confusion, prior = _shares(counts + added), _shares(expected.sum(axis=0) + added_items)
        posterior, evidence = _expect(reads, confusion, prior)
        density = float(size @ evidence + (added * np.log(confusion)).sum() + added_items @ np.log(prior))
        converged = density - before <= tolerance
    return DawidSkene(posterior[group], confusion, prior, iterations, converged)


def _groups(item: IntArray, said: IntArray, n_items: int) -> tuple[IntArray, IntArray]:
    """A number (N,) that items share which have the same reads, and the first item (G,) of each group.

    said: (R,) reader and label as one number.  Where most items have one read or two, groups are few.  Their order
    depends on the reads alone, and so do sums over them, to the bit.
    """
    order = np.lexsort((said, item))
    said, count = said[order], np.bincount(item, minlength=n_items)
    start = np.cumsum(count) - count
    group = np.zeros(n_items, dtype=np.int64)
    used, width = 1, int(said.max(initial=0)) + 1
    for position in range(int(count.max(initial=0))):
        longer = np.flatnonzero(count > position)
        codes, place = np.unique(group[longer] * width + said[start[longer] + position], return_inverse=True)
        group[longer] = used + place
        used += len(codes)
    _, first, group = np.unique(group, return_index=True, return_inverse=True)
    return group, first


def _expect(reads: sparse.csr_array, confusion: FloatArray, prior: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`P(true = c | reads)` (G, C) and the log-likelihood (G,) of an item in each row of `reads`."""
    by_said = np.log(confusion).swapaxes(1, 2).reshape(-1, len(prior))
    joint = reads @ by_said
    joint += np.log(prior)
    most = joint.max(axis=1, keepdims=True)
    joint -= most
    # In place, as here most of the time is spent.
    posterior: FloatArray = np.exp(joint, out=joint)
    total = posterior.sum(axis=1, keepdims=True)
    posterior /= total
    return posterior, (most + np.log(total))[:, 0]


def _shares(counts: FloatArray) -> FloatArray:
    found: FloatArray = counts / counts.sum(axis=-1, keepdims=True)
    return found
