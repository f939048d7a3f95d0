"""Intervals and tests against scipy, Holm against the closed testing that it abbreviates."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from overread.arrays.statistics import (
    area_under_budget_curve,
    holm,
    mean_interval,
    paired_comparison,
    reads_to_stay_above,
    score_at,
)
from overread.errors import ConfigError, DataError

quick = settings(deadline=None, max_examples=30)


@given(seed=st.integers(0, 10_000), n=st.integers(2, 12), confidence=st.floats(0.5, 0.999))
@quick
def test_mean_interval_is_scipys(seed: int, n: int, confidence: float) -> None:
    values = np.random.default_rng(seed).normal(5, 2, n)
    expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    mean, low, high = mean_interval(values, confidence)
    np.testing.assert_allclose([mean, low, high], [values.mean(), expected.low, expected.high])


@given(seed=st.integers(0, 10_000), n=st.integers(2, 12))
@quick
def test_paired_comparison_is_scipys(seed: int, n: int) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, n))
    expected = stats.ttest_rel(a, b)
    interval = expected.confidence_interval(0.9)
    found = paired_comparison(a, b, confidence=0.9)
    np.testing.assert_allclose(found, [np.mean(a - b), interval.low, interval.high, expected.pvalue])


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    samples = np.random.default_rng(0).normal(1.0, 3.0, (2000, 5))
    ends = np.array([mean_interval(sample, 0.9)[1:] for sample in samples])
    covered = ((ends[:, 0] < 1) & (ends[:, 1] > 1)).mean()
    assert abs(covered - 0.9) < 0.03


def test_equal_differences_are_defined() -> None:
    same = np.array([0.3, 0.3, 0.3])
    assert paired_comparison(same, same) == (0, 0, 0, 1)
    difference, low, high, p_value = paired_comparison(same + 0.5, same)
    assert difference == low == high == pytest.approx(0.5)
    assert p_value == 0
    # 0.1 three times has a mean of 0.10000000000000002, hence a standard deviation that is not 0.
    mean, low, high = mean_interval(np.array([0.1, 0.1, 0.1]))
    assert mean == low == high


def test_one_seed_has_no_interval() -> None:
    mean, low, high = mean_interval(np.array([0.7]))
    assert mean == 0.7
    assert np.isnan([low, high]).all()
    difference, low, high, p_value = paired_comparison(np.array([0.75]), np.array([0.5]))
    assert difference == 0.25
    assert np.isnan([low, high, p_value]).all()


def test_nan_is_passed_on() -> None:
    assert np.isnan(mean_interval(np.array([1.0, np.nan, 2.0]))).all()
    assert np.isnan(paired_comparison(np.array([1.0, np.nan]), np.array([1.0, 2.0]))).all()


@given(seed=st.integers(0, 10_000), n=st.integers(2, 10), constant=st.floats(-5, 5))
@quick
def test_area_of_a_line_is_its_middle(seed: int, n: int, constant: float) -> None:
    reads = np.cumsum(np.random.default_rng(seed).integers(1, 50, n))
    assert area_under_budget_curve(reads, np.full(n, constant)) == pytest.approx(constant)
    assert area_under_budget_curve(reads, 3.0 * reads) == pytest.approx(1.5 * (reads[0] + reads[-1]))


def test_area_weighs_steps_by_their_length_and_takes_one_point() -> None:
    assert area_under_budget_curve(np.array([0, 1, 10]), np.array([0.0, 0.0, 1.0])) == pytest.approx(0.45)
    assert area_under_budget_curve(np.array([70]), np.array([0.25])) == 0.25


@pytest.mark.parametrize(("reads", "named"), [([0, 5, 5], "5 is followed by 5"), ([0, 9, 4], "9 is followed by 4")])
def test_reads_must_increase(reads: list[int], named: str) -> None:
    with pytest.raises(DataError, match=named):
        area_under_budget_curve(np.array(reads), np.zeros(3))


@given(p_values=st.lists(st.sampled_from([0.0, 0.004, 0.01, 0.02, 0.2, 0.5, 1.0]), min_size=1, max_size=6))
@settings(deadline=None, max_examples=50)
def test_holm_is_closed_testing_by_bonferroni(p_values: list[float]) -> None:
    m = len(p_values)
    subsets = [s for size in range(1, m + 1) for s in combinations(range(m), size)]
    expected = [max(min(1.0, len(s) * min(p_values[j] for j in s)) for s in subsets if i in s) for i in range(m)]
    np.testing.assert_allclose(holm(np.array(p_values)), expected)


def test_holm_leaves_out_what_could_not_be_compared() -> None:
    adjusted = holm(np.array([np.nan, 0.01, 0.04]))
    assert np.isnan(adjusted[0])
    np.testing.assert_allclose(adjusted[1:], [0.02, 0.04])
    assert holm(np.array([])).shape == (0,)


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(DataError, match=r"shape \(0,\)"):
        mean_interval(np.array([]))
    with pytest.raises(ConfigError, match="confidence is 95"):
        mean_interval(np.array([1.0, 2.0]), 95)
    with pytest.raises(DataError, match=r"\(2,\) but b has \(3,\)"):
        paired_comparison(np.zeros(2), np.zeros(3))
    with pytest.raises(DataError, match="not a curve"):
        area_under_budget_curve(np.array([], dtype=np.int64), np.array([]))
    with pytest.raises(DataError, match=r"1\.5 is no p value"):
        holm(np.array([0.5, 1.5]))


@st.composite
def curves(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """Reads that increase, and scores in quarters, so that targets are met exactly."""
    reads = draw(st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True))
    scores = draw(st.lists(st.integers(0, 4), min_size=len(reads), max_size=len(reads)))
    return sorted(float(value) for value in reads), [value / 4 for value in scores]


def on_the_lines(reads: list[float], scores: list[float], at: float) -> float:
    for (x, y), (next_x, next_y) in pairwise(zip(reads, scores, strict=True)):
        if x <= at <= next_x:
            return y + (next_y - y) * (at - x) / (next_x - x)
    return scores[0] if at < reads[0] else scores[-1]


@given(curve=curves(), at=st.floats(-5, 50))
@quick
def test_a_score_is_read_off_the_line_between_two_points(curve: tuple[list[float], list[float]], at: float) -> None:
    assert score_at(np.array(curve[0]), np.array(curve[1]), at) == pytest.approx(on_the_lines(*curve, at))


@given(curve=curves(), target=st.integers(0, 8))
@quick
def test_a_target_is_reached_where_nothing_behind_is_below(curve: tuple[list[float], list[float]], target: int) -> None:
    reads, scores = curve
    found = reads_to_stay_above(np.array(reads), np.array(scores), target / 8)
    # The line through every 8th of a read: all that is behind `found` is above the target, what is just before is not.
    steps = np.arange(reads[0], reads[-1] + 1 / 16, 1 / 8)
    below = [at for at in steps if on_the_lines(reads, scores, at) < target / 8 - 1e-9]
    if not below:
        assert found == reads[0]
    elif below[-1] == reads[-1]:
        assert found == np.inf
    else:
        assert below[-1] <= found <= below[-1] + 1 / 8 + 1e-9


def test_a_curve_without_a_number_reaches_nothing() -> None:
    assert np.isnan(reads_to_stay_above(np.array([0.0, 1.0]), np.array([np.nan, 1.0]), 0.5))
    assert np.isnan(reads_to_stay_above(np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.nan))
    with pytest.raises(DataError, match="reads must increase"):
        reads_to_stay_above(np.array([0.0, 0.0]), np.array([0.0, 1.0]), 0.5)
    with pytest.raises(DataError, match="not a curve"):
        score_at(np.array([0.0]), np.array([0.0, 1.0]), 0.5)
