"""What stands of all that was said, kept up with the database: who asks pays for what is new alone."""

import threading
from collections import Counter
from typing import NamedTuple

import numpy as np

from overread.arrays import BoolArray, IntArray
from overread.arrays.consensus import CANNOT_TELL
from overread.store import Store, StoredRead
from overread.store.standing import ANSWERS, has_leader

__all__ = ["DECIDED", "LED", "TIED", "Known", "Opinions"]

TIED, LED, DECIDED = range(3)
"""Ranks of disagreements: no class has more voices than any other, one has, somebody decided."""


class Known(NamedTuple):
    """What one reader may know of what was read: (M,) each."""

    items: IntArray
    labels: IntArray
    """-1 = cannot tell."""
    mine: BoolArray


class _Said(NamedTuple):
    reader: int
    decides: bool
    label: int | None
    round: int | None


class Opinions:
    """The standing reads of a store, by item; may be used from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._sequence = 0
        self._closed = 0
        self._n_rounds = 0
        self._said: dict[int, dict[int, _Said]] = {}
        self._own: dict[int, dict[int, int]] = {}
        self._settled: dict[int, int] = {}
        self._disputed: dict[int, int] = {}

    def sequence(self) -> int:
        """The number of the last event: what was found at a number is true for as long as that stays."""
        with self._lock:
            self._follow()
            return self._sequence

    def known_to(self, reader: int) -> Known:
        """What the reader said himself, and the consensus on other items, but for those that are being read.

        So nobody learns of an item of the open round what another reader said.  Items without a consensus are left out.
        """
        with self._lock:
            self._follow()
            own = self._own.get(reader, {})
            others = {item: label for item, label in self._settled.items() if item not in own}
            return Known(
                np.array([*own, *others], dtype=np.int64),
                np.array([*own.values(), *others.values()], dtype=np.int64),
                np.repeat([True, False], [len(own), len(others)]),
            )

    def disagreements(self) -> list[tuple[int, int]]:
        """(rank, item), ascending, of items whose readers named two classes or more.

        rank: TIED, LED or DECIDED.
        """
        with self._lock:
            self._follow()
            return sorted((rank, item) for item, rank in self._disputed.items())

    def _follow(self) -> None:
        # Rounds first: of one that begins meanwhile the reads are known as what nobody is told.
        rounds = self._store.rounds()
        closed = sum(not each.open for each in rounds)
        touched = set()
        for event in self._store.reads_since(self._sequence):
            self._take(event)
            touched.add(event.item)
            self._sequence = event.sequence
        if (len(rounds), closed) != (self._n_rounds, self._closed):
            # What a new round asks for is open again, whoever has said something of it before.
            self._n_rounds, self._closed = len(rounds), closed
            touched = set(self._said)
        asked = self._store.asked_in(sorted(touched))
        for item in touched:
            # An item that is read now is open, whatever was said of it in earlier rounds, and when.
            self._conclude(item, is_open=asked.get(item, 0) > self._closed)

    def _take(self, event: StoredRead) -> None:
        of_item = self._said.setdefault(event.item, {})
        replaced = None if event.supersedes is None else of_item.pop(event.supersedes, None)
        if event.kind in (*ANSWERS, "adjudication"):
            of_item[event.sequence] = _Said(event.reader, event.kind == "adjudication", event.label, event.round)
        for reader in {event.reader, event.reader if replaced is None else replaced.reader}:
            own = self._own.setdefault(reader, {})
            own.pop(event.item, None)
            # What he decided comes last, and stands above what he read.
            for said in sorted((each for each in of_item.values() if each.reader == reader), key=lambda s: s.decides):
                own[event.item] = CANNOT_TELL if said.label is None else said.label

    def _conclude(self, item: int, is_open: bool) -> None:
        said = self._said[item].values()
        votes = Counter(each.label for each in said if not each.decides and each.label is not None)
        decided = [each.label for each in said if each.decides and each.label is not None]
        self._disputed.pop(item, None)
        if len(votes) > 1:
            self._disputed[item] = DECIDED if decided else LED if has_leader(votes) else TIED
        self._settled.pop(item, None)
        if not said or is_open:
            return
        if decided:
            self._settled[item] = decided[-1]
        elif not votes:
            self._settled[item] = CANNOT_TELL
        elif has_leader(votes):
            self._settled[item] = votes.most_common(1)[0][0]
