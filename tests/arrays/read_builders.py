"""Reads to test with: drawn by hypothesis, small and odd, or said by made-up readers whose errors are known."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from overread.arrays import FloatArray, IntArray


class Reads(NamedTuple):
    """Arguments of most functions, in their order."""

    item: IntArray
    reader: IntArray
    label: IntArray
    n_items: int
    n_readers: int
    n_classes: int


@st.composite
def reads(draw: st.DrawFn, max_items: int = 8, max_readers: int = 4, max_classes: int = 3) -> Reads:
    """Any reads, at most one of an item by a reader: items, readers and classes without one, and "cannot tell"."""
    n_items, n_readers = draw(st.integers(1, max_items)), draw(st.integers(1, max_readers))
    n_classes = draw(st.integers(1, max_classes))
    pairs = st.tuples(st.integers(0, n_items - 1), st.integers(0, n_readers - 1))
    made = draw(st.lists(pairs, max_size=n_items * n_readers, unique=True))
    labels = draw(st.lists(st.integers(-1, n_classes - 1), min_size=len(made), max_size=len(made)))
    item, reader = (np.array([pair[at] for pair in made], dtype=np.int64) for at in (0, 1))
    return Reads(item, reader, np.array(labels, dtype=np.int64), n_items, n_readers, n_classes)


def said_by(rng: np.random.Generator, true: IntArray, confusion: FloatArray, reads_each: int) -> Reads:
    """What `reads_each` readers, drawn for each item, say of items of the classes `true`; confusion: (K, C, C)."""
    n_readers, n_classes, _ = confusion.shape
    item = np.repeat(np.arange(len(true)), reads_each)
    reader = rng.permuted(np.tile(np.arange(n_readers), (len(true), 1)), axis=1)[:, :reads_each].ravel()
    below = confusion[reader, true[item]].cumsum(axis=1)[:, :-1]
    label = (rng.random(len(item))[:, None] > below).sum(axis=1)
    return Reads(item, reader, label, len(true), n_readers, n_classes)


def renamed(given: Reads, items: IntArray, readers: IntArray, classes: IntArray) -> Reads:
    """The same reads with item `i` called `items[i]`, and readers and classes likewise."""
    label = np.where(given.label < 0, given.label, classes[given.label])
    return given._replace(item=items[given.item], reader=readers[given.reader], label=label)
