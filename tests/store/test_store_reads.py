from dataclasses import replace
from typing import Any

import pytest
from answers import answer, new_id
from clocks import Clock

from overread.errors import Conflict, DataError, StoreError
from overread.store import Read, Store, StoredRead

ADA, BEN, CLEO = 1, 2, 3


def standing(store: Store) -> list[tuple[int, int, str, int | None]]:
    return [(read.item, read.reader, read.kind, read.label) for read in store.current_reads()]


def test_a_read_comes_back_as_it_was(store: Store, clock: Clock) -> None:
    store.open_round("random", [4])
    shown = {"given": True, "suggestion": 2, "similar": ["image-1", "ü"]}
    read = Read(new_id(), 4, ADA, "label", 1, 1, "blurred; '\"<script>\n é", shown, 3.25)
    recorded = store.record(read)
    found = StoredRead(
        recorded.sequence, read.client_id, 1, 4, ADA, "label", 1, read.comment, shown, 3.25, clock.now, None
    )
    assert store.history(4) == [found]
    assert list(store.current_reads()) == [found]
    assert recorded[1:] == (4, 1, clock.now, None)


def test_the_same_read_sent_again_is_one_read(store: Store, clock: Clock) -> None:
    store.open_round("random", [0], wanted=2)
    read = replace(answer(0, ADA, 1), seconds=0.1, shown={"b": 1, "a": [1, None]}, comment="x")
    first = store.record(read)
    clock.pass_seconds(100)
    store.record(answer(0, BEN, 2))
    assert store.record(read) == first
    assert store.record(replace(read, client_id=read.client_id.upper(), shown={"a": [1, None], "b": 1})) == first
    assert store.record_and_next(read, 60)[0] == first
    assert len(store.history(0)) == 2
    assert store.progress(1).answered == 2


@pytest.mark.parametrize(
    "change",
    [
        {"label": 2},
        {"kind": "cannot-tell", "label": None},
        {"kind": "skip", "label": None},
        {"item": 1},
        {"reader": BEN},
        {"round": None},
        {"comment": "other"},
        {"shown": {"given": True}},
        {"seconds": 2.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_one_id_for_two_reads_is_a_conflict(store: Store, change: dict[str, Any]) -> None:
    store.open_round("random", [0, 1])
    read = answer(0, ADA, 1)
    store.record(read)
    with pytest.raises(Conflict, match=read.client_id):
        store.record(replace(read, **change))
    with pytest.raises(Conflict, match=read.client_id):
        store.undo(ADA, read.client_id, 60)
    assert standing(store) == [(0, ADA, "label", 1)]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"label": 3}, "no class 3"),
        ({"label": -1}, "no class -1"),
        ({"label": None}, "needs"),
        ({"kind": "cannot-tell"}, "has no label"),
        ({"kind": "undo", "label": None}, "'undo'"),
        ({"kind": "other", "label": None}, "'other'"),
        ({"client_id": "1"}, "no UUID"),
        ({"client_id": None}, "no UUID"),
        ({"comment": "\0"}, "cannot be stored"),
        ({"comment": "\ud83d"}, "cannot be stored"),
        ({"seconds": -1.0}, "-1.0 seconds"),
        ({"seconds": float("nan")}, "nan seconds"),
        ({"shown": {"a": float("nan")}}, "JSON"),
        ({"shown": {"a": object()}}, "JSON"),
    ],
)
def test_a_read_that_cannot_be_is_refused(store: Store, change: dict[str, Any], named: str) -> None:
    store.open_round("random", [0])
    with pytest.raises(DataError, match=named):
        store.record(replace(answer(0, ADA), **change))
    assert store.history(0) == []


def test_a_read_needs_its_reader_and_its_place_in_the_queue(store: Store) -> None:
    store.open_round("random", [0])
    for read, named in ((answer(0, 9), "no reader 9"), (answer(1, ADA), "item 1 is not in the queue of round 1")):
        with pytest.raises(StoreError, match=named):
            store.record(read)
    with pytest.raises(StoreError, match="not in the queue of round 2"):
        store.record(answer(0, ADA, round_number=2))
    with pytest.raises(StoreError, match="no item 6"):
        store.record(answer(6, ADA, round_number=None))
    with pytest.raises(StoreError, match="no round"):
        store.record_and_next(answer(0, ADA, round_number=None), 60)


def test_a_correction_replaces_what_the_same_reader_said_over_all_rounds(store: Store) -> None:
    imported = store.record(answer(0, ADA, 0, round_number=None))
    store.record(answer(0, BEN, 2, round_number=None))
    store.open_round("random", [0])
    second = store.record(answer(0, ADA, 1))
    third = store.record(answer(0, ADA, kind="cannot-tell"))
    fourth = store.record(answer(0, ADA, 2))
    assert [r.supersedes for r in (second, third, fourth)] == [imported.sequence, second.sequence, third.sequence]
    assert standing(store) == [(0, BEN, "label", 2), (0, ADA, "label", 2)]
    assert store.progress(1).answered == 1
    assert [read.label for read in store.history(0)] == [0, 2, 1, None, 2]


def test_a_skip_withdraws_no_opinion_and_gives_way_to_one(store: Store) -> None:
    store.record(answer(0, ADA, 1, round_number=None))
    store.open_round("random", [0])
    assert store.record(answer(0, ADA, kind="skip")).supersedes is None
    assert standing(store) == [(0, ADA, "label", 1)]
    store.record(answer(0, BEN, kind="skip"))
    skipped = store.record(answer(0, BEN, kind="skip"))
    assert store.record(answer(0, BEN, 2)).supersedes == skipped.sequence
    store.record(answer(0, ADA, 2))
    assert standing(store) == [(0, BEN, "label", 2), (0, ADA, "label", 2)]


def test_undo_takes_back_the_last_answer_and_the_item_goes_back_to_its_reader(store: Store, clock: Clock) -> None:
    store.open_round("random", [3, 4, 5])
    for _ in range(2):
        lease = store.next_item(1, ADA, 60)
        assert lease
        last = store.record(answer(lease.item, ADA))
    assert store.next_item(1, BEN, 60).item == 5  # type: ignore[union-attr]
    client_id = new_id()
    undone = store.undo(ADA, client_id, 60)
    assert undone
    assert (undone.item, undone.supersedes) == (4, last.sequence)
    clock.pass_seconds(1)
    assert store.undo(ADA, client_id.upper(), 60) == undone
    with pytest.raises(Conflict):
        store.undo(BEN, client_id, 60)
    assert [lease.item for lease in store.leases(1, ADA)] == [4]
    assert standing(store) == [(3, ADA, "label", 0)]
    assert store.next_item(1, BEN, 60) is None
    assert store.record(answer(4, ADA, 2)).supersedes is None
    assert standing(store) == [(3, ADA, "label", 0), (4, ADA, "label", 2)]
    assert store.leases(1, ADA) == []


def test_undo_goes_back_one_by_one_to_the_beginning_of_the_round(store: Store) -> None:
    store.record(answer(2, ADA, 1, round_number=None))
    store.open_round("random", [0, 1, 2])
    store.record(answer(0, ADA))
    store.record(answer(1, ADA, kind="skip"))
    store.record(answer(1, ADA, 2))
    store.record(answer(2, ADA, kind="cannot-tell"))
    undone = [store.undo(ADA, new_id(), 60) for _ in range(5)]
    assert [receipt and receipt.item for receipt in undone] == [2, 1, 0, None, None]
    assert sorted(lease.item for lease in store.leases(1, ADA)) == [0, 1, 2]
    assert standing(store) == []
    assert store.undo(BEN, new_id(), 60) is None


def test_undo_does_not_go_back_behind_what_it_took_back_of_an_item(store: Store) -> None:
    store.record(answer(0, ADA, 1, round_number=None))
    store.open_round("random", [0, 1])
    store.record(answer(1, ADA))
    store.record(answer(0, ADA, kind="skip"))
    store.record(answer(0, ADA, 2))
    undone = [store.undo(ADA, new_id(), 60) for _ in range(3)]
    assert [receipt and receipt.item for receipt in undone] == [0, 1, None]


def test_a_closed_round_takes_late_answers_and_no_undo(store: Store) -> None:
    store.open_round("random", [0])
    assert store.next_item(1, ADA, 60)
    store.close_round(1)
    store.record(answer(0, ADA, 1))
    assert store.undo(ADA, new_id(), 60) is None
    assert standing(store) == [(0, ADA, "label", 1)]
    assert store.progress(1).answered == 1
    assert store.leases(1, ADA) == []


def test_an_adjudication_stands_above_and_replaces_the_one_before(store: Store) -> None:
    store.open_round("random", [0, 1, 2], wanted=2)
    for item, labels in ((0, (0, 1)), (1, (2, 2)), (2, (0, None))):
        for reader, label in zip((ADA, BEN), labels, strict=True):
            store.record(answer(item, reader, label, "label" if label is not None else "cannot-tell"))
    assert [(d.item, [r.label for r in d.reads], d.adjudication) for d in store.disagreements(1)] == [(0, [0, 1], None)]
    first = store.record(answer(0, CLEO, 1, "adjudication"))
    assert store.record(answer(0, ADA, 2, "adjudication", None)).supersedes == first.sequence
    assert standing(store)[:3] == [(0, ADA, "label", 0), (0, BEN, "label", 1), (0, ADA, "adjudication", 2)]
    (found,) = store.disagreements(1)
    assert found.adjudication
    assert found.adjudication.label == 2
    assert [read.label for read in found.reads] == [0, 1]
    assert store.progress(1).answered == 6
    store.record(answer(0, BEN, 0))
    assert list(store.disagreements(1)) == []


def test_disagreements_come_in_the_order_of_the_round_and_hear_other_rounds(store: Store) -> None:
    store.record(answer(5, CLEO, 0, round_number=None))
    store.open_round("random", [5, 4, 0], wanted=2)
    for item in (0, 5):
        store.record(answer(item, ADA, 1))
    store.record(answer(0, BEN, 2))
    assert [found.item for found in store.disagreements(1)] == [5, 0]


def test_a_follower_goes_on_where_it_left_off(store: Store) -> None:
    reads = [answer(item, reader, round_number=None) for item in range(6) for reader in (ADA, BEN)]
    assert store.record_by((), lambda _: reads) == 12
    everything = list(store.reads_since(0))
    assert [read.client_id for read in everything] == [read.client_id for read in reads]
    assert list(store.reads_since(everything[6].sequence)) == everything[7:]
    assert store.record_by((), lambda _: reads) == 12
    assert list(store.reads_since(0)) == everything
    assert list(store.reads_since(everything[-1].sequence)) == []


def test_a_stream_shows_one_state_while_reads_come_in(store: Store) -> None:
    store.record_by((), lambda _: [answer(item, ADA, round_number=None) for item in range(6)])
    stream = store.current_reads()
    assert next(stream).item == 0
    store.record_by((), lambda _: [answer(item, BEN, round_number=None) for item in range(6)])
    assert [read.reader for read in stream] == [ADA] * 5
    assert len(list(store.current_reads())) == 12
