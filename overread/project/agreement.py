"""Who agrees with whom, and who calls what by which other name: for `overread status --readers` and the page."""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np

from overread.arrays import IntArray
from overread.arrays.agreement import Agreement, cohen_kappa, fleiss_kappa
from overread.arrays.consensus import confusion_with_others
from overread.project.snapshot import opinions_among
from overread.rng import generator
from overread.store import Store, StoredRead

__all__ = ["Compared", "Pair", "StandingReads", "compare_readers", "describe_compared", "opinions_in"]

# Bootstraps of more pairs take longer than anybody waits, and nobody reads a table of so many.
MOST_PAIRS = 45


class StandingReads(NamedTuple):
    """What stands, as arrays (R,) whose items are numbered anew, so that nothing grows with items that nobody read."""

    standing: list[StoredRead]
    """Adjudications included, the items with their new numbers."""
    item: IntArray
    reader: IntArray
    label: IntArray
    names: list[str]
    """(K,) of readers in the order in which they came; some have no read here."""
    n_items: int
    n_classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Items, readers and classes, as functions on reads want them."""
        return self.n_items, len(self.names), self.n_classes


class Pair(NamedTuple):
    """Two readers, and Cohen's kappa of the items that both labelled."""

    first: str
    second: str
    kappa: Agreement


class Compared(NamedTuple):
    """How readers compare with each other; nothing of it says who is right."""

    names: list[str]
    """(K,) of those who share an item with others."""
    confusions: IntArray
    """(K, C, C) [reader, what the majority of all others says, what he says]: how many items."""
    pairs: list[Pair]
    """Every two who share an item, and whose kappa is defined; of more than 45 the first ones."""
    fleiss: Agreement | None
    """Over all items with two labels or more; None where it is not defined."""


def opinions_in(store: Store) -> StandingReads:
    """What stands in `store`; time and memory grow with the reads, not with the items."""
    standing = list(store.current_reads())
    # After the reads: nobody in them is missing.
    readers = store.readers()
    column = {reader.id: i for i, reader in enumerate(readers)}
    row = {item: i for i, item in enumerate(dict.fromkeys(read.item for read in standing))}
    standing = [read._replace(item=row[read.item], reader=column[read.reader]) for read in standing]
    names = [reader.name for reader in readers]
    return StandingReads(standing, *opinions_among(standing), names, len(row), len(store.classes))


def compare_readers(opinions: StandingReads) -> Compared | None:
    """How the readers compare; None where no two of them labelled one item.

    The same opinions give the same intervals.
    """
    reads = opinions.item, opinions.reader, opinions.label
    confusions = confusion_with_others(*reads, *opinions.shape)
    shared = np.flatnonzero(confusions.sum(axis=(1, 2)) > 0)
    if not len(shared):
        return None
    pairs = []
    for first, second in list(combinations(shared.tolist(), 2))[:MOST_PAIRS]:
        kappa = cohen_kappa(*reads, (first, second), *opinions.shape, generator(0, "kappa", first, second))
        if not np.isnan(kappa.value):
            pairs.append(Pair(opinions.names[first], opinions.names[second], kappa))
    fleiss = fleiss_kappa(*reads, *opinions.shape, generator(0, "fleiss"))
    names = [opinions.names[i] for i in shared]
    return Compared(names, confusions[shared], pairs, None if np.isnan(fleiss.value) else fleiss)


def describe_compared(compared: Compared, classes: tuple[str, ...]) -> Iterator[str]:
    """Lines for the terminal: the kappas, and of every reader a table of what he said beside what all others say."""
    n_pairs = len(compared.names) * (len(compared.names) - 1) // 2
    if n_pairs > MOST_PAIRS:
        yield f"Of {n_pairs} pairs the first {MOST_PAIRS} are compared."
    for pair in compared.pairs:
        yield f"{pair.first} and {pair.second}, Cohen's kappa: {_described(pair.kappa)}"
    if compared.fleiss is not None and len(compared.names) > 2:
        yield f"All of them, Fleiss' kappa: {_described(compared.fleiss)}"
    for name, counts in zip(compared.names, compared.confusions, strict=True):
        yield ""
        yield f"{name} said (columns), where the majority of the others says (rows):"
        yield from _table(counts, classes)


def _described(kappa: Agreement) -> str:
    ends = "" if np.isnan(kappa.low) else f" ({kappa.low:.2f} to {kappa.high:.2f})"
    return f"{kappa.value:.2f}{ends}, {kappa.n_items} item{'' if kappa.n_items == 1 else 's'}"


def _table(counts: IntArray, classes: tuple[str, ...]) -> Iterator[str]:
    """Lines of a table of counts (C, C) with the names of rows and columns."""
    cells = [["", *classes]]
    cells += [[name, *map(str, row)] for name, row in zip(classes, counts.tolist(), strict=True)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        name, *numbers = row
        aligned = [text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True)]
        yield "  " + "  ".join([name.ljust(widths[0]), *aligned])
