"""Selection against stable sorts and a loop that reads like the rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overread.arrays import FloatArray
from overread.arrays.selection import (
    forget_rate_at,
    keep_count,
    small_loss,
    small_loss_and_vog,
    smallest,
)
from overread.errors import ConfigError, DataError

# Few distinct values, so that ties, NaN and infinities meet often.
NUMBERS = st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0, np.inf, -np.inf, np.nan]), max_size=40)
quick = settings(deadline=None, max_examples=100)


@given(values=NUMBERS.map(np.array), share=st.floats(0, 1))
@quick
def test_smallest_is_the_head_of_a_stable_sort(values: FloatArray, share: float) -> None:
    keep = int(share * len(values))
    expected = np.argsort(values, kind="stable")[:keep]
    np.testing.assert_array_equal(smallest(values, keep), expected)
    np.testing.assert_array_equal(small_loss(values, keep), expected)


@given(
    pairs=st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 1.0, 2.0, np.nan, np.inf])), max_size=30),
    share=st.floats(0, 1),
    tenths=st.integers(0, 10),
)
@quick
def test_loss_and_vog_is_the_published_rule(pairs: list[tuple[int, float]], share: float, tenths: int) -> None:
    loss = np.array([float(a) for a, _ in pairs])
    vog = np.array([b for _, b in pairs])
    keep = int(share * len(pairs))
    n_vog = tenths * keep // 10  # in whole numbers: no rounding to trust
    by_loss = sorted(range(len(pairs)), key=lambda i: (loss[i], i))[: keep - n_vog]
    rest = [i for i in range(len(pairs)) if i not in by_loss]
    by_vog = sorted(rest, key=lambda i: (vog[i] if np.isfinite(vog[i]) else np.inf, i))[:n_vog]
    picked = small_loss_and_vog(loss, vog, keep, tenths / 10)
    assert picked.tolist() == by_loss + by_vog


def test_mix_ratio_zero_is_loss_alone_and_one_is_vog_alone() -> None:
    rng = np.random.default_rng(0)
    loss, vog = rng.random(50), rng.random(50)
    np.testing.assert_array_equal(small_loss_and_vog(loss, vog, 20, 0.0), small_loss(loss, 20))
    np.testing.assert_array_equal(small_loss_and_vog(loss, vog, 20, 1.0), smallest(vog, 20))


def test_whole_shares_lose_nothing_to_rounding() -> None:
    # 0.29 * 100 is 28.999999999999996 and (1 - 0.9) * 10 is 0.9999999999999998.
    loss, vog = np.arange(200.0), -np.arange(200.0)
    assert (small_loss_and_vog(loss, vog, 100, 0.29) < 100).sum() == 71
    assert keep_count(20, 0.9) == 2


@given(n=st.integers(0, 600), percent=st.integers(0, 99))
@quick
def test_keep_count_is_the_whole_part_but_never_zero(n: int, percent: int) -> None:
    expected = max(1, (100 - percent) * n // 100) if n else 0
    assert keep_count(n, percent / 100) == expected


def test_short_last_batch_still_learns() -> None:
    """The published code keeps int((1 - 0.8) * 3) = 0 and divides by it."""
    assert [keep_count(n, 0.8) for n in (0, 1, 3, 4, 5, 10)] == [0, 1, 1, 1, 1, 2]


@given(rate=st.floats(0, 0.99), ramp=st.integers(0, 20))
@quick
def test_forget_rate_rises_in_a_line_and_stays(rate: float, ramp: int) -> None:
    rates = [forget_rate_at(epoch, rate, ramp) for epoch in range(2 * ramp + 3)]
    np.testing.assert_allclose(rates[: ramp + 1], np.linspace(0 if ramp else rate, rate, ramp + 1), atol=1e-15)
    assert set(rates[ramp:]) == {rate}


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_impossible_forget_rates_are_named(rate: float) -> None:
    with pytest.raises(ConfigError, match="forget rate is"):
        forget_rate_at(0, rate, 10)


def test_negative_epochs_are_refused() -> None:
    with pytest.raises(ConfigError, match="epoch -1"):
        forget_rate_at(-1, 0.5, 10)


@pytest.mark.parametrize("keep", [-1, 4])
def test_keep_outside_the_batch_is_refused(keep: int) -> None:
    with pytest.raises(DataError, match=f"cannot keep {keep} of values"):
        small_loss(np.zeros(3), keep)


def test_unequal_lengths_and_bad_ratios_are_named() -> None:
    with pytest.raises(DataError, match=r"\(3,\) but vog has \(4,\)"):
        small_loss_and_vog(np.zeros(3), np.zeros(4), 1, 0.5)
    with pytest.raises(ConfigError, match=r"mix ratio is 1\.5"):
        small_loss_and_vog(np.zeros(3), np.zeros(3), 1, 1.5)
