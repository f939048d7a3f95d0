"""One label from several reads, by one of two rules."""

import numpy as np

from overread.arrays import IntArray
from overread.arrays.consensus import CANNOT_TELL, count_votes, majority
from overread.arrays.dawid_skene import dawid_skene
from overread.errors import ConfigError

__all__ = ["DAWID_SKENE", "MAJORITY", "RULES", "agreed_labels"]

MAJORITY, DAWID_SKENE = RULES = ("majority", "dawid-skene")
# A class is taken where it is more probable than all others together.
LEAST_PROBABILITY = 0.5


def agreed_labels(
    item: IntArray, reader: IntArray, label: IntArray, n_items: int, n_readers: int, n_classes: int, rule: str
) -> IntArray:
    """The label (N,) of every item that its readers agree on; -1 where they do not, and where nobody named a class.

    item, reader, label: (R,), as in `overread.arrays.consensus`.  rule: majority = the class that more readers named
    than any other; dawid-skene = the class that is more probable than all others together, by what `dawid_skene` finds
    out about the errors of every reader, if any of them named it: it needs several readers, and items that they share.
    ConfigError for another rule, DataError as in `check_reads`.

    >>> item, reader = np.repeat(np.arange(3), 3), np.tile(np.arange(3), 3)
    >>> label = np.array([0, 0, 1, 1, 1, 0, 0, 1, -1])
    >>> agreed_labels(item, reader, label, 3, 3, 2, "majority").tolist()
    [0, 1, -1]
    """
    votes = count_votes(item, label, n_items, n_classes)
    if rule == MAJORITY:
        return majority(votes)
    if rule != DAWID_SKENE:
        raise ConfigError(f"there is no rule {rule!r} of consensus; known are {', '.join(RULES)}")
    posterior = dawid_skene(item, reader, label, n_items, n_readers, n_classes).posterior
    best = posterior.argmax(axis=1)
    named = votes[np.arange(n_items), best] > 0
    sure = named & (posterior.max(axis=1, initial=0.0) > LEAST_PROBABILITY)
    agreed: IntArray = np.where(sure, best, CANNOT_TELL)
    return agreed
