"""The recalibration against scikit-learn, a grid of the whole posterior, and readers who err."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from overread.arrays import FloatArray
from overread.arrays.recalibration import BESIDE, HELD_OUT, TRAINED, Evidence, fit_logistic, recalibrate, wrong_draws
from overread.errors import DataError


def made_up(n: int, seed: int, slope: float = 1.0, offset: float = 0.0, error: float = 0.0) -> Evidence:
    """Reads at random of items whose labels are wrong in another share than is believed; three classes."""
    rng = np.random.default_rng(seed)
    wrong = rng.uniform(0.02, 0.9, n)
    truly = rng.random(n) < expit(offset + slope * logit(wrong))
    exported = rng.integers(3, size=n)
    said = np.where(truly, (exported + rng.integers(1, 3, n)) % 3, exported)
    errs = rng.random(n) < error
    said[errs] = (said[errs] + rng.integers(1, 3, int(errs.sum()))) % 3
    return Evidence(wrong, exported, said, np.ones(n, dtype=bool), np.ones(n, dtype=bool))


def recalibrated(evidence: Evidence, wrong: FloatArray, reader_error: float = 0.0) -> FloatArray:
    """Mean (n,) of the recalibrated probabilities of unread items of class 0."""
    found = recalibrate(evidence, 3, reader_error)
    exported = np.zeros(len(wrong), dtype=np.int64)
    mean: FloatArray = wrong_draws(found, wrong, exported, 2000, np.random.default_rng(0)).mean(axis=0)
    return mean


@given(st.integers(0, 10_000), st.integers(5, 60))
@settings(deadline=None, max_examples=30)
def test_the_mode_is_that_of_scikit_learn(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    X, weights = rng.normal(size=(n, 3)), rng.uniform(0.1, 2.0, n)
    y = (rng.random(n) < expit(X @ [1.0, -1.0, 0.5])).astype(float)
    y[:2] = [0.0, 1.0]
    width = 0.7
    found, covariance = fit_logistic(X, y, weights, np.zeros(3), np.full(3, width))
    model = LogisticRegression(C=width**2, fit_intercept=False, tol=1e-10, max_iter=10_000)
    model.fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(found, model.coef_[0], atol=1e-4)
    # Reads only narrow what the prior left open.
    assert (np.linalg.eigvalsh(np.eye(3) * width**2 - covariance) > -1e-9).all()


def test_mean_and_width_are_those_of_the_whole_posterior() -> None:
    rng = np.random.default_rng(3)
    x, false_positive, false_negative = rng.normal(size=80), 0.1, 0.05
    p = false_positive + (1 - false_positive - false_negative) * expit(0.5 + x)
    y = (rng.random(80) < p).astype(float)
    X = np.column_stack([np.ones(80), x])
    found, covariance = fit_logistic(
        X, y, np.ones(80), np.array([0.0, 1.0]), np.array([1.0, 0.5]), false_positive, false_negative
    )
    a, b = np.meshgrid(np.linspace(-3, 4, 281), np.linspace(-1.5, 3.5, 281), indexing="ij")
    rates = false_positive + (1 - false_positive - false_negative) * expit(a[..., None] + b[..., None] * x)
    logs = (y * np.log(rates) + (1 - y) * np.log(1 - rates)).sum(-1) - a**2 / 2 - (b - 1) ** 2 / 0.5
    mass = np.exp(logs - logs.max())
    mass /= mass.sum()
    for position, values in enumerate((a, b)):
        mean = (mass * values).sum()
        spread = np.sqrt((mass * (values - mean) ** 2).sum())
        assert found[position] == pytest.approx(mean, abs=0.25 * spread)
        assert np.sqrt(covariance[position, position]) == pytest.approx(spread, rel=0.15)


def test_many_random_reads_mend_a_posterior_that_is_too_sure() -> None:
    believed = np.array([0.05, 0.2, 0.6])
    mended = recalibrated(made_up(20_000, 0, offset=0.8), believed)
    np.testing.assert_allclose(mended, expit(0.8 + logit(believed)), atol=0.02)


def test_the_errors_of_readers_are_not_taken_for_wrong_labels() -> None:
    believed, evidence = np.array([0.05, 0.2, 0.6]), made_up(20_000, 1, error=0.1)
    np.testing.assert_allclose(recalibrated(evidence, believed, 0.1), believed, atol=0.03)
    assert recalibrated(evidence, believed)[0] > 0.09


def test_chosen_reads_move_it_less_than_random_ones() -> None:
    evidence = made_up(300, 2, offset=1.0)
    chosen = evidence._replace(random=np.zeros(300, dtype=bool))
    nothing = made_up(0, 2)
    believed = np.array([0.3])
    one, other, none = (recalibrated(e, believed)[0] for e in (evidence, chosen, nothing))
    assert none - 0.02 < other < one
    widths = [np.sqrt(recalibrate(e, 3).covariance[0, 0]) for e in (evidence, chosen, nothing)]
    assert widths == sorted(widths)


def test_reads_that_a_sampler_chose_never_make_a_trained_network_trustworthy() -> None:
    believed, evidence = np.full(400, 0.3), made_up(400, 4)._replace(random=np.zeros(400, dtype=bool))
    widths = []
    for prior in (HELD_OUT, TRAINED):
        found = recalibrate(evidence, 3, prior=prior)
        draws = wrong_draws(found, believed[:1], np.zeros(1, dtype=np.int64), 2000, np.random.default_rng(0))
        widths.append(draws.std())
    assert widths[1] > 1.5 * widths[0]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="design of shape"):
        fit_logistic(np.zeros((3, 2)), np.zeros(4), np.ones(4), np.zeros(2), np.ones(2))


def test_reads_that_do_not_count_narrow_the_prior_and_say_nothing() -> None:
    far_off = made_up(200, 0, slope=0.2, offset=3.0)
    silent = far_off._replace(counts=np.zeros(200, dtype=bool))
    found = recalibrate(silent, 3, prior=BESIDE)
    before = recalibrate(made_up(0, 0), 3, prior=BESIDE)
    assert found.mean[1] == pytest.approx(BESIDE.tested_slope, abs=0.05)
    assert found.covariance[0, 0] < before.covariance[0, 0]
    np.testing.assert_allclose(found.mean[2:], before.mean[2:])
    assert recalibrate(far_off, 3, prior=BESIDE).mean[0] > found.mean[0] + 1
    # As if there were no others.
    some = np.arange(200) < 30
    mixed = far_off._replace(counts=some)
    alone = far_off._replace(**{name: part[some] for name, part in far_off._asdict().items()})
    without = BESIDE._replace(half_tested=np.inf)
    np.testing.assert_allclose(recalibrate(mixed, 3, prior=without).mean, recalibrate(alone, 3, prior=without).mean)
