import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from overread.arrays import FloatArray, IntArray
from overread.arrays.splits import group_leaks, long_tail, long_tail_counts, stratified_group_split, subsample
from overread.errors import ConfigError, DataError
from overread.rng import generator

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}


def shares(labels: IntArray, split: NDArray[np.str_], names: list[str]) -> FloatArray:
    """Per class (rows) the share of its items in each split."""
    counts = np.array([[((labels == c) & (split == name)).sum() for name in names] for c in np.unique(labels)])
    normalised: FloatArray = counts / counts.sum(axis=1, keepdims=True)
    return normalised


def grouped(rng: np.random.Generator, sizes: IntArray, of_class: IntArray) -> tuple[IntArray, IntArray]:
    """Labels and groups: group g has sizes[g] items, all of one class."""
    order = rng.permutation(int(np.sum(sizes)))
    return np.repeat(of_class, sizes)[order], np.repeat(np.arange(len(sizes)), sizes)[order]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), n_groups=st.integers(1, 60), mixed=st.booleans())
def test_groups_stay_whole_and_every_class_reaches_every_split_it_can(seed: int, n_groups: int, mixed: bool) -> None:
    rng = np.random.default_rng(seed)
    labels, groups = grouped(rng, rng.integers(1, 6, n_groups), rng.integers(0, 4, n_groups))
    if mixed:
        labels = rng.integers(0, 4, len(labels))
    split = stratified_group_split(labels, groups, FRACTIONS, generator(seed))
    assert group_leaks(groups, split) == []
    assert set(split) <= set(FRACTIONS)
    if not mixed:
        for c in np.unique(labels):
            groups_of_class = len(np.unique(groups[labels == c]))
            largest = ["train", "test", "val"][:groups_of_class]
            assert set(largest) <= set(split[labels == c])


@settings(deadline=None, max_examples=30)
@given(counts=st.lists(st.integers(10, 200), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_single_items_are_shared_out_to_within_one_item(counts: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    split = stratified_group_split(labels, None, FRACTIONS, generator(seed))
    for c, count in enumerate(counts):
        for name, fraction in FRACTIONS.items():
            assert abs(((labels == c) & (split == name)).sum() - fraction * count) <= 1 + 1e-9


def test_shares_are_at_least_as_near_as_those_of_stratified_group_k_fold() -> None:
    rng = np.random.default_rng(0)
    labels, groups = grouped(rng, rng.integers(1, 8, 500), rng.choice(5, 500, p=[0.6, 0.2, 0.1, 0.07, 0.03]))
    labels = np.where(rng.random(len(labels)) < 0.1, rng.integers(0, 5, len(labels)), labels)  # mixed groups too
    split = stratified_group_split(labels, groups, {"train": 0.8, "test": 0.2}, generator(0))
    worst = np.abs(shares(labels, split, ["train", "test"]) - [0.8, 0.2]).max()
    theirs = []
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups):
        reference = np.empty(len(labels), dtype="U5")
        reference[train], reference[test] = "train", "test"
        theirs.append(np.abs(shares(labels, reference, ["train", "test"]) - [0.8, 0.2]).max())
    assert worst <= min(theirs) + 1e-9
    assert worst < 0.02


def test_only_equality_of_group_names_counts() -> None:
    rng = np.random.default_rng(3)
    labels, groups = grouped(rng, rng.integers(1, 5, 80), rng.integers(0, 3, 80))
    renamed = np.array([f"lesion {(7919 * g) % 1000}" for g in groups])
    first = stratified_group_split(labels, groups, FRACTIONS, generator(0))
    assert (first == stratified_group_split(labels, renamed, FRACTIONS, generator(0))).all()
    assert (first == stratified_group_split(labels + 5, groups, FRACTIONS, generator(0))).all()
    assert (first != stratified_group_split(labels, groups, FRACTIONS, generator(1))).any()


def test_classes_with_fewer_groups_than_splits_are_in_the_largest_splits() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    groups = ["a", "a", "a", "b", "c", "d"]
    split = stratified_group_split(labels, groups, FRACTIONS, generator(0))
    assert split[:4].tolist() == ["train"] * 4
    assert sorted(split[4:]) == ["test", "train"]


def test_a_large_group_is_not_spent_on_a_small_split() -> None:
    groups = np.repeat(["a", "b", "c"], [20, 1, 1])
    split = stratified_group_split(np.zeros(22, dtype=np.int64), groups, FRACTIONS, generator(0))
    assert set(split[:20]) == {"train"}
    assert sorted(split[20:]) == ["test", "val"]


def test_splits_of_nothing_and_into_one() -> None:
    assert stratified_group_split(np.array([], dtype=int), None, FRACTIONS, generator(0)).tolist() == []
    assert stratified_group_split(np.array([1, 0]), None, {"all": 1.0}, generator(0)).tolist() == ["all", "all"]


@pytest.mark.parametrize("fractions", [{}, {"train": 0.5, "test": 0.4}, {"train": 1.0, "test": 0.0}, {"a": np.nan}])
def test_fractions_that_are_no_partition_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be positive and sum to 1"):
        stratified_group_split(np.array([0, 1]), None, fractions, generator(0))


def test_lengths_must_agree() -> None:
    with pytest.raises(DataError, match="1 groups but 2 labels"):
        stratified_group_split(np.array([0, 1]), ["a"], FRACTIONS, generator(0))
    with pytest.raises(DataError, match="1 groups but 2 split names"):
        group_leaks(["a"], ["train", "test"])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["train", "val", "test"])), max_size=25))
def test_leaks_are_the_groups_seen_in_two_splits(rows: list[tuple[str, str]]) -> None:
    groups, split = [g for g, _ in rows], [s for _, s in rows]
    expected = {g for g in groups if len({s for h, s in rows if h == g}) > 1}
    leaks = group_leaks(groups, split)
    assert set(leaks) == expected
    assert leaks == sorted(leaks, key=groups.index)


def test_the_published_tail_of_nine_balanced_classes() -> None:
    # n_max * factor ** (-c / (C - 1)), by hand.
    assert long_tail_counts([10000] * 9, 100).tolist() == [10000, 5623, 3162, 1778, 1000, 562, 316, 178, 100]


def test_the_tail_follows_the_order_of_class_sizes() -> None:
    assert long_tail_counts([50, 100, 100], 4).tolist() == [25, 100, 50]  # ties: lower class first
    assert long_tail_counts([5, 100, 0, 90], 4).tolist() == [5, 100, 0, 50]  # capped, absent
    assert long_tail_counts([3, 3], 1000).tolist() == [3, 1]
    assert long_tail_counts([7], 50).tolist() == [7]
    assert long_tail_counts([], 50).tolist() == []
    assert long_tail_counts([0, 0], 50).tolist() == [0, 0]


@settings(deadline=None, max_examples=50)
@given(counts=st.lists(st.integers(0, 500), min_size=1, max_size=9), factor=st.floats(1, 200))
def test_a_tail_keeps_the_largest_class_and_never_invents_or_loses_one(counts: list[int], factor: float) -> None:
    kept = long_tail_counts(counts, factor)
    assert (kept <= counts).all()
    assert ((kept > 0) == (np.array(counts) > 0)).all()
    assert kept.max() == max(counts)
    assert long_tail_counts(counts, 1).tolist() == counts
    order = np.argsort(-np.array(counts), kind="stable")
    assert (np.diff(kept[order]) <= 0).all()


@pytest.mark.parametrize("factor", [0.5, np.nan, np.inf])
def test_a_factor_below_one_is_refused(factor: float) -> None:
    with pytest.raises(ConfigError, match="imbalance factor"):
        long_tail_counts([10, 10], factor)


def test_a_tail_of_items_has_its_counts_and_nests() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([2, 5, 7], 60))
    small, large = long_tail(labels, 20, generator(0)), long_tail(labels, 4, generator(0))
    assert [int((labels[small] == c).sum()) for c in (2, 5, 7)] == long_tail_counts([60] * 3, 20).tolist()
    assert (np.diff(small) > 0).all()
    assert set(small) < set(large)
    assert long_tail(labels, 1, generator(0)).tolist() == list(range(180))
    assert small.tolist() != long_tail(labels, 20, generator(1)).tolist()
    assert long_tail(labels[:0], 20, generator(0)).tolist() == []


@settings(deadline=None, max_examples=50)
@given(counts=st.lists(st.integers(1, 80), min_size=1, max_size=6), data=st.data())
def test_a_subsample_keeps_shares_to_within_one_item_and_every_class(counts: list[int], data: st.DataObject) -> None:
    labels = np.repeat(np.arange(len(counts)) * 3, counts)
    n = data.draw(st.integers(len(counts), sum(counts) + 5))
    kept = subsample(labels, n, generator(0))
    assert len(kept) == min(n, sum(counts))
    assert (np.diff(kept) > 0).all()
    assert set(labels[kept]) == set(labels)
    wanted = np.array(counts) * len(kept) / sum(counts)
    got = np.array([(labels[kept] == 3 * c).sum() for c in range(len(counts))])
    assert (got <= counts).all()
    if (wanted >= 1).all():  # else the guaranteed item of a rare class is paid by the others
        assert (np.abs(got - wanted) < 1 + 1e-6).all()


def test_a_subsample_is_random_among_the_items_of_a_class() -> None:
    labels = np.zeros(10, dtype=np.int64)
    times = np.bincount(np.concatenate([subsample(labels, 3, generator(s)) for s in range(400)]), minlength=10)
    assert times.min() > 80  # 120 expected, standard deviation 9
    assert times.max() < 160


def test_a_subsample_needs_an_item_for_each_class() -> None:
    with pytest.raises(ConfigError, match="2 items cannot hold all 3 classes"):
        subsample(np.array([0, 1, 2, 2]), 2, generator(0))
    assert subsample(np.array([], dtype=int), 2, generator(0)).tolist() == []
