"""What several readers say together: votes, their majority, who should read again, and how each reader errs.

Reads come as integer arrays of equal length R: `item` (0 .. N-1), `reader` (0 .. K-1) and `label` (0 .. C-1, or
`CANNOT_TELL`).  Their order means nothing.
"""

import numpy as np

from overread.arrays import BoolArray, IntArray
from overread.errors import ConfigError, DataError

__all__ = [
    "CANNOT_TELL",
    "check_one_read_each",
    "check_reads",
    "confusion_with_others",
    "consensus_of_others",
    "count_cannot_tell",
    "count_votes",
    "majority",
    "needs_adjudication",
    "reader_confusion",
    "wants_more_reads",
]

# What a reader says who cannot tell; as a consensus: there is none.
CANNOT_TELL = -1


def count_votes(item: IntArray, label: IntArray, n_items: int, n_classes: int) -> IntArray:
    """How often each item was called each class, (N, C); "cannot tell" is no vote.

    item, label: (R,).  An item that nobody read has a row of zeros.  DataError for lengths that differ, and for items
    or labels out of range.

    >>> count_votes(np.array([0, 0, 2]), np.array([1, 1, -1]), n_items=3, n_classes=2).tolist()
    [[0, 2], [0, 0], [0, 0]]
    """
    _check_items(item, label, n_items, n_classes)
    said = label != CANNOT_TELL
    votes: IntArray = np.bincount(item[said] * n_classes + label[said], minlength=n_items * n_classes)
    return votes.reshape(n_items, n_classes)


def count_cannot_tell(item: IntArray, label: IntArray, n_items: int, n_classes: int) -> IntArray:
    """How many reads of each item are "cannot tell", (N,); arguments and errors as in `count_votes`.

    >>> count_cannot_tell(np.array([0, 0, 2]), np.array([1, 1, -1]), n_items=3, n_classes=2).tolist()
    [0, 0, 1]
    """
    _check_items(item, label, n_items, n_classes)
    counts: IntArray = np.bincount(item[label == CANNOT_TELL], minlength=n_items)
    return counts


def majority(votes: IntArray) -> IntArray:
    """The class (N,) that has more votes than any other; -1 where two share the lead, and where nobody voted.

    votes: (N, C).  More than half of the votes is not asked for: 2 of 4 are enough where the others differ.

    >>> majority(np.array([[2, 1, 1], [1, 1, 0], [0, 0, 0]])).tolist()
    [0, -1, -1]
    """
    _check_votes(votes)
    leader: IntArray = np.where(_lead_is_shared(votes), CANNOT_TELL, votes.argmax(axis=1))
    return leader


def wants_more_reads(votes: IntArray, asked: int, at_most: int, cannot_tell: IntArray | None = None) -> BoolArray:
    """Which items (N,) to give to one more reader: "draw until majority".

    Those with fewer than `asked` reads, and those with fewer than `at_most` whose lead is shared, also by no votes at
    all.  votes: (N, C).  cannot_tell: (N,) reads that are no votes; they count as reads, so that an item which nobody
    can judge comes to an end.  Left out: there are none.
    DataError for sizes that differ, ConfigError for fewer than one read asked, or more than at most.

    >>> wants_more_reads(np.array([[2, 0], [1, 1], [2, 2], [1, 0]]), asked=2, at_most=4).tolist()
    [False, True, False, True]
    """
    reads = _reads_of_items(votes, cannot_tell)
    _check_asked(asked)
    if at_most < asked:
        raise ConfigError(f"{asked} reads are asked for, but at most {at_most}; give the larger number as at_most")
    wanted: BoolArray = (reads < asked) | (_lead_is_shared(votes) & (reads < at_most))
    return wanted


def needs_adjudication(votes: IntArray, cannot_tell: IntArray, asked: int) -> BoolArray:
    """Which items (N,) have their `asked` reads, but no class that more than half of the readers named.

    votes: (N, C); cannot_tell: (N,), who count among the readers.  An item can want more reads as well; whoever draws
    until majority adjudicates what is left over.  Errors as in `wants_more_reads`.

    >>> needs_adjudication(np.array([[2, 1], [1, 1], [1, 0]]), np.array([0, 0, 1]), asked=2).tolist()
    [False, True, True]
    """
    reads = _reads_of_items(votes, cannot_tell)
    _check_asked(asked)
    undecided: BoolArray = (reads >= asked) & (2 * votes.max(axis=1) <= reads)
    return undecided


def reader_confusion(
    item: IntArray, reader: IntArray, label: IntArray, reference: IntArray, n_readers: int, n_classes: int
) -> IntArray:
    """How often each reader said `s` where the reference is `t`: counts [reader, t, s], (K, C, C).

    item, reader, label: (R,).  reference: (N,) a consensus or the truth, -1 where there is none.  Reads of items
    without a reference do not count, nor does "cannot tell".  A consensus that a reader voted in flatters him: see
    `confusion_with_others`.  DataError for lengths that differ and numbers out of range.

    >>> reads = np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([0, 0, 1])
    >>> reader_confusion(*reads, reference=np.array([0, 1]), n_readers=2, n_classes=2).tolist()
    [[[1, 0], [1, 0]], [[0, 0], [0, 1]]]
    """
    check_reads(item, reader, label, len(reference), n_readers, n_classes)
    _check_range("reference", reference, CANNOT_TELL, n_classes)
    return _confusion(reader, label, reference[item], n_readers, n_classes)


def consensus_of_others(
    item: IntArray, reader: IntArray, label: IntArray, n_items: int, n_readers: int, n_classes: int
) -> IntArray:
    """For every read (R,), the majority of what all other readers said of its item; -1 where they have none.

    item, reader, label: (R,).  DataError as in `check_reads`, and where a reader read an item twice, since he would be
    judged by himself.

    >>> said = np.array([0, 0, 1])
    >>> consensus_of_others(np.zeros(3, int), np.arange(3), said, n_items=1, n_readers=3, n_classes=2).tolist()
    [-1, -1, 0]
    """
    check_reads(item, reader, label, n_items, n_readers, n_classes)
    check_one_read_each(item, reader)
    votes = count_votes(item, label, n_items, n_classes)
    found = np.full(len(item), CANNOT_TELL)
    for said in range(CANNOT_TELL, n_classes):  # one class at a time, so that no (R, C) is needed
        reads = np.flatnonzero(label == said)
        others = votes[item[reads]]
        if said != CANNOT_TELL:
            others[:, said] -= 1
        found[reads] = majority(others)
    return found


def confusion_with_others(
    item: IntArray, reader: IntArray, label: IntArray, n_items: int, n_readers: int, n_classes: int
) -> IntArray:
    """`reader_confusion` (K, C, C) against the consensus of all others, so that nobody is judged by his own vote.

    Arguments and errors as in `consensus_of_others`.
    """
    others = consensus_of_others(item, reader, label, n_items, n_readers, n_classes)
    return _confusion(reader, label, others, n_readers, n_classes)


def check_reads(
    item: IntArray, reader: IntArray, label: IntArray, n_items: int, n_readers: int, n_classes: int
) -> None:
    """DataError unless the three are integers (R,), each within its range, and there is at least one class."""
    _check_items(item, label, n_items, n_classes)
    if len(reader) != len(item):
        raise DataError(f"{len(reader)} readers for {len(item)} items; give one of each per read")
    _check_range("reader", reader, 0, n_readers)


def check_one_read_each(item: IntArray, reader: IntArray) -> None:
    """DataError where one reader read one item more than once."""
    order = np.lexsort((reader, item))
    again = (np.diff(item[order]) == 0) & (np.diff(reader[order]) == 0)
    if again.any():
        read = order[np.argmax(again)]
        raise DataError(
            f"reader {reader[read]} has more than one read of item {item[read]}; leave in the current one alone"
        )


def _confusion(reader: IntArray, label: IntArray, reference: IntArray, n_readers: int, n_classes: int) -> IntArray:
    """Counts (K, C, C) with one reference per read, (R,)."""
    known = (reference != CANNOT_TELL) & (label != CANNOT_TELL)
    cell = (reader[known] * n_classes + reference[known]) * n_classes + label[known]
    counts: IntArray = np.bincount(cell, minlength=n_readers * n_classes**2)
    return counts.reshape(n_readers, n_classes, n_classes)


def _lead_is_shared(votes: IntArray) -> BoolArray:
    most = votes.max(axis=1, keepdims=True)
    shared: BoolArray = ((votes == most).sum(axis=1) > 1) | (most[:, 0] == 0)
    return shared


def _reads_of_items(votes: IntArray, cannot_tell: IntArray | None) -> IntArray:
    _check_votes(votes)
    reads: IntArray = votes.sum(axis=1)
    if cannot_tell is None:
        return reads
    if cannot_tell.shape != reads.shape:
        raise DataError(f"cannot_tell of shape {cannot_tell.shape} for votes of {len(votes)} items; give one per item")
    return reads + cannot_tell


def _check_asked(asked: int) -> None:
    if asked < 1:
        raise ConfigError(f"{asked} reads are asked for each item; ask for at least 1")


def _check_votes(votes: IntArray) -> None:
    if votes.ndim != 2 or votes.shape[1] == 0:
        raise DataError(f"votes of shape {votes.shape}; give one row per item and one column per class")


def _check_items(item: IntArray, label: IntArray, n_items: int, n_classes: int) -> None:
    if n_classes < 1:
        raise DataError(f"labels of {n_classes} classes; give at least one class")
    if len(item) != len(label):
        raise DataError(f"{len(label)} labels for {len(item)} items; give one of each per read")
    _check_range("item", item, 0, n_items)
    _check_range("label", label, CANNOT_TELL, n_classes)


def _check_range(name: str, values: IntArray, low: int, end: int) -> None:
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise DataError(f"{name} is of shape {values.shape} and type {values.dtype}; give whole numbers in one row")
    outside = np.flatnonzero((values < low) | (values >= end))
    if len(outside):
        at = outside[0]
        raise DataError(f"{name}[{at}] is {values[at]}; the numbers there are go from {low} to {end - 1}")
