import sqlite3
from collections import Counter
from typing import Any

import pytest
from answers import answer, new_id
from clocks import Clock
from sqlalchemy import event

from overread.store import Lease, Part, Store

ADA, BEN, CLEO = 1, 2, 3
MINUTE = 60.0


def next_of(store: Store, reader: int, number: int = 1) -> int | None:
    lease = store.next_item(number, reader, MINUTE)
    return None if lease is None else lease.item


def test_items_come_in_the_order_of_the_round_and_to_one_reader_each(store: Store) -> None:
    store.open_round("entropy", [4, 0, 2])
    assert [next_of(store, reader) for reader in (ADA, BEN, ADA, BEN, CLEO)] == [4, 0, 2, None, None]
    assert [lease.item for lease in store.leases(1, ADA)] == [2, 4]


def test_several_readers_read_an_item_but_nobody_twice(store: Store) -> None:
    store.open_round("entropy", [4, 0], wanted=2)
    assert [next_of(store, reader) for reader in (ADA, ADA, ADA, BEN, CLEO, CLEO, CLEO, BEN)] == [
        *(4, 0, None),
        4,
        *(0, None, None),
        None,
    ]


def test_an_answer_brings_the_next_item_and_ends_the_lease(store: Store, clock: Clock) -> None:
    store.open_round("entropy", [4, 0])
    assert next_of(store, ADA) == 4
    _, lease = store.record_and_next(answer(4, ADA), MINUTE)
    assert lease == Lease(1, 0, ADA, clock.now.replace(minute=1))
    assert store.leases(1, ADA) == [lease]
    assert store.record_and_next(answer(0, ADA), MINUTE)[1] is None
    assert store.progress(1) == (2, 2, 2, 2)


def test_a_skipped_item_goes_to_others_and_not_back(store: Store) -> None:
    store.open_round("entropy", [4, 0])
    assert next_of(store, ADA) == 4
    assert store.record_and_next(answer(4, ADA, kind="skip"), MINUTE)[1].item == 0  # type: ignore[union-attr]
    assert next_of(store, ADA) is None
    assert store.progress(1) == (2, 0, 2, 0)
    assert next_of(store, BEN) == 4


def skipped_of(store: Store, reader: int) -> int | None:
    lease = store.next_item(1, reader, MINUTE, skipped=True)
    return None if lease is None else lease.item


def test_what_a_reader_skipped_comes_again_once_he_asks_for_it(store: Store, clock: Clock) -> None:
    store.open_round("entropy", [4, 0, 2, 1])
    for item, kind in ((4, "skip"), (0, "label"), (2, "skip")):
        assert next_of(store, ADA) == item
        store.record(answer(item, ADA, kind=kind))  # type: ignore[arg-type]
    assert store.part(1, ADA) == Part(answered=1, left=1, skipped=2, with_others=0)
    assert store.part(1, BEN) == Part(answered=0, left=3, skipped=0, with_others=0)
    # Skipped again: behind the others, so that each comes once before one comes twice.
    assert skipped_of(store, ADA) == 4
    store.record(answer(4, ADA, kind="skip"))
    assert [skipped_of(store, ADA) for _ in range(3)] == [2, 4, None]
    assert store.part(1, ADA) == Part(answered=1, left=3, skipped=0, with_others=0)
    assert [next_of(store, BEN) for _ in range(2)] == [1, None]
    assert store.part(1, BEN) == Part(answered=0, left=1, skipped=0, with_others=2)
    store.record(answer(2, ADA))
    clock.pass_seconds(MINUTE)
    # Neither what he answered since nor what somebody else reads.
    assert next_of(store, BEN) == 4
    assert skipped_of(store, ADA) is None
    assert store.part(1, ADA) == Part(answered=2, left=1, skipped=0, with_others=0)
    store.close_round(1)
    assert skipped_of(store, ADA) is None
    assert store.part(1, ADA) == Part(answered=2, left=0, skipped=0, with_others=0)


def test_cannot_tell_is_an_answer(store: Store) -> None:
    store.open_round("entropy", [4])
    store.record(answer(4, ADA, kind="cannot-tell"))
    assert next_of(store, BEN) is None
    assert store.progress(1).finished == 1


def test_a_lease_that_ran_out_frees_the_place_for_all(store: Store, clock: Clock) -> None:
    store.open_round("entropy", [4, 0, 1])
    assert next_of(store, ADA) == 4
    assert next_of(store, BEN) == 0
    clock.pass_seconds(MINUTE - 0.001)
    assert next_of(store, CLEO) == 1
    assert sum(len(store.leases(1, reader.id)) for reader in store.readers()) == 3
    clock.pass_seconds(0.001)
    assert sum(len(store.leases(1, reader.id)) for reader in store.readers()) == 1
    assert store.leases(1, ADA) == []
    assert [next_of(store, reader) for reader in (CLEO, ADA, ADA)] == [4, 0, None]


def test_a_lease_that_is_given_back_frees_the_place_at_once(store: Store) -> None:
    store.open_round("entropy", [4, 0])
    assert [next_of(store, reader) for reader in (ADA, BEN, CLEO)] == [4, 0, None]
    store.release(ADA, 4)
    store.release(ADA, 4)
    store.release(ADA, 0)
    assert [next_of(store, reader) for reader in (CLEO, ADA)] == [4, None]


def test_an_item_that_comes_back_does_not_cost_the_one_that_was_next(store: Store) -> None:
    store.open_round("entropy", [4, 0, 2, 1])
    assert [next_of(store, reader) for reader in (ADA, BEN)] == [4, 0]
    store.release(ADA, 4)
    assert [next_of(store, BEN) for _ in range(4)] == [4, 2, 1, None]


def test_a_late_answer_is_taken_though_another_reads_meanwhile(store: Store, clock: Clock) -> None:
    store.open_round("entropy", [4])
    assert next_of(store, ADA) == 4
    clock.pass_seconds(MINUTE)
    assert next_of(store, BEN) == 4
    store.record(answer(4, ADA, 1))
    store.record(answer(4, BEN, 2))
    assert [read.label for read in store.current_reads()] == [1, 2]
    assert store.progress(1) == (1, 1, 1, 2)
    assert next_of(store, CLEO) is None


def test_a_reader_who_comes_later_is_asked_too(store: Store) -> None:
    store.open_round("entropy", [4, 0], wanted=4)
    assert [next_of(store, reader) for reader in (ADA, BEN)] == [4, 4]
    late = store.add_reader("dan").id
    assert [next_of(store, late) for _ in range(3)] == [4, 0, None]


def test_reads_are_drawn_until_a_label_leads(store: Store) -> None:
    dan = store.add_reader("dan").id
    store.open_round("entropy", [0], wanted=2, at_most=3)
    assert [next_of(store, reader) for reader in (ADA, BEN, CLEO)] == [0, 0, None]
    store.record(answer(0, ADA, 0))
    assert next_of(store, CLEO) is None
    store.record(answer(0, BEN, 1))
    assert store.progress(1) == (1, 0, 3, 2)
    assert next_of(store, CLEO) == 0
    assert next_of(store, dan) is None
    store.record(answer(0, CLEO, 2))
    assert store.progress(1) == (1, 1, 3, 3)
    assert next_of(store, dan) is None


def test_no_more_reads_are_drawn_where_one_label_leads_or_a_correction_makes_it_lead(store: Store) -> None:
    store.open_round("entropy", [0, 1], wanted=2, at_most=3)
    for item, labels in ((0, (1, 1)), (1, (0, 1))):
        for reader, label in zip((ADA, BEN), labels, strict=True):
            store.record(answer(item, reader, label))
    assert store.progress(1) == (2, 1, 5, 4)
    store.record(answer(1, ADA, 1))
    assert store.progress(1) == (2, 2, 4, 4)
    assert next_of(store, CLEO) is None


def test_an_undone_answer_keeps_its_place_until_the_lease_runs_out(store: Store, clock: Clock) -> None:
    store.open_round("entropy", [0, 1])
    store.record(answer(0, ADA))
    store.record(answer(1, ADA))
    assert store.undo(ADA, new_id(), MINUTE)
    assert next_of(store, BEN) is None
    clock.pass_seconds(MINUTE)
    assert next_of(store, ADA) == 1
    clock.pass_seconds(MINUTE)
    assert [next_of(store, reader) for reader in (BEN, ADA)] == [1, None]


@pytest.mark.parametrize("wanted", [1, 2])
def test_the_next_item_costs_no_more_when_much_is_done(store: Store, wanted: int) -> None:
    """Counted in steps of SQLite's machine, which are the same on every computer."""
    if store._engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL counts no steps")
    n_items = 500
    store.add_items((f"more-{number}", None) for number in range(n_items))
    store.open_round("entropy", range(n_items), wanted)
    steps: Counter[str] = Counter()

    def count() -> None:
        steps["now"] += 1

    @event.listens_for(store._engine, "checkout")
    def _watch(connection: sqlite3.Connection, *_: Any) -> None:
        connection.set_progress_handler(count, 10)
        connection.execute("PRAGMA synchronous=OFF")

    costs = []
    for number in range(n_items - 1):
        steps.clear()
        lease = store.next_item(1, ADA, 1e6)
        assert lease
        assert lease.item == number
        costs.append(steps["now"])
        # What one reader has done stays open for a second one, where two are wanted.
        store.record(answer(number, ADA))
    assert max(costs[-100:]) <= 2 * max(costs[10:110])
    steps.clear()
    assert next_of(store, BEN) == (n_items - 1 if wanted == 1 else 0)
    assert steps["now"] <= 2 * max(costs[10:110])
