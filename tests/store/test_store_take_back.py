"""Taking reads back by their numbers: of any kind and round, once, all or none."""

import pytest
from answers import answer, new_id

from overread.errors import StoreError
from overread.store import Read, Store, Withdrawal

ADA, BEN, CLEO = 1, 2, 3


def standing(store: Store) -> list[tuple[int, int, str, int | None]]:
    return [(read.item, read.reader, read.kind, read.label) for read in store.current_reads()]


def back(*reads: int, again: Read | None = None) -> list[Withdrawal]:
    return [Withdrawal(read, new_id(), again) for read in reads]


@pytest.mark.parametrize("closed", [False, True])
def test_reads_of_a_round_and_of_none_are_taken_back_once(closed: bool, store: Store) -> None:
    store.open_round("random", [0, 1])
    inside, outside = (store.record(answer(item, ADA, 1, round_number=r)).sequence for item, r in ((0, 1), (5, None)))
    kept = store.record(answer(1, BEN, 2))
    assert store.progress(1).finished == 2
    if closed:
        store.close_round(1)
    assert store.take_back(back(inside, outside)) == 2
    assert standing(store) == [(1, BEN, "label", 2)]
    assert store.take_back(back(inside, outside, 999)) == 0
    undone = [read for read in store.all_reads() if read.kind == "undo"]
    assert {(read.item, read.reader, read.round, read.supersedes) for read in undone} == {
        (0, ADA, 1, inside),
        (5, ADA, None, outside),
    }
    assert store.progress(1).finished == 1
    lease = None if closed else store.next_item(1, ADA, 60)
    assert closed or (lease is not None and lease.item == 0)
    assert kept.sequence in {read.sequence for read in store.current_reads()}


def test_what_is_said_again_stands_behind_it(store: Store) -> None:
    store.open_round("random", [0])
    store.record(answer(0, ADA, 1))
    wrong = store.record(answer(0, ADA, 2)).sequence
    assert store.take_back(back(wrong, again=answer(0, ADA, 1))) == 1
    assert standing(store) == [(0, ADA, "label", 1)]
    assert store.progress(1).finished == 1


def test_the_end_of_a_decision_leaves_what_its_reader_read(store: Store) -> None:
    store.open_round("random", [0], wanted=2)
    store.record(answer(0, CLEO, 1))
    decided = store.record(answer(0, CLEO, 2, "adjudication")).sequence
    assert store.take_back(back(decided)) == 1
    assert standing(store) == [(0, CLEO, "label", 1)]
    assert store.progress(1).answered == 1


def test_one_that_cannot_be_said_again_leaves_all_as_they_were(store: Store) -> None:
    first, second = (store.record(answer(item, ADA, 1, round_number=None)).sequence for item in (0, 1))
    before = list(store.all_reads())
    with pytest.raises(StoreError, match="no reader 99"):
        store.take_back([*back(first), *back(second, again=answer(1, 99, round_number=None))])
    assert list(store.all_reads()) == before
