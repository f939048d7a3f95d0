"""Questions about a batch of items, and reads whose readers come with them."""

from collections.abc import Mapping

import pytest
from answers import answer

from overread.errors import DataError
from overread.store import Read, Store, lookups


@pytest.mark.parametrize("at_once", [1, 3, 10_000])
def test_a_batch_is_looked_up_as_one_by_one(store: Store, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "MOST_AT_ONCE", at_once)
    ids = ["image-4", "image-0", "nowhere", "image-2", "%", "image-4"]
    assert store.positions_of(ids) == {"image-4": 4, "image-0": 0, "image-2": 2}
    assert store.positions_of([]) == {}
    store.open_round("random", [4, 2, 0], 2)
    store.record(answer(2, 1, 0))
    store.record(answer(2, 2, 1))
    store.record(answer(4, 1, None, "skip"))
    store.record(answer(0, 1, 2))
    store.close_round(1)
    store.open_round("random", [2, 5])
    store.record(answer(2, 1, 2, round_number=2))
    store.record(answer(3, 1, 2, round_number=None))
    for positions in ([2, 3, 4], [0], [1], [], [5, 2, 1, 0]):
        expected = [read for read in store.current_reads() if read.item in positions]
        assert sorted(store.standing_of(positions)) == sorted(expected)
    assert store.asked_in([5, 4, 3, 2, 1, 0]) == {5: 2, 4: 1, 2: 2, 0: 1}
    assert store.asked_in([1]) == store.asked_in([]) == {}
    for sequence in range(8):
        assert store.items_since(sequence) == sorted({read.item for read in store.reads_since(sequence)})


def test_readers_come_with_their_reads_or_not_at_all(store: Store) -> None:
    def make(label: int, known: Mapping[str, int]) -> list[Read]:
        return [answer(item, known[name], label, round_number=None) for item, name in enumerate(("dora", "ada"))]

    before = [reader.name for reader in store.readers()]
    with pytest.raises(DataError, match="there is no class 7"):
        store.record_by(["dora", "ada"], lambda known: make(7, known))
    assert [reader.name for reader in store.readers()] == before
    assert not list(store.all_reads())
    assert store.record_by(["dora", "ada"], lambda known: make(1, known)) == 2
    assert store.record_by(["ada"], lambda _: []) == 0
    assert [reader.name for reader in store.readers()] == [*before, "dora"]
    who = {reader.id: reader.name for reader in store.readers()}
    assert [(read.item, who[read.reader]) for read in store.all_reads()] == [(0, "dora"), (1, "ada")]
