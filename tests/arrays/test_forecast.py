"""Estimates of a round against brute force, on labels whose posterior is exact, and at the edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from overread.arrays import FloatArray, IntArray
from overread.arrays.forecast import (
    MODEL,
    MODEL_AND_NETWORKS,
    NETWORK,
    Beliefs,
    Forecast,
    Interval,
    forecast,
    macro_f1_of,
)
from overread.arrays.recalibration import Evidence
from overread.errors import DataError

NOTHING = Evidence(np.empty(0), *(np.empty(0, dtype=kind) for kind in (np.int64, np.int64, bool, bool)))
JUDGES = (MODEL, MODEL_AND_NETWORKS, NETWORK)


def exact(n: int, seed: int, n_classes: int = 3) -> tuple[FloatArray, IntArray]:
    """A posterior (n, C) and true classes (n,) that are drawn from it."""
    rng = np.random.default_rng(seed)
    posterior = rng.dirichlet(np.full(n_classes, 0.3), n)
    truth = np.minimum((rng.random((n, 1)) > posterior.cumsum(axis=1)).sum(axis=1), n_classes - 1)
    return posterior, truth


def after_reads(posterior: FloatArray, truth: IntArray, n_reads: int, seed: int = 0) -> Forecast:
    """The forecast after reads at random, of which the posterior of the others has learnt nothing."""
    rng = np.random.default_rng(seed)
    n, n_classes = posterior.shape
    items = rng.permutation(n)[:n_reads]
    exported = posterior.argmax(axis=1)
    all_of_them = np.ones(n_reads, dtype=bool)
    evidence = Evidence(1 - posterior.max(axis=1)[items], exported[items], truth[items], all_of_them, all_of_them)
    read = np.zeros(n, dtype=bool)
    read[items] = True
    known = posterior.copy()
    known[items] = np.eye(n_classes)[truth[items]]
    labels = np.where(read, truth, exported)
    beliefs = Beliefs(known, labels, exported, read, MODEL)
    return forecast(beliefs, evidence, np.flatnonzero(~read)[:100], np.random.default_rng(seed))


def test_intervals_hold_the_truth_where_the_posterior_is_exact() -> None:
    held = []
    for seed in range(40):
        posterior, truth = exact(600, seed)
        found = after_reads(posterior, truth, 100, seed)
        items = np.random.default_rng(seed).permutation(600)[:100]
        unread = np.setdiff1d(np.arange(600), items)
        predicted = posterior.argmax(axis=1)
        wrong = int((predicted != truth)[unread].sum())
        score = f1_score(truth, predicted, average="macro")
        held.append(
            (
                found.wrong_labels_left.low <= wrong <= found.wrong_labels_left.high,
                found.macro_f1.low <= score <= found.macro_f1.high,
            )
        )
        assert found.label_accuracy.estimate == pytest.approx(1 - found.wrong_labels_left.estimate / 600)
    assert np.mean(held, axis=0).min() >= 0.9


def test_reads_narrow_the_intervals() -> None:
    posterior, truth = exact(1000, 0)
    widths = [f.high - f.low for f in (after_reads(posterior, truth, k).label_accuracy for k in (0, 30, 300))]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 0.2


def test_nothing_is_left_where_everything_was_read() -> None:
    posterior, truth = exact(50, 1)
    found = after_reads(posterior, truth, 50)
    assert found.wrong_labels_left == Interval(0.0, 0.0, 0.0)
    assert found.label_accuracy == Interval(1.0, 1.0, 1.0)
    assert (found.gain_label_accuracy, found.gain_macro_f1) == (0, 0)


def test_the_same_generator_gives_the_same_numbers() -> None:
    posterior, truth = exact(200, 2)
    assert after_reads(posterior, truth, 20) == after_reads(posterior, truth, 20)


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(2, 5), st.booleans())
@settings(deadline=None, max_examples=40)
def test_any_beliefs_give_ordered_ends_within_bounds(seed: int, n: int, n_classes: int, sure: bool) -> None:
    rng = np.random.default_rng(seed)
    posterior = exact(n, seed, n_classes)[0]
    if sure:
        posterior = np.eye(n_classes)[posterior.argmax(axis=1)]
    read = rng.random(n) < 0.3
    exported, predicted = rng.integers(n_classes, size=(2, n))
    beliefs = Beliefs(posterior, exported, predicted, read, JUDGES[seed % 3])
    found = forecast(beliefs, NOTHING, np.flatnonzero(~read)[:5], rng)
    for interval, largest in ((found.wrong_labels_left, n), (found.label_accuracy, 1), (found.macro_f1, 1)):
        assert 0 <= interval.low <= interval.estimate <= interval.high <= largest


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 6))
@settings(deadline=None, max_examples=60)
def test_macro_f1_of_a_confusion_matrix_is_that_of_scikit_learn(seed: int, n: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(n_classes, size=(2, n))
    confusion = np.zeros((n_classes, n_classes))
    np.add.at(confusion, (predicted, truth), 1)
    expected = f1_score(truth, predicted, average="macro", zero_division=0)
    assert float(macro_f1_of(confusion)) == pytest.approx(expected)


def test_arrays_that_do_not_fit_are_refused() -> None:
    beliefs = Beliefs(np.ones((2, 1)), np.zeros(3, dtype=int), np.zeros(2, dtype=int), np.zeros(2, dtype=bool), MODEL)
    with pytest.raises(DataError, match="give N rows each"):
        forecast(beliefs, NOTHING, np.empty(0, dtype=int), np.random.default_rng(0))
