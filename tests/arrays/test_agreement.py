"""Agreement against scikit-learn, statsmodels, krippendorff, scipy's bootstrap, and pairs counted one by one."""

from collections.abc import Callable
from itertools import combinations, permutations

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from read_builders import Reads, reads, renamed, said_by
from scipy import stats
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats import inter_rater

from overread.arrays import FloatArray, IntArray
from overread.arrays.agreement import Agreement, cohen_kappa, fleiss_kappa, krippendorff_alpha
from overread.arrays.consensus import count_votes
from overread.errors import ConfigError, DataError

quick = settings(deadline=None, max_examples=100)


def cohen(given_reads: Reads, seed: int = 0, draws: int = 20) -> Agreement:
    """Cohen's kappa of the first two readers, with the arguments in the order of the others."""
    return cohen_kappa(*given_reads[:3], (0, 1), *given_reads[3:], np.random.default_rng(seed), draws=draws)


def fleiss(given_reads: Reads, seed: int = 0, draws: int = 20) -> Agreement:
    return fleiss_kappa(*given_reads, np.random.default_rng(seed), draws=draws)


def alpha(given_reads: Reads, seed: int = 0, draws: int = 20) -> Agreement:
    return krippendorff_alpha(*given_reads, np.random.default_rng(seed), draws=draws)


Coefficient = Callable[..., Agreement]
every_coefficient = pytest.mark.parametrize("coefficient", [cohen, fleiss, alpha])


def table_of(drawn: Reads) -> IntArray:
    """(K, N) what each reader said of each item, -1 for nothing."""
    table = np.full((drawn.n_readers, drawn.n_items), -1)
    table[drawn.reader, drawn.item] = drawn.label
    return table


@given(drawn=reads(max_items=12).filter(lambda drawn: drawn.n_readers > 1))
@quick
def test_cohens_kappa_is_scikit_learns(drawn: Reads) -> None:
    first, second = table_of(drawn)[:2]
    both = (first != -1) & (second != -1)
    found = cohen(drawn)
    assert found.n_items == both.sum()
    if len(np.unique([first[both], second[both]])) < 2:
        assert np.isnan(found[:3]).all()
    else:
        expected = cohen_kappa_score(first[both], second[both])
        assert found.value == pytest.approx(expected, abs=1e-12)


def pairs_in(votes: list[list[int]]) -> list[tuple[int, int, int]]:
    """Every ordered pair of votes on one item, with the number of votes of the item."""
    return [(a, b, len(said)) for said in votes for a, b in permutations(said, 2)]


@given(drawn=reads())
@quick
def test_fleiss_kappa_and_alpha_are_their_definitions(drawn: Reads) -> None:
    said = [[int(c) for c in column if c != -1] for column in table_of(drawn).T]
    said = [votes for votes in said if len(votes) > 1]
    kappa, found = fleiss(drawn), alpha(drawn)
    assert kappa.n_items == found.n_items == len(said)
    named = {c for votes in said for c in votes}
    if len(named) < 2:
        assert np.isnan(kappa[:3] + found[:3]).all()
        return
    equal = np.mean([np.mean([a == b for a, b in combinations(votes, 2)]) for votes in said])
    shares = [np.mean([votes.count(c) / len(votes) for votes in said]) for c in named]
    by_chance = sum(share**2 for share in shares)
    assert kappa.value == pytest.approx((equal - by_chance) / (1 - by_chance), abs=1e-9)
    # Pairs of an item with m votes weigh 1 / (m - 1); for the expectation all votes are thrown together.
    weights = [(a != b, 1 / (m - 1)) for a, b, m in pairs_in(said)]
    observed = sum(weight for differ, weight in weights if differ) / sum(weight for _, weight in weights)
    expected = np.mean([a != b for a, b in permutations([c for votes in said for c in votes], 2)])
    assert found.value == pytest.approx(1 - observed / expected, abs=1e-9)


@given(drawn=reads(max_items=12))
@quick
def test_alpha_is_that_of_krippendorff(drawn: Reads) -> None:
    table = table_of(drawn).astype(float)
    table[table == -1] = np.nan
    found = alpha(drawn).value
    if not np.isnan(found):
        expected = krippendorff.alpha(table, level_of_measurement="nominal", value_domain=range(drawn.n_classes))
        assert found == pytest.approx(expected, abs=1e-9)


@given(seed=st.integers(0, 10_000), n_readers=st.integers(2, 5), n_classes=st.integers(2, 4))
@quick
def test_fleiss_kappa_is_that_of_statsmodels_where_all_read_all(seed: int, n_readers: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = said_by(rng, rng.integers(0, n_classes, 15), made_up(n_readers, n_classes, 0.6), n_readers)
    votes = count_votes(drawn.item, drawn.label, 15, n_classes)
    assert fleiss(drawn).value == pytest.approx(inter_rater.fleiss_kappa(votes), abs=1e-9)


def made_up(n_readers: int, n_classes: int, right: float) -> FloatArray:
    """(K, C, C) readers who are right that often and else say any class, theirs included."""
    one = right * np.eye(n_classes) + (1 - right) / n_classes
    return np.repeat(one[None], n_readers, axis=0)


@every_coefficient
def test_the_interval_is_that_of_scipys_bootstrap(coefficient: Coefficient) -> None:
    rng = np.random.default_rng(3)
    drawn = said_by(rng, rng.integers(0, 3, 40), made_up(3, 3, 0.6), 3)
    table = table_of(drawn)

    def of_items(items: IntArray) -> float:
        return float(coefficient(from_table(table[:, items.astype(np.int64)], 3), draws=1).value)

    expected = stats.bootstrap(
        (np.arange(40),), of_items, n_resamples=2000, vectorized=False, method="percentile", rng=rng
    ).confidence_interval
    found = coefficient(drawn, draws=20_000)
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high], abs=0.03)
    assert found.low < found.value < found.high


def from_table(table: IntArray, n_classes: int) -> Reads:
    reader, item = np.nonzero(table != -1)
    return Reads(item, reader, table[reader, item], table.shape[1], len(table), n_classes)


@every_coefficient
def test_the_interval_covers_the_truth_nearly_as_often_as_it_says(coefficient: Coefficient) -> None:
    rng = np.random.default_rng(0)
    right, hits = 0.8, 0
    for seed in range(300):
        drawn = said_by(rng, rng.integers(0, 3, 100), made_up(3, 3, right), 3)
        found = coefficient(drawn, seed=seed, draws=400)
        # Two readers are both right, or agree by chance: beyond chance they agree as often as both look.
        hits += found.low <= right**2 <= found.high
    assert 0.9 < hits / 300 < 0.985


@every_coefficient
def test_more_items_narrow_the_interval(coefficient: Coefficient) -> None:
    rng = np.random.default_rng(1)
    widths = []
    for n in (100, 1600):
        found = coefficient(said_by(rng, rng.integers(0, 2, n), made_up(2, 2, 0.7), 2), draws=1000)
        widths.append(found.high - found.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.3)


@every_coefficient
@given(drawn=reads().filter(lambda drawn: drawn.n_readers > 1), seed=st.integers(0, 10_000))
@quick
def test_names_do_not_matter(coefficient: Coefficient, drawn: Reads, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Cohen's pair are the first two, who may change places.
    readers = np.append(rng.permutation(2), np.arange(2, drawn.n_readers))
    same_classes, classes = np.arange(drawn.n_classes), rng.permutation(drawn.n_classes)
    items, found = rng.permutation(drawn.n_items), coefficient(drawn)
    order = rng.permutation(len(drawn.item))
    shuffled = drawn._replace(item=drawn.item[order], reader=drawn.reader[order], label=drawn.label[order])
    only_items = renamed(shuffled, items, np.arange(drawn.n_readers), same_classes)
    np.testing.assert_array_equal(coefficient(only_items), found)
    renamed_classes = renamed(shuffled, items, readers, classes)
    np.testing.assert_allclose(coefficient(renamed_classes).value, found.value, atol=1e-12)


@every_coefficient
def test_perfect_agreement_is_one_and_stays_it_with_one_more_who_agrees(coefficient: Coefficient) -> None:
    same = np.tile([0, 1, 1, 2], (2, 1))
    for table in (same, same[[0, 0, 0]]):
        assert coefficient(from_table(table, 3))[:3] == pytest.approx((1, 1, 1))


def test_one_pair_that_always_differs_is_below_zero() -> None:
    swapped = np.array([[0, 1, 0, 1], [1, 0, 1, 0]])
    assert cohen(from_table(swapped, 2)).value == pytest.approx(-1)
    assert fleiss(from_table(swapped, 2)).value == pytest.approx(-1)
    assert alpha(from_table(swapped, 2)).value == pytest.approx(1 - 1 / (4 / 7))


@every_coefficient
def test_what_is_undefined_is_nan(coefficient: Coefficient) -> None:
    nobody_twice = np.array([[0, 1, -1, -1], [-1, -1, 1, 0]])
    assert coefficient(from_table(nobody_twice, 2))[3] == 0
    for table in (nobody_twice, np.zeros((2, 4), dtype=np.int64)):
        assert np.isnan(coefficient(from_table(table, 2))[:3]).all()
    one_item = coefficient(from_table(np.array([[0, -1], [1, 1]]), 2))
    assert one_item.value <= 0
    assert one_item.n_items == 1
    assert np.isnan(one_item[1:3]).all()


@every_coefficient
def test_draws_of_one_class_are_left_out(coefficient: Coefficient) -> None:
    """Of two items on which readers agree, half of the draws have one class."""
    two_items = from_table(np.array([[0, 1], [0, 1]]), 2)
    assert coefficient(two_items, draws=50)[:3] == (1, 1, 1)
    ends = np.array([coefficient(two_items, seed=seed, draws=1).low for seed in range(10)])
    assert 0 < np.isnan(ends).sum() < 10
    assert (ends[~np.isnan(ends)] == 1).all()


def test_a_pair_has_no_order() -> None:
    rng = np.random.default_rng(4)
    drawn = said_by(rng, rng.integers(0, 3, 50), made_up(3, 3, 0.6), 3)
    there, back = (cohen_kappa(*drawn[:3], pair, *drawn[3:], np.random.default_rng(0)) for pair in ((1, 2), (2, 1)))
    assert there == back


def test_a_block_of_draws_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    drawn = said_by(rng, rng.integers(0, 3, 50), made_up(3, 3, 0.6), 3)
    whole = alpha(drawn, draws=500)
    monkeypatch.setattr("overread.arrays.agreement.BLOCK", 64)
    assert alpha(drawn, draws=500) == whole


def test_errors_name_what_is_wrong() -> None:
    rng = np.random.default_rng(0)
    twice = np.array([0, 0]), np.array([1, 1]), np.array([0, 1])
    for coefficient in (fleiss_kappa, krippendorff_alpha):
        with pytest.raises(DataError, match="reader 1 has more than one read of item 0"):
            coefficient(*twice, 1, 2, 2, rng)
    with pytest.raises(DataError, match="reader 1 has more than one read of item 0"):
        cohen_kappa(*twice, (0, 1), 1, 2, 2, rng)
    one_each = np.array([0, 0]), np.array([0, 1]), np.array([0, 1])
    for pair in ((0, 0), (0, 2)):
        with pytest.raises(DataError, match=r"is no pair of readers; .* from 0 to 1"):
            cohen_kappa(*one_each, pair, 1, 2, 2, rng)
    with pytest.raises(ConfigError, match="a confidence of 95"):
        fleiss_kappa(*one_each, 1, 2, 2, rng, confidence=95)
    with pytest.raises(ConfigError, match="from 0 draws"):
        krippendorff_alpha(*one_each, 1, 2, 2, rng, draws=0)
