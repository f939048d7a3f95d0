"""Votes and what follows from them, against loops that read like the rules, and scikit-learn's confusion matrix."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from read_builders import Reads, reads, renamed, said_by
from sklearn.metrics import confusion_matrix

from overread.arrays import IntArray
from overread.arrays.consensus import (
    confusion_with_others,
    consensus_of_others,
    count_cannot_tell,
    count_votes,
    majority,
    needs_adjudication,
    reader_confusion,
    wants_more_reads,
)
from overread.errors import ConfigError, DataError

quick = settings(deadline=None, max_examples=100)


def votes_of(drawn: Reads) -> IntArray:
    return count_votes(drawn.item, drawn.label, drawn.n_items, drawn.n_classes)


def cannot_tell_of(drawn: Reads) -> IntArray:
    return count_cannot_tell(drawn.item, drawn.label, drawn.n_items, drawn.n_classes)


def said_of(drawn: Reads, item: int, without: int = -1) -> list[int]:
    """Everything that was said of an item, also "cannot tell", but not by the reader `without`."""
    return [
        int(label)
        for i, reader, label in zip(drawn.item, drawn.reader, drawn.label, strict=True)
        if i == item and reader != without
    ]


def leader_of(said: list[int]) -> int:
    ranked = Counter(label for label in said if label != -1).most_common()
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return -1
    return ranked[0][0]


@given(drawn=reads())
@quick
def test_votes_are_counted_and_the_majority_is_who_leads_alone(drawn: Reads) -> None:
    votes, unsure, leader = votes_of(drawn), cannot_tell_of(drawn), majority(votes_of(drawn))
    assert votes.shape == (drawn.n_items, drawn.n_classes)
    for i in range(drawn.n_items):
        said = said_of(drawn, i)
        assert votes[i].tolist() == [said.count(c) for c in range(drawn.n_classes)]
        assert unsure[i] == said.count(-1)
        assert leader[i] == leader_of(said)


@given(drawn=reads(), asked=st.integers(1, 4), more=st.integers(0, 3))
@quick
def test_who_wants_more_reads_and_who_needs_a_judge(drawn: Reads, asked: int, more: int) -> None:
    votes, unsure = votes_of(drawn), cannot_tell_of(drawn)
    wanted = wants_more_reads(votes, asked, asked + more, unsure)
    judged = needs_adjudication(votes, unsure, asked)
    without_unsure = wants_more_reads(votes, asked, asked + more)
    assert wanted.dtype == judged.dtype == bool
    for i in range(drawn.n_items):
        said = said_of(drawn, i)
        tied = leader_of(said) == -1
        assert wanted[i] == (len(said) < asked or (tied and len(said) < asked + more))
        n_votes = len(said) - said.count(-1)
        assert without_unsure[i] == (n_votes < asked or (tied and n_votes < asked + more))
        most = max(said.count(c) for c in range(drawn.n_classes))
        assert judged[i] == (len(said) >= asked and most <= len(said) / 2)


@given(seed=st.integers(0, 10_000), asked=st.integers(1, 3), more=st.integers(0, 3), n_classes=st.integers(1, 3))
@quick
def test_drawing_until_majority_ends(seed: int, asked: int, more: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    item, label = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    for _ in range(asked + more):
        votes, unsure = count_votes(item, label, 20, n_classes), count_cannot_tell(item, label, 20, n_classes)
        drawn = np.flatnonzero(wants_more_reads(votes, asked, asked + more, unsure))
        item = np.append(item, drawn)
        label = np.append(label, rng.integers(-1, n_classes, len(drawn)))
    votes, unsure = count_votes(item, label, 20, n_classes), count_cannot_tell(item, label, 20, n_classes)
    assert not wants_more_reads(votes, asked, asked + more, unsure).any()
    n_reads = np.bincount(item, minlength=20)
    assert (n_reads >= asked).all()
    assert (n_reads[majority(votes) == -1] == asked + more).all()
    # Nobody was asked again once there was a majority.
    late = n_reads > asked
    before = [leader_of(label[item == i][:-1].tolist()) for i in np.flatnonzero(late)]
    assert before == [-1] * int(late.sum())


@given(drawn=reads(), asked=st.integers(1, 4))
@quick
def test_a_reader_who_agrees_changes_no_consensus_and_calls_no_judge(drawn: Reads, asked: int) -> None:
    votes, unsure = votes_of(drawn), cannot_tell_of(drawn)
    leader = majority(votes)
    led = np.flatnonzero(leader != -1)
    more = votes.copy()
    more[led, leader[led]] += 1
    assert (majority(more) == leader).all()
    read = votes.sum(axis=1) + unsure >= asked
    assert not (needs_adjudication(more, unsure, asked) & ~needs_adjudication(votes, unsure, asked) & read).any()


@given(drawn=reads(), seed=st.integers(0, 10_000))
@quick
def test_a_confusion_is_scikit_learns(drawn: Reads, seed: int) -> None:
    reference = np.random.default_rng(seed).integers(-1, drawn.n_classes, drawn.n_items)
    found = reader_confusion(drawn.item, drawn.reader, drawn.label, reference, drawn.n_readers, drawn.n_classes)
    assert found.shape == (drawn.n_readers, drawn.n_classes, drawn.n_classes)
    for k in range(drawn.n_readers):
        counted = (drawn.reader == k) & (drawn.label != -1) & (reference[drawn.item] != -1)
        if not counted.any():
            assert (found[k] == 0).all()
        elif drawn.n_classes == 1:  # scikit-learn warns
            assert found[k] == counted.sum()
        else:
            true, said = reference[drawn.item[counted]], drawn.label[counted]
            assert (found[k] == confusion_matrix(true, said, labels=range(drawn.n_classes))).all()


@given(drawn=reads())
@quick
def test_nobody_is_judged_by_his_own_vote(drawn: Reads) -> None:
    found = consensus_of_others(*drawn)
    expected = np.zeros((drawn.n_readers, drawn.n_classes, drawn.n_classes), dtype=np.int64)
    for item, reader, label, others in zip(drawn.item, drawn.reader, drawn.label, found, strict=True):
        assert others == leader_of(said_of(drawn, item, without=reader))
        if others != -1 and label != -1:
            expected[reader, others, label] += 1
    assert (confusion_with_others(*drawn) == expected).all()


def test_a_consensus_flatters_those_who_are_part_of_it() -> None:
    rng = np.random.default_rng(0)
    coins = said_by(rng, rng.integers(0, 2, 4000), np.full((3, 2, 2), 0.5), reads_each=3)
    with_own = reader_confusion(*coins[:3], majority(votes_of(coins)), 3, 2)
    without = confusion_with_others(*coins)
    share = [np.trace(counts.sum(axis=0)) / counts.sum() for counts in (with_own, without)]
    assert share[0] == pytest.approx(0.75, abs=0.02)
    assert share[1] == pytest.approx(0.5, abs=0.02)


@given(drawn=reads(), seed=st.integers(0, 10_000))
@quick
def test_names_do_not_matter(drawn: Reads, seed: int) -> None:
    rng = np.random.default_rng(seed)
    items, readers = rng.permutation(drawn.n_items), rng.permutation(drawn.n_readers)
    classes = rng.permutation(drawn.n_classes)
    other = renamed(drawn, items, readers, classes)
    assert (votes_of(other)[np.ix_(items, classes)] == votes_of(drawn)).all()
    leader = majority(votes_of(drawn))
    assert (majority(votes_of(other))[items] == np.where(leader < 0, leader, classes[leader])).all()
    assert (confusion_with_others(*other)[np.ix_(readers, classes, classes)] == confusion_with_others(*drawn)).all()


def test_no_items_and_no_reads_are_empty() -> None:
    none = np.empty(0, dtype=np.int64)
    assert count_votes(none, none, 0, 2).shape == (0, 2)
    assert majority(np.empty((0, 2), dtype=np.int64)).tolist() == []
    assert majority(count_votes(none, none, 2, 1)).tolist() == [-1, -1]
    assert consensus_of_others(none, none, none, 1, 0, 1).tolist() == []


def test_errors_name_what_is_wrong() -> None:
    two = np.array([0, 1])
    with pytest.raises(DataError, match="1 labels for 2 items"):
        count_votes(two, two[:1], 2, 2)
    with pytest.raises(DataError, match=r"item\[1\] is 1; .* from 0 to 0"):
        count_votes(two, two, 1, 2)
    with pytest.raises(DataError, match=r"label\[0\] is -2; .* from -1 to 1"):
        count_cannot_tell(two, two - 2, 2, 2)
    with pytest.raises(DataError, match="type float64"):
        count_votes(two, two / 2, 2, 2)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="0 classes"):
        count_votes(two, two, 2, 0)
    with pytest.raises(DataError, match="1 readers for 2 items"):
        reader_confusion(two, two[:1], two, two, 2, 2)
    with pytest.raises(DataError, match=r"reader\[1\] is 1"):
        consensus_of_others(two, two, two, 2, 1, 2)
    with pytest.raises(DataError, match=r"reference\[1\] is 2"):
        reader_confusion(two, two, two, np.array([0, 2]), 2, 2)
    with pytest.raises(DataError, match="reader 4 has more than one read of item 7"):
        consensus_of_others(np.array([7, 3, 7]), np.array([4, 4, 4]), np.zeros(3, dtype=np.int64), 8, 5, 2)
    with pytest.raises(DataError, match=r"shape \(2,\)"):
        majority(two)
    votes = np.ones((2, 2), dtype=np.int64)
    with pytest.raises(DataError, match="votes of 2 items"):
        needs_adjudication(votes, np.zeros(3, dtype=np.int64), 1)
    with pytest.raises(ConfigError, match="3 reads are asked for, but at most 2"):
        wants_more_reads(votes, 3, 2)
    with pytest.raises(ConfigError, match="0 reads are asked for"):
        needs_adjudication(votes, np.zeros(2, dtype=np.int64), 0)
